//! The state directory: `ROOT/ID/` with state.json and exec.fifo. The only place that knows these names.
//!
//! mkdir is the check that an id is free. Verbs that change a container hold its lock (flock on the directory: the
//! kernel releases it when the holder dies); readers never wait for it, since state.json is replaced by rename.

use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg, OFlag};
use nix::mount::{MntFlags, umount2};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{AccessFlags, faccessat};

use super::Record;
use crate::container_id::ContainerId;
use crate::error::{Context, Error, Kind, Result, matched};
use crate::fail;
use crate::sys::file::read_small;

const RECORD: &str = "state.json";
const FIFO: &str = "exec.fifo";
/// What the container's program says of itself arrives in this directory.
const NOTIFY: &str = "notify";
/// Where the rootfs is mounted while CRIU restores into it.
const RESTORE_ROOT: &str = "criu-root";
/// The configuration as it was at creation: exec and delete do not depend on the bundle any more.
const CONFIG: &str = "config.json";

/// For how long `start` waits for a program to run before hooks that come after it.
const LONGEST: u16 = 10_000; // ms

/// `--root`.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
    /// Under XDG_RUNTIME_DIR: sticky, so that cleaners of that directory leave it (XDG base directory specification).
    sticky: bool,
}

/// One container's directory.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    path: PathBuf,
    id: ContainerId,
    /// The directory above, where it is open: one of many need not be looked up from `/` each time.
    root: Option<Rc<OwnedFd>>,
}

/// The right to change a container.
#[derive(Debug)]
pub(crate) struct Lock(#[allow(dead_code)] Flock<fs::File>);

impl Store {
    pub(crate) fn new(root: &Path, sticky: bool) -> Self {
        Self { root: root.into(), sticky }
    }

    pub(crate) fn entry(&self, id: &ContainerId) -> Entry {
        Entry { path: self.root.join(id.as_str()), id: id.clone(), root: None }
    }

    /// Makes the directory of a new container and locks it.
    pub(crate) fn reserve(&self, id: &ContainerId) -> Result<(Entry, Lock)> {
        let entry = self.entry(id);
        let make = || fs::DirBuilder::new().mode(0o711).create(&entry.path);
        let made = match make() {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                self.make_root()?;
                make()
            }
            other => other,
        };
        match made {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                Err(Error::new(Kind::Exists, matched::ID_IN_USE))
            }
            other => other.with_context(|| format!("make state directory {}", entry.path.display())),
        }
        .map_err(with_a_way_out)?;
        // umask took its share.
        let _ = fs::set_permissions(&entry.path, fs::Permissions::from_mode(0o711));
        let lock = entry.lock()?;
        Ok((entry, lock))
    }

    fn make_root(&self) -> Result<()> {
        let made = fs::DirBuilder::new().mode(0o700).recursive(true).create(&self.root);
        made.with_context(|| format!("make state root {}", self.root.display()))?;
        if self.sticky {
            let sticky = fs::Permissions::from_mode(0o1700);
            fs::set_permissions(&self.root, sticky)
                .with_context(|| format!("chmod {}", self.root.display()))?;
        }
        Ok(())
    }

    /// Every container's directory, by id. None where the root does not exist.
    pub(crate) fn entries(&self) -> Result<Option<Vec<Entry>>> {
        let listing = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| format!("read {}", self.root.display()))?,
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = nix::fcntl::open(&self.root, flags, Mode::empty());
        let root = Rc::new(root.with_context(|| format!("open {}", self.root.display()))?);
        let mut entries = Vec::new();
        for item in listing {
            let item = item.with_context(|| format!("read {}", self.root.display()))?;
            let name = item.file_name();
            let id = name.to_str().and_then(|name| ContainerId::parse(name).ok());
            if let (Some(id), true) = (id, item.file_type().is_ok_and(|kind| kind.is_dir())) {
                entries.push(Entry { path: item.path(), id, root: Some(Rc::clone(&root)) });
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

    /// A file, as the calls take it that look it up from a directory.
    fn file(&self, name: &str) -> (BorrowedFd<'_>, PathBuf) {
        match &self.root {
            Some(root) => (root.as_fd(), Path::new(self.id.as_str()).join(name)),
            None => (AT_FDCWD, self.path.join(name)),
        }
    }

    /// The user that the directory belongs to.
    pub(crate) fn owner(&self) -> u32 {
        let (root, path) = self.file("");
        fstatat(root, &path, AtFlags::empty()).map_or(0, |stat| stat.st_uid)
    }

    /// Waits for the right to change the container.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let directory =
            match fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(&self.path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(absent()),
                other => other.with_context(|| format!("open {}", self.path.display()))?,
            };
        Flock::lock(directory, FlockArg::LockExclusive)
            .map(Lock)
            .map_err(|(_, errno)| errno)
            .with_context(|| format!("lock {}", self.path.display()))
    }

    /// The record; `does not exist` where there is none.
    pub(crate) fn read(&self) -> Result<Record> {
        let shown = || self.path.join(RECORD);
        let (root, path) = self.file(RECORD);
        let file = nix::fcntl::openat(root, &path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
        let bytes = match file.and_then(read_small) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Err(absent()),
            other => other.with_context(|| format!("read {}", shown().display()))?,
        };
        let broken = |why: String| fail!(Kind::State, "{}: not a readable record: {why}", shown().display());
        let record: Record = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
        match record.version {
            super::record::VERSION => Ok(record),
            other => Err(broken(format!("version {other}, this tare reads {}", super::record::VERSION))),
        }
    }

    /// Replaces the record as a whole: a reader sees the old one or the new one.
    pub(crate) fn write(&self, record: &Record) -> Result<()> {
        let bytes = serde_json::to_vec(record).map_err(|error| Error::new(Kind::State, error.to_string()))?;
        self.replace(RECORD, &bytes)
    }

    pub(crate) fn notify_directory(&self) -> PathBuf {
        self.path.join(NOTIFY)
    }

    /// Makes the directory that the container sees.
    pub(crate) fn make_notify_directory(&self) -> Result<()> {
        let path = self.notify_directory();
        let made = fs::create_dir(&path)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
        made.with_context(|| format!("make {}", path.display()))
    }

    /// Keeps the configuration.
    pub(crate) fn keep_config(&self, config: &[u8]) -> Result<()> {
        let path = self.path.join(CONFIG);
        // An environment may hold secrets: for nobody else, whatever the umask.
        let open = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let write = open.and_then(|mut file| file.write_all(config));
        write.with_context(|| format!("write {}", path.display()))
    }

    /// The configuration as it was at creation.
    pub(crate) fn config(&self) -> Result<Vec<u8>> {
        let path = self.path.join(CONFIG);
        fs::read(&path).with_context(|| format!("read {}", path.display()))
    }

    /// Whoever writes holds the lock, so one name does for all; what a killed writer has left is written over.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let new = self.path.join(format!(".{name}.new"));
        let path = self.path.join(name);
        let write = || {
            let open = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
            open.and_then(|mut file| file.write_all(bytes)).and_then(|()| fs::rename(&new, &path))
        };
        write().with_context(|| format!("write {}", path.display())).inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })
    }

    fn fifo(&self) -> PathBuf {
        self.path.join(FIFO)
    }

    /// Makes the exec fifo and opens it for the container's process to wait on.
    pub(crate) fn make_exec_fifo(&self) -> Result<OwnedFd> {
        let path = self.fifo();
        let doing = || format!("make {}", path.display());
        let c_path =
            CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL).with_context(doing)?;
        nix::unistd::mkfifo(c_path.as_c_str(), Mode::from_bits_truncate(0o600)).with_context(doing)?;
        // For writing too: a writer that comes and goes without a word is then no end of file.
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
        nix::fcntl::open(c_path.as_c_str(), flags, Mode::empty())
            .with_context(|| format!("open {}", path.display()))
    }

    /// Its existence tells created from running.
    pub(crate) fn has_exec_fifo(&self) -> bool {
        let (root, path) = self.file(FIFO);
        faccessat(root, &path, AccessFlags::F_OK, AtFlags::empty()).is_ok()
    }

    /// Tells the waiting process to go on. None where nobody waits at the fifo: the process is dead.
    pub(crate) fn start(&self) -> Result<Option<Started>> {
        let path = self.fifo();
        let doing = || format!("open {}", path.display());
        let fifo = match fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&path) {
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(None),
            other => other.with_context(doing)?,
        };
        nix::unistd::write(fifo.as_fd(), b"0").with_context(|| format!("write {}", path.display()))?;
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        Ok(Some(Started(fifo)))
    }

    pub(crate) fn restore_root(&self) -> PathBuf {
        self.path.join(RESTORE_ROOT)
    }

    /// A restore that was killed leaves the rootfs mounted here: what removes all must not meet it.
    fn remove_restore_root(&self) -> Result<()> {
        let root = self.restore_root();
        let _ = umount2(&root, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        match fs::remove_dir(&root) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", root.display()))
            }
            _ => Ok(()),
        }
    }

    /// Removes the directory and all in it.
    pub(crate) fn remove(&self) -> Result<()> {
        // What is always in it, by name: the directory need not be read. With what else somebody has put there, it is.
        for name in [RECORD, CONFIG, FIFO] {
            let _ = fs::remove_file(self.path.join(name));
        }
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {}
            _ => return Ok(()),
        }
        self.remove_restore_root()?;
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.with_context(|| format!("remove {}", self.path.display())),
        }
    }
}

/// A process that was told to go on, seen through its fifo.
#[derive(Debug)]
pub(crate) struct Started(fs::File);

impl Started {
    /// Waits until it has executed its program, or ended: then its end of the fifo is closed. Not longer than hooks of
    /// its own may reasonably take; a process may also have been stopped by somebody.
    pub(crate) fn wait_for_program(&self) -> Result<()> {
        // Of a pipe's writing end, nothing but the loss of all readers is told.
        let mut waiting = [PollFd::new(self.0.as_fd(), PollFlags::empty())];
        loop {
            match poll(&mut waiting, LONGEST) {
                Err(Errno::EINTR) => {}
                other => return other.map(drop).context("wait for the program"),
            }
        }
    }
}

fn absent() -> Error {
    Error::new(Kind::NotFound, matched::DOES_NOT_EXIST)
}

/// For somebody whom nothing told where their own directory is.
fn with_a_way_out(error: Error) -> Error {
    match error.errno() {
        Some(nix::errno::Errno::EACCES) => {
            error.with_hint("without root, set XDG_RUNTIME_DIR, or name a directory by --root")
        }
        _ => error,
    }
}
