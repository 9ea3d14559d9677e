//! `Store` is the state root (`--root`), and `Entry` is the directory of one container in it: `ROOT/ID/` with
//! state.json, exec.fifo and config.json. No other file knows these names.
//!
//! mkdir checks that an id is free. Verbs that change a container hold its lock (flock on the directory: the
//! kernel releases it when the holder dies). Readers never wait for it, because state.json is replaced by
//! rename.

use std::cell::OnceCell;
use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FlockArg, OFlag};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::Record;
use super::boot;
use super::fifo::FifoWriter;
use super::id_errors::{missing, taken};
use super::salvage::salvage;
use super::state_dir::{StateDir, Unread};
use crate::container_id::ContainerId;
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::spec::strict::{self, Spelling};

const RECORD: &str = "state.json";
/// The previous record, used when state.json is torn.
const PREVIOUS_RECORD: &str = ".state.json.before";
const RECORD_C: &CStr = c"state.json";
const PREVIOUS_RECORD_C: &CStr = c".state.json.before";
/// A symlink whose target is the id of the boot, where the directory may outlast it.
const BOOT: &str = ".boot";
const FIFO: &str = "exec.fifo";
/// The directory of the socket that the container's program sees as NOTIFY_SOCKET.
const NOTIFY: &str = "notify";
/// The mount point of the rootfs while CRIU restores into it.
const RESTORE_ROOT: &str = "criu-root";
/// The configuration at creation: exec and delete do not need the bundle any more.
const CONFIG: &str = "config.json";
/// What a creation makes before the control group, and so before all else that outlives it; and what a removal takes away
/// last.
const FIRST_AND_LAST: [&str; 5] = [BOOT, PREVIOUS_RECORD, RECORD, NOTIFY, RESTORE_ROOT];

/// The state root: the directory of `--root`.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
    /// Whether the directory gets the sticky bit: under XDG_RUNTIME_DIR, so that cleaners leave it (XDG base
    /// directory specification).
    sticky: bool,
}

/// One container's directory.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    path: PathBuf,
    id: ContainerId,
    /// The opened state root, if `list` has it: then the path is not looked up from `/` for each container.
    root: Option<Rc<OwnedFd>>,
    /// The directory, opened when it is first needed.
    dir: OnceCell<Rc<StateDir>>,
}

/// The lock of one container. Only its holder may change the container. It is released when it is dropped.
#[derive(Debug)]
pub(crate) struct Lock(Rc<StateDir>);

impl Lock {
    // nix's `Flock` would need a descriptor of its own.
    #[allow(deprecated)]
    fn set(dir: &StateDir, wanted: FlockArg) -> Result<(), Errno> {
        loop {
            match nix::fcntl::flock(dir.as_fd().as_raw_fd(), wanted) {
                Err(Errno::EINTR) => {}
                other => return other,
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = Self::set(&self.0, FlockArg::Unlock);
    }
}

impl Store {
    pub(crate) fn new(root: &Path, sticky: bool) -> Self {
        Self { root: root.into(), sticky }
    }

    /// Returns the container with this id, whether its directory exists or not.
    pub(crate) fn entry(&self, id: &ContainerId) -> Entry {
        Entry { path: self.root.join(id.as_str()), id: id.clone(), root: None, dir: OnceCell::new() }
    }

    /// Makes the directory of a new container and locks it.
    ///
    /// # Errors
    /// `Kind::Exists` if the id is in use.
    pub(crate) fn reserve(&self, id: &ContainerId) -> Result<(Entry, Lock)> {
        let entry = self.entry(id);
        let make = || mkdirat(AT_FDCWD, &entry.path, Mode::from_bits_truncate(0o711));
        let made = match make() {
            Err(Errno::ENOENT) => {
                self.make_root()?;
                make()
            }
            other => other,
        };
        match made {
            Err(Errno::EEXIST) => Err(taken(id, &self.root)),
            other => other.with_context(|| format!("make state directory {}", entry.path.display())),
        }
        .map_err(with_root_hint)?;
        let reserved = entry.lock().and_then(|lock| {
            // mkdir(2) has applied the umask.
            let _ = entry.open_dir()?.set_mode(0o711);
            Ok(lock)
        });
        let lock = reserved.inspect_err(|_| {
            let _ = entry.remove_directory();
        })?;
        Ok((entry, lock))
    }

    fn make_root(&self) -> Result<()> {
        let made = fs::DirBuilder::new().mode(0o700).recursive(true).create(&self.root);
        made.with_context(|| format!("make state root {}", self.root.display())).map_err(|error| {
            // Only /proc and its like say so of a name in a directory that is there.
            match (error.errno(), self.root.parent()) {
                (Some(Errno::ENOENT), Some(above)) if above.is_dir() => error.with_hint(format!(
                    "nobody makes directories in {}, which is a file system of the kernel's",
                    above.display()
                )),
                _ => error,
            }
        })?;
        if self.sticky {
            let sticky = fs::Permissions::from_mode(0o1700);
            fs::set_permissions(&self.root, sticky)
                .with_context(|| format!("chmod {}", self.root.display()))?;
        }
        Ok(())
    }

    /// Lists the directory of every container, sorted by id. Returns `None` if the root does not exist.
    pub(crate) fn entries(&self) -> Result<Option<Vec<Entry>>> {
        let listing = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| format!("read {}", self.root.display()))?,
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = nix::fcntl::open(&self.root, flags, Mode::empty());
        let root = Rc::new(root.with_context(|| format!("open {}", self.root.display()))?);
        let mut entries = Vec::new();
        for file in listing {
            let file = file.with_context(|| format!("read {}", self.root.display()))?;
            let name = file.file_name();
            let id = name.to_str().and_then(|name| ContainerId::parse(name).ok());
            if let (Some(id), true) = (id, file.file_type().is_ok_and(|kind| kind.is_dir())) {
                let (root, dir) = (Some(Rc::clone(&root)), OnceCell::new());
                entries.push(Entry { path: file.path(), id, root, dir });
            }
        }
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Some(entries))
    }
}

impl Entry {
    pub(crate) fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Returns the path for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the directory as the arguments of the calls that look it up.
    fn dir_and_path(&self) -> (BorrowedFd<'_>, &Path) {
        match &self.root {
            Some(root) => (root.as_fd(), Path::new(self.id.as_str())),
            None => (AT_FDCWD, &self.path),
        }
    }

    /// Opens the directory. If it does not exist, the error is `does not exist`.
    fn open_dir(&self) -> Result<&Rc<StateDir>> {
        if let Some(dir) = self.dir.get() {
            return Ok(dir);
        }
        let (root, path) = self.dir_and_path();
        let dir = StateDir::open(root, path, &self.path)?.ok_or_else(|| self.not_found())?;
        Ok(self.dir.get_or_init(|| Rc::new(dir)))
    }

    fn not_found(&self) -> Error {
        missing(&self.id, self.path.parent().unwrap_or(&self.path))
    }

    /// Returns a file's path for messages.
    fn shown(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    /// Returns the uid of the directory's owner.
    pub(crate) fn owner(&self) -> Result<u32> {
        self.open_dir().map(|dir| dir.owner())
    }

    /// Waits for the container's lock and takes it.
    ///
    /// # Errors
    /// `Kind::NotFound` if there is no such container.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let dir = self.open_dir()?;
        Lock::set(dir, FlockArg::LockExclusive).with_context(|| format!("lock {}", self.path.display()))?;
        Ok(Lock(Rc::clone(dir)))
    }

    /// Reads a file. Returns `None` if it does not exist.
    ///
    /// # Errors
    /// `Kind::State` if it is not a file.
    fn read_file(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match self.open_dir()?.read(name) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Unread::Absent) => Ok(None),
            Err(Unread::Unusable(what)) => Err(self.not_ours(name, what)),
            Err(Unread::Failed(errno)) => Err(errno).with_context(|| format!("read {}", self.shown(name))),
        }
    }

    fn not_ours(&self, name: &str, what: &str) -> Error {
        fail!(Kind::State, "{}: is not as it was made: it is {what}", self.shown(name))
    }

    /// Reads the record.
    ///
    /// # Errors
    /// `Kind::NotFound` if there is no such container, `Kind::State` if the record is not readable.
    pub(crate) fn read_record(&self) -> Result<Record> {
        let bytes = self.read_file(RECORD)?.ok_or_else(|| self.not_found())?;
        let broken = |why: String| fail!(Kind::State, "{}: not a readable record: {why}", self.shown(RECORD));
        let record: Record = strict::from_slice(&bytes, Spelling::Exact).map_err(broken)?;
        match (record.version, &record.id) {
            // A copied record would make us kill another container's processes.
            (super::record::VERSION, id) if *id != self.id => {
                Err(broken(format!("it is that of the container {id}")))
            }
            (super::record::VERSION, _) => record.of_this_boot(),
            (other, _) => Err(broken(format!("version {other}, this tare reads {}", super::record::VERSION))),
        }
    }

    /// Whether there is no process and no control group: a creation was killed before it made them, or a removal after it.
    /// A directory of somebody else's, which a wrong `--root` has led to, has other files than ours; a record that is
    /// whole and not ours is that of another runtime's container.
    pub(crate) fn has_not_begun(&self) -> Result<bool> {
        let names = self.open_dir()?.names().with_context(|| format!("list {}", self.path.display()))?;
        let record = match self.read_file(RECORD) {
            Err(error) if error.kind() == Kind::State => None,
            other => other?,
        };
        let is_whole = |record: &Vec<u8>| {
            let members = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(record);
            members.is_ok_and(|members| members.len() > 1)
        };
        let are_ours = names.iter().all(|name| FIRST_AND_LAST.contains(&name.as_str()));
        Ok(are_ours && !record.as_ref().is_some_and(is_whole))
    }

    /// Whether the directory has been removed since it was opened.
    pub(crate) fn is_gone(&self) -> Result<bool> {
        self.open_dir()?.is_gone().with_context(|| format!("stat {}", self.path.display()))
    }

    /// Salvages a container that has a directory and no readable record. Returns `None` if nothing is left
    /// through which its processes can be found.
    pub(crate) fn salvage(&self) -> Result<Option<Record>> {
        let read = |name| match self.read_file(name) {
            Err(error) if error.kind() == Kind::State => Ok(None),
            other => other,
        };
        let known = salvage(&self.id, &read(RECORD)?.unwrap_or_default(), read(PREVIOUS_RECORD)?.as_deref());
        known.map(Record::of_this_boot).transpose()
    }

    /// Returns what a record stores about the boot, and names it in the directory too: after a power loss a name is there where a
    /// file is still empty, and nobody waits for the disk.
    pub(crate) fn boot_to_remember(&self) -> Result<Option<String>> {
        let dir = self.open_dir()?;
        let boot = boot::to_remember(dir.as_fd())?;
        if let Some(boot) = &boot {
            dir.make_link(boot, BOOT).with_context(|| format!("make {}", self.shown(BOOT)))?;
        }
        Ok(boot)
    }

    /// Whether the directory was made in an earlier boot, with which the container's processes and groups have ended.
    pub(crate) fn is_of_an_earlier_boot(&self) -> Result<bool> {
        let boot = self.open_dir()?.read_link(BOOT).with_context(|| format!("read {}", self.shown(BOOT)))?;
        boot.map_or(Ok(false), |boot| Ok(!boot::is_current(&boot)?))
    }

    /// Replaces the record as a whole: a reader sees the old one or the new one. The old one stays beside it.
    pub(crate) fn write_record(&self, record: &Record) -> Result<()> {
        let bytes = serde_json::to_vec(record).map_err(|error| Error::new(Kind::State, error.to_string()))?;
        // The writer holds the lock, so one temporary name is enough. A killed writer's file is overwritten.
        let dir = self.open_dir()?;
        // The new record is written to the file of the previous one; the exchange swaps the two. The old
        // record is kept, because `salvage` finds the cgroup in it if the new record is torn. The first
        // record (without `init`) has no file to exchange with.
        let write = dir.write(PREVIOUS_RECORD_C, &bytes).and_then(|()| match record.init {
            Some(_) => Ok(dir.exchange(PREVIOUS_RECORD_C, RECORD_C)?),
            None => Ok(dir.rename(PREVIOUS_RECORD, RECORD)?),
        });
        write.with_context(|| format!("write {}", self.shown(RECORD)))
    }

    /// Returns the host's directory in which the container sees NOTIFY_SOCKET.
    pub(crate) fn notify_directory(&self) -> PathBuf {
        self.path.join(NOTIFY)
    }

    /// Makes the directory for NOTIFY_SOCKET, with mode 0755.
    pub(crate) fn make_notify_directory(&self) -> Result<()> {
        let made = self.open_dir()?.make_directory(NOTIFY, 0o755);
        made.with_context(|| format!("make {}", self.shown(NOTIFY)))
    }

    /// Keeps a copy of the bundle's config.json.
    pub(crate) fn keep_config(&self, config: &[u8]) -> Result<()> {
        // An environment may contain secrets, so nobody else may read it.
        let written = self.open_dir()?.write_new(CONFIG, config);
        written.with_context(|| format!("write {}", self.shown(CONFIG)))
    }

    /// Reads the configuration at creation.
    pub(crate) fn config(&self) -> Result<Vec<u8>> {
        let config = self.read_file(CONFIG)?.ok_or(Errno::ENOENT);
        config.with_context(|| format!("read {}", self.shown(CONFIG)))
    }

    /// Makes the exec fifo, and opens it for the container's process, which waits on it.
    pub(crate) fn make_exec_fifo(&self) -> Result<OwnedFd> {
        let dir = self.open_dir()?;
        // It is also opened for writing: otherwise a writer that opens and closes the fifo without writing
        // would cause an end of file.
        dir.make_fifo(FIFO).with_context(|| format!("make {}", self.shown(FIFO)))
    }

    /// Opens the exec fifo. Returns `None` if nobody waits at its other end.
    fn open_fifo(&self) -> Result<Option<OwnedFd>> {
        match self.open_dir()?.open_fifo(FIFO) {
            Ok(fifo) => Ok(Some(fifo)),
            Err(Unread::Failed(Errno::ENXIO)) => Ok(None),
            Err(Unread::Unusable(what)) => Err(self.not_ours(FIFO, what)),
            Err(Unread::Absent) => Err(Errno::ENOENT).with_context(|| format!("open {}", self.shown(FIFO))),
            Err(Unread::Failed(errno)) => Err(errno).with_context(|| format!("open {}", self.shown(FIFO))),
        }
    }

    /// Whether the exec fifo exists: that distinguishes a created container from a running one.
    pub(crate) fn has_exec_fifo(&self) -> Result<bool> {
        self.open_dir()?.has(FIFO).with_context(|| format!("look for {}", self.shown(FIFO)))
    }

    /// Tells the process that waits at the exec fifo to execute its program, and removes the fifo. Returns
    /// `None` if nobody waits, because the process is dead.
    pub(crate) fn start(&self) -> Result<Option<FifoWriter>> {
        let dir = self.open_dir()?;
        let Some(fifo) = self.open_fifo()? else { return Ok(None) };
        nix::unistd::write(&fifo, b"0").with_context(|| format!("write {}", self.shown(FIFO)))?;
        dir.unlink(FIFO).with_context(|| format!("remove {}", self.shown(FIFO)))?;
        Ok(Some(FifoWriter(fifo)))
    }

    /// Returns the mount point of the rootfs while CRIU restores into it.
    pub(crate) fn restore_root(&self) -> PathBuf {
        self.path.join(RESTORE_ROOT)
    }

    /// Unmounts and removes the mount point that a killed `restore` may have left: a removal of the directory
    /// must not continue into the rootfs.
    fn remove_restore_root(&self, dir: &StateDir) -> Result<()> {
        let root = format!("/proc/self/fd/{}/{RESTORE_ROOT}", dir.as_fd().as_raw_fd());
        let _ = umount2(&*root, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        match dir.remove_directory(RESTORE_ROOT) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno).with_context(|| format!("remove {}", self.shown(RESTORE_ROOT))),
        }
    }

    /// Removes the container's directory with everything in it.
    pub(crate) fn remove(&self) -> Result<()> {
        let dir = match self.open_dir() {
            Err(error) if error.kind() == Kind::NotFound => return Ok(()),
            other => other?,
        };
        let doing = || format!("remove {}", self.path.display());
        // Another command may have removed it while we waited for the lock. Then another container may have
        // the name now.
        if self.is_gone()? {
            return Ok(());
        }
        // The usual files are removed by name, so that the directory is read only if there are others. The
        // record is the last: as long as it exists, the removal can be repeated.
        for name in [CONFIG, FIFO, PREVIOUS_RECORD, RECORD] {
            let _ = dir.unlink(name);
        }
        // Only a directory on a disk names its boot: in memory, nobody looks for that.
        let mut removed = self.remove_directory();
        if removed == Err(Errno::ENOTEMPTY) && dir.unlink(BOOT).is_ok() {
            removed = self.remove_directory();
        }
        match removed {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => {}
            Err(errno) => return Err(errno).with_context(doing),
        }
        self.remove_restore_root(dir)?;
        dir.empty().with_context(doing)?;
        self.remove_directory().with_context(doing)
    }

    /// Removes the empty directory. rmdir(2) takes only a name; it follows no symlink.
    fn remove_directory(&self) -> Result<(), Errno> {
        let (root, path) = self.dir_and_path();
        unlinkat(root, path, UnlinkatFlags::RemoveDir)
    }
}

/// Adds a hint for a user who may not write to the default state root.
fn with_root_hint(error: Error) -> Error {
    match error.errno() {
        Some(nix::errno::Errno::EACCES) => {
            error.with_hint("without root, set XDG_RUNTIME_DIR, or name a directory by --root")
        }
        _ => error,
    }
}
