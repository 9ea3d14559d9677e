//! A container's state directory, held by descriptor. Its files are opened, made and removed only below that
//! descriptor, and no symlink in it or in its place is followed. The lock is in `store`.
//!
//! Whoever could write here could make root kill any process or remove any group. So the directory must
//! belong to our own user or to root, and nobody else may write in it.

use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, mkfifoat, symlinkat, unlinkat};

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::sys::file::exchange;
use crate::weak::{Defence, stands};

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
/// O_NONBLOCK: opening a FIFO must not block.
const FILE: OFlag = OFlag::O_RDONLY.union(OFlag::O_NOFOLLOW).union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC);
/// Write permission of the group and of all others.
const WRITABLE_BY_OTHERS: libc::mode_t = 0o022;
/// How deep the directories that are removed may nest: ours have two levels.
const DEEPEST: u32 = 32;
/// The largest file that is read, in bytes. A configuration has at most 16 MiB; a record contains parts of
/// it, escaped.
const LARGEST: usize = 128 << 20;

#[derive(Debug)]
pub(super) struct StateDir {
    fd: OwnedFd,
    owner: u32,
}

impl AsFd for StateDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl StateDir {
    /// Opens the directory. Returns `None` if it does not exist. `shown` is its path for messages.
    pub(super) fn open(parent: BorrowedFd<'_>, path: &Path, shown: &Path) -> Result<Option<Self>> {
        let mut flags = DIRECTORY;
        if !stands(Defence::StateDir) {
            flags.remove(OFlag::O_NOFOLLOW);
        }
        let fd = match openat(parent, path, flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno @ (Errno::ENOTDIR | Errno::ELOOP)) => {
                return Err(errno)
                    .with_context(|| format!("open {} (a symlink is not followed)", shown.display()));
            }
            other => other.with_context(|| format!("open {}", shown.display()))?,
        };
        let stat = fstat(&fd).with_context(|| format!("stat {}", shown.display()))?;
        check_owner(&stat, shown)?;
        Ok(Some(Self { fd, owner: stat.st_uid }))
    }

    pub(super) fn owner(&self) -> u32 {
        self.owner
    }

    /// Whether the directory has been removed since it was opened.
    pub(super) fn is_gone(&self) -> Result<bool, Errno> {
        fstat(&self.fd).map(|stat| stat.st_nlink == 0)
    }

    pub(super) fn set_mode(&self, mode: libc::mode_t) -> Result<(), Errno> {
        fchmod(&self.fd, Mode::from_bits_truncate(mode))
    }

    /// Reads a whole file. If its name belongs to something else, this neither waits for that nor follows it.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, Unread> {
        let file = openat(&self.fd, name, FILE, Mode::empty()).map_err(Unread::from_open)?;
        let stat = fstat(&file).map_err(Unread::Failed)?;
        let size = match (kind(&stat), usize::try_from(stat.st_size)) {
            (SFlag::S_IFREG, Ok(size)) if size <= LARGEST => size,
            (SFlag::S_IFREG, _) => return Err(Unread::Unusable("too large")),
            (other, _) => return Err(Unread::Unusable(name_of(other))),
        };
        // The file is complete: a file gets this name only after it is written.
        let (mut bytes, mut length) = (vec![0; size], 0);
        while length < size {
            match nix::unistd::read(&file, &mut bytes[length..]) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Unread::Failed(errno)),
            }
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Makes a file that nobody else may read, whatever the umask.
    pub(super) fn write_new(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(&self.fd, name, flags, Mode::from_bits_truncate(0o600))?);
        file.write_all(bytes)
    }

    /// Writes a file in place of anything that has the name.
    pub(super) fn write(&self, name: &CStr, bytes: &[u8]) -> std::io::Result<()> {
        let text = name.to_str().map_err(std::io::Error::other)?;
        match self.write_new(text, bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                remove(self.fd.as_fd(), name, fstat(&self.fd)?.st_dev, DEEPEST)?;
                self.write_new(text, bytes)
            }
            other => other,
        }
    }

    pub(super) fn make_link(&self, target: &str, name: &str) -> Result<(), Errno> {
        symlinkat(target, &self.fd, name)
    }

    /// The target of a symlink; `None` if there is none of the name.
    pub(super) fn read_link(&self, name: &str) -> Result<Option<String>, Errno> {
        match readlinkat(&self.fd, name) {
            Ok(target) => Ok(Some(target.to_string_lossy().into_owned())),
            Err(Errno::ENOENT | Errno::EINVAL) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    pub(super) fn has(&self, name: &str) -> Result<bool, Errno> {
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        renameat(&self.fd, from, &self.fd, to)
    }

    /// Exchanges two files' names. If the filesystem does not support that, `from` replaces `to`.
    pub(super) fn exchange(&self, from: &CStr, to: &CStr) -> Result<(), Errno> {
        match exchange(self.fd.as_fd(), from, to) {
            Err(Errno::ENOENT | Errno::EINVAL | Errno::ENOSYS) => renameat(&self.fd, from, &self.fd, to),
            other => other,
        }
    }

    pub(super) fn make_directory(&self, name: &str, mode: libc::mode_t) -> Result<(), Errno> {
        mkdirat(&self.fd, name, Mode::from_bits_truncate(0o700))?;
        let made = openat(&self.fd, name, DIRECTORY, Mode::empty())?;
        fchmod(made, Mode::from_bits_truncate(mode))
    }

    /// Makes a fifo and opens it for reading and for writing.
    pub(super) fn make_fifo(&self, name: &str) -> Result<OwnedFd, Errno> {
        mkfifoat(&self.fd, name, Mode::from_bits_truncate(0o600))?;
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.fd, name, flags, Mode::empty())
    }

    /// Opens an existing fifo for writing, without waiting for a reader.
    ///
    /// # Errors
    /// ENXIO if nobody reads; `Unusable` if it is no fifo.
    pub(super) fn open_fifo(&self, name: &str) -> Result<OwnedFd, Unread> {
        let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let opened = openat(&self.fd, name, flags, Mode::empty());
        let stat = match &opened {
            Ok(fifo) => fstat(fifo),
            Err(Errno::ENXIO) => fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW),
            Err(Errno::EISDIR) => return Err(Unread::Unusable(name_of(SFlag::S_IFDIR))),
            Err(errno) => return Err(Unread::from_open(*errno)),
        };
        match kind(&stat.map_err(Unread::Failed)?) {
            SFlag::S_IFIFO => opened.map_err(Unread::Failed),
            other => Err(Unread::Unusable(name_of(other))),
        }
    }

    pub(super) fn unlink(&self, name: &str) -> Result<(), Errno> {
        unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir)
    }

    pub(super) fn remove_directory(&self, name: &str) -> Result<(), Errno> {
        unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir)
    }

    /// Lists what is in the directory.
    pub(super) fn names(&self) -> Result<Vec<String>, Errno> {
        let mut listing = Dir::from_fd(openat(&self.fd, ".", DIRECTORY, Mode::empty())?)?;
        let name = |entry: Result<nix::dir::Entry, Errno>| {
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        let is_dots = |name: &Result<String, Errno>| matches!(name.as_deref(), Ok("." | ".."));
        listing.iter().map(name).filter(|name| !is_dots(name)).collect()
    }

    /// Removes everything in the directory, but nothing on another filesystem.
    pub(super) fn empty(&self) -> Result<(), Errno> {
        let our_device = fstat(&self.fd)?.st_dev;
        empty(openat(&self.fd, ".", DIRECTORY, Mode::empty())?, our_device, DEEPEST)
    }
}

/// Why a file cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    Absent,
    /// Another kind of file has the name, which we have not made.
    Unusable(&'static str),
    Failed(Errno),
}

impl Unread {
    fn from_open(errno: Errno) -> Self {
        match errno {
            Errno::ENOENT => Self::Absent,
            Errno::ELOOP => Self::Unusable(name_of(SFlag::S_IFLNK)),
            // For a device, ENXIO means that it has no driver.
            Errno::ENXIO => Self::Unusable("a socket or a device"),
            other => Self::Failed(other),
        }
    }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

fn name_of(kind: SFlag) -> &'static str {
    match kind {
        SFlag::S_IFREG => "a file",
        SFlag::S_IFDIR => "a directory",
        SFlag::S_IFLNK => "a symlink",
        SFlag::S_IFIFO => "a fifo",
        SFlag::S_IFSOCK => "a socket",
        _ => "a device",
    }
}

fn check_owner(stat: &FileStat, shown: &Path) -> Result<()> {
    if !stands(Defence::StateDir) {
        return Ok(());
    }
    let why = if stat.st_uid != 0 && stat.st_uid != geteuid().as_raw() {
        format!("it belongs to user {}", stat.st_uid)
    } else if stat.st_mode & WRITABLE_BY_OTHERS != 0 {
        format!("others may write in it (mode {:o})", stat.st_mode & 0o7777)
    } else {
        return Ok(());
    };
    Err(fail!(Kind::Denied, "state directory {} is not used: {why}", shown.display()))
}

fn empty(directory: OwnedFd, device: libc::dev_t, depth: u32) -> Result<(), Errno> {
    let mut directory = Dir::from_fd(directory)?;
    let names: Result<Vec<_>, Errno> =
        directory.iter().map(|entry| entry.map(|entry| entry.file_name().to_owned())).collect();
    let fd = directory.as_fd();
    let mut ours = names?.into_iter().filter(|name| !matches!(name.to_bytes(), b"." | b".."));
    ours.try_for_each(|name| remove(fd, &name, device, depth))
}

/// Removes anything with that name, and a directory with all its content.
fn remove(parent: BorrowedFd<'_>, name: &CStr, device: libc::dev_t, depth: u32) -> Result<(), Errno> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    }
    let below = openat(parent, name, DIRECTORY, Mode::empty())?;
    match (fstat(&below)?.st_dev == device, depth.checked_sub(1)) {
        (true, Some(depth)) => empty(below, device, depth)?,
        (true, None) => return Err(Errno::ELOOP),
        (false, _) => return Err(Errno::EBUSY),
    }
    unlinkat(parent, name, UnlinkatFlags::RemoveDir)
}
