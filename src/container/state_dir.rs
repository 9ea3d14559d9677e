//! A container's state directory, held by descriptor: what is in it is opened, made and removed below that and nowhere
//! else, and no symlink in it or in its place is followed. The lock is in `store`.
//!
//! Who could write here could have root kill a process or remove a group of their choice: the directory must be our own
//! user's or root's, and nobody else's to write in.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, mkfifoat, unlinkat};

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::sys::file::{exchange, read_small};

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
/// Opened for reading, what is no file must not hold us up.
const FILE: OFlag = OFlag::O_RDONLY.union(OFlag::O_NOFOLLOW).union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC);
/// Write permission of the group and of all others.
const WRITABLE_BY_OTHERS: libc::mode_t = 0o022;
/// Directories in one another that are removed: ours have two.
const DEEPEST: u32 = 32;

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
    /// None where nothing of that name is there. `shown` is its path for people.
    pub(super) fn open(parent: BorrowedFd<'_>, path: &Path, shown: &Path) -> Result<Option<Self>> {
        let fd = match openat(parent, path, DIRECTORY, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno @ (Errno::ENOTDIR | Errno::ELOOP)) => {
                return Err(errno)
                    .with_context(|| format!("open {} (a symlink is not followed)", shown.display()));
            }
            other => other.with_context(|| format!("open {}", shown.display()))?,
        };
        let stat = fstat(&fd).with_context(|| format!("stat {}", shown.display()))?;
        judge(&stat, shown)?;
        Ok(Some(Self { fd, owner: stat.st_uid }))
    }

    pub(super) fn owner(&self) -> u32 {
        self.owner
    }

    /// Whether it has been removed since it was opened.
    pub(super) fn is_gone(&self) -> Result<bool, Errno> {
        fstat(&self.fd).map(|stat| stat.st_nlink == 0)
    }

    pub(super) fn set_mode(&self, mode: libc::mode_t) -> Result<(), Errno> {
        fchmod(&self.fd, Mode::from_bits_truncate(mode))
    }

    /// All that is in a file.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, Errno> {
        read_small(openat(&self.fd, name, FILE, Mode::empty())?)
    }

    /// The same of a file that may be large.
    pub(super) fn read_large(&self, name: &str) -> std::io::Result<Vec<u8>> {
        let mut file = File::from(openat(&self.fd, name, FILE, Mode::empty())?);
        let mut bytes = Vec::with_capacity(file.metadata().map_or(0, |known| known.len() as usize));
        file.read_to_end(&mut bytes).map(|_| bytes)
    }

    /// Writes a file, which is for nobody else whatever the umask; `how` says whether it may be there.
    pub(super) fn write(&self, name: &str, bytes: &[u8], how: OFlag) -> std::io::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | how;
        let mut file = File::from(openat(&self.fd, name, flags, Mode::from_bits_truncate(0o600))?);
        file.write_all(bytes)
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

    /// Has two files change names; where the file system cannot do that, `from` replaces `to`.
    pub(super) fn exchange(&self, from: &std::ffi::CStr, to: &std::ffi::CStr) -> Result<(), Errno> {
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

    pub(super) fn make_fifo(&self, name: &str) -> Result<(), Errno> {
        mkfifoat(&self.fd, name, Mode::from_bits_truncate(0o600))
    }

    /// Opens a file that is there.
    pub(super) fn open_file(&self, name: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
        openat(&self.fd, name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
    }

    pub(super) fn unlink(&self, name: &str) -> Result<(), Errno> {
        unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir)
    }

    pub(super) fn remove_directory(&self, name: &str) -> Result<(), Errno> {
        unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir)
    }

    /// Removes all that is in it, and nothing of another file system.
    pub(super) fn empty(&self) -> Result<(), Errno> {
        let own = fstat(&self.fd)?.st_dev;
        empty(openat(&self.fd, ".", DIRECTORY, Mode::empty())?, own, DEEPEST)
    }
}

fn judge(stat: &FileStat, shown: &Path) -> Result<()> {
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
    for name in names?.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
        let name = name.as_c_str();
        match unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR | Errno::EPERM) => {}
            Ok(()) | Err(Errno::ENOENT) => continue,
            Err(errno) => return Err(errno),
        }
        let below = openat(&directory, name, DIRECTORY, Mode::empty())?;
        let stat = fstat(&below)?;
        debug_assert_eq!(stat.st_mode & SFlag::S_IFMT.bits(), SFlag::S_IFDIR.bits());
        match (stat.st_dev == device, depth.checked_sub(1)) {
            (true, Some(depth)) => empty(below, device, depth)?,
            (true, None) => return Err(Errno::ELOOP),
            (false, _) => return Err(Errno::EBUSY),
        }
        unlinkat(&directory, name, UnlinkatFlags::RemoveDir)?;
    }
    Ok(())
}
