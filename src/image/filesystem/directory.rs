//! `Directory`: a directory whose content is read, made and replaced by descriptor. No link in it is
//! followed, whoever may write to it, so that what is written, locked or removed is in it and nowhere else.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use super::input_file::{check_regular, present, read_at_most};
use super::lock::Lock;
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::inroot::c_string;
use crate::sys::file::rename_new;

const OPEN_DIR: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
/// A pipe under the name of a file does not block.
const NO_LINK: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC);

/// An open directory. The names in it that its functions take are single components.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    /// For messages.
    path: PathBuf,
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Directory {
    /// Opens the directory that the user has named, by whatever links.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let fd = nix::fcntl::open(path, OPEN_DIR, Mode::empty());
        Ok(Self { fd: fd.with_context(|| format!("open {}", path.display()))?, path: path.into() })
    }

    /// Opens like `open`; fails with ELOOP or ENOTDIR if the last component of the path is a link.
    pub(crate) fn open_no_link(path: &Path) -> Result<Self> {
        let fd = nix::fcntl::open(path, OPEN_DIR | OFlag::O_NOFOLLOW, Mode::empty());
        Ok(Self { fd: fd.with_context(|| format!("open {}", path.display()))?, path: path.into() })
    }

    /// Opens the directory `name` in this one.
    ///
    /// # Errors
    ///
    /// `Kind::Denied` if it is a symlink.
    pub(crate) fn below(&self, name: &str) -> Result<Self> {
        let path = self.path_of(name);
        match openat(&self.fd, name, OPEN_DIR | OFlag::O_NOFOLLOW, Mode::empty()) {
            Err(_) if self.is_link(name) => Err(is_a_link(&path)),
            fd => Ok(Self { fd: fd.with_context(|| format!("open {}", path.display()))?, path }),
        }
    }

    /// Opens like `below`, and makes the directory if it is missing.
    pub(crate) fn make(&self, name: &str, mode: u32) -> Result<Self> {
        // Nearly always it is there; mkdir(2) would take the lock of the directory above to say so.
        match self.below(name) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => {}
            found => return found,
        }
        match mkdirat(&self.fd, name, Mode::from_bits_truncate(mode)) {
            Ok(()) | Err(Errno::EEXIST) => self.below(name),
            Err(errno) => Err(errno).with_context(|| format!("make {}", self.path_of(name).display())),
        }
    }

    pub(crate) fn path_of(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn stat(&self) -> Result<FileStat> {
        fstat(&self.fd).with_context(|| format!("stat {}", self.path.display()))
    }

    /// The stat of `name`; None if it does not exist.
    pub(crate) fn stat_of(&self, name: impl AsRef<Path>) -> Result<Option<FileStat>> {
        let name = name.as_ref();
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => Ok(None),
            stat => stat.map(Some).with_context(|| format!("stat {}", self.path_of(name).display())),
        }
    }

    fn is_link(&self, name: &str) -> bool {
        let kind = |stat: FileStat| stat.st_mode & libc::S_IFMT;
        self.stat_of(name).is_ok_and(|found| found.map(kind) == Some(libc::S_IFLNK))
    }

    /// The names in it. One that is no text becomes one that nothing has.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let reading = || format!("read {}", self.path.display());
        let fd = openat(&self.fd, c".", OPEN_DIR, Mode::empty()).with_context(reading)?;
        let mut names = Vec::new();
        for item in Dir::from_fd(fd).with_context(reading)?.iter() {
            let name = item.with_context(reading)?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Opens the regular file `name`.
    pub(crate) fn open_file(&self, name: &str) -> Result<File> {
        let path = self.path_of(name);
        let opening = || format!("open {}", path.display());
        // Before it is opened: opening a device can have effects, as that of a watchdog.
        let stat = fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW).with_context(opening)?;
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => {}
            libc::S_IFLNK => return Err(is_a_link(&path)),
            _ => return Err(fail!(Kind::Spec, "{}: not a regular file", path.display())),
        }
        let file = openat(&self.fd, name, OFlag::O_RDONLY | NO_LINK, Mode::empty()).with_context(opening)?;
        let file = File::from(file);
        check_regular(&file.metadata().with_context(opening)?, &path)?;
        Ok(file)
    }

    /// Reads the regular file `name`, which may have `most` bytes; None if it does not exist.
    pub(crate) fn read_small(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        present(self.open_file(name).and_then(|file| read_at_most(file, &self.path_of(name), most)))
    }

    pub(crate) fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        renameat(&self.fd, from, &self.fd, to)
            .with_context(|| format!("write {}", self.path_of(to).display()))
    }

    /// Renames like `rename`, where nothing has the new name; EEXIST where something has.
    pub(crate) fn rename_new(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        let [old, new] = [from, to].map(|name| c_string(name.as_os_str().as_bytes()));
        match rename_new(self.fd.as_fd(), &old?, self.fd.as_fd(), &new?) {
            // The filesystem has no such rename.
            Err(Errno::EINVAL) => self.rename(from, to),
            renamed => renamed.with_context(|| format!("write {}", self.path_of(to).display())),
        }
    }

    /// Removes a file that another process may remove at the same time.
    pub(crate) fn remove_file(&self, name: impl AsRef<Path>) -> Result<()> {
        match unlinkat(&self.fd, name.as_ref(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno).with_context(|| format!("remove {}", self.path_of(name).display())),
        }
    }

    /// Opens or makes a file that is still being written, under a name that others can predict, and locks it;
    /// waits for another process that works on it. What a killed process left is taken over.
    ///
    /// # Errors
    ///
    /// `Kind::Exists` if it is no regular file, or is a symlink, another owner's or another hard link:
    /// writing would change another file.
    pub(crate) fn lock_partial(&self, name: impl AsRef<Path>, mode: u32) -> Result<Lock<File>> {
        let name = name.as_ref();
        let place = || format!("open {}", self.path_of(name).display());
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | NO_LINK;
        loop {
            let file = match openat(&self.fd, name, flags, Mode::from_bits_truncate(mode)) {
                Err(Errno::ELOOP) => return Err(foreign()).with_context(place),
                file => File::from(file.with_context(place)?),
            };
            if !is_ours(&file).with_context(place)? {
                return Err(foreign()).with_context(place);
            }
            let file = Lock::wait(file).with_context(place)?;
            // The process that had the lock may have renamed the file to its destination, or removed it.
            if self.is_still(name, &file).with_context(place)? {
                return Ok(file);
            }
        }
    }

    /// Whether `name` is this file.
    fn is_still(&self, name: &Path, file: &File) -> Result<bool> {
        let found = file.metadata()?;
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => Ok(false),
            now => now.map(|now| (now.st_dev, now.st_ino) == (found.dev(), found.ino())).map_err(Error::from),
        }
    }

    /// Writes `bytes` to `NAME.partial` and renames it to `name`: a reader sees the old content or the new. On ext4 that
    /// holds after a power loss too: a file that was cut to nothing is written to the disk when it is closed
    /// (auto_da_alloc), and another one could be there under its new name and empty.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
        self.replace_by(name, bytes, mode, |file| file.set_len(0))
    }

    /// Does the same for a file that is of no use after a power loss, and does not wait for the disk.
    pub(crate) fn replace_for_now(&self, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
        self.replace_by(name, bytes, mode, |file| match file.metadata()?.len() {
            0 => Ok(()),
            _ => file.set_len(0),
        })
    }

    fn replace_by(
        &self,
        name: &str,
        bytes: &[u8],
        mode: u32,
        empty: fn(&File) -> std::io::Result<()>,
    ) -> Result<()> {
        let partial = format!("{name}.partial");
        let mut file = self.lock_partial(&partial, mode)?;
        let mut write = || {
            empty(&file)?;
            file.write_all(bytes)
        };
        let written = write().with_context(|| format!("write {}", self.path_of(name).display()));
        let written = written.and_then(|()| self.rename(&partial, name));
        written.inspect_err(|_| drop(self.remove_file(&partial)))
    }

    /// Removes the temporary files that killed processes of this user have left: those whose names
    /// `is_temporary` knows, and that no living process holds locked.
    pub(crate) fn remove_abandoned(&self, is_temporary: impl Fn(&str) -> bool) -> Result<()> {
        for name in self.names()?.iter().filter(|name| is_temporary(name)) {
            let Some(file) = self.open_ours(name)? else { continue };
            match Lock::try_now(file) {
                Ok(file) if self.is_still(Path::new(name), &file)? => self.remove_file(name)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Opens a file that is surely ours.
    fn open_ours(&self, name: &str) -> Result<Option<File>> {
        match self.open_file(name) {
            // Another process removed it, or it is nothing that we make.
            Err(error) if matches!(error.kind(), Kind::Spec | Kind::Denied | Kind::System(_)) => Ok(None),
            file => file.and_then(|file| Ok(is_ours(&file)?.then_some(file))),
        }
    }
}

/// The temporary name that earlier versions gave a file that was being replaced: `index.tare-PID-NUMBER`.
pub(crate) fn is_temporary_name(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = name.rsplit_once(".tare-").and_then(|(_, rest)| rest.split_once('-'));
    numbers.is_some_and(|(pid, number)| is_number(pid) && is_number(number))
}

/// Whether the file is a regular one that this user has made, with no other name; another process may have
/// removed it.
fn is_ours(file: &File) -> Result<bool> {
    let found = file.metadata()?;
    Ok(found.is_file() && found.uid() == geteuid().as_raw() && found.nlink() <= 1)
}

fn is_a_link(path: &Path) -> Error {
    let error = fail!(Kind::Denied, "it is a symlink, and is not followed");
    error.context(format!("open {}", path.display()))
}

fn foreign() -> Error {
    let error = fail!(Kind::Exists, "it is there already, and not what an earlier run of this user left");
    error.with_hint("look at it, and remove it by hand if nobody needs it")
}
