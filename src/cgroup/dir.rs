//! A group's directory, held by descriptor. Control files are opened only below it.
//!
//! Lookups do not follow symlinks and do not leave the hierarchy's mount, and opening creates nothing: a path
//! that is not a control group fails instead of becoming a file on a disk.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, fstatfs};

use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::sys::file::{
    RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2, read_small,
};

const INSIDE: u64 = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW);

/// Device and inode of a group.
pub(crate) type Identity = (u64, u64);

#[derive(Debug)]
pub(crate) struct CgroupDir {
    fd: OwnedFd,
    /// For messages.
    pub path: PathBuf,
}

impl AsFd for CgroupDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl CgroupDir {
    /// Opens the root of a mounted hierarchy.
    pub(crate) fn open_root(path: &Path) -> Result<Self> {
        let doing = || format!("open control group hierarchy {}", path.display());
        let fd = nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
        let fd = fd.with_context(doing)?;
        let kind = fstatfs(&fd).with_context(doing)?.filesystem_type();
        if kind != CGROUP_SUPER_MAGIC && kind != CGROUP2_SUPER_MAGIC {
            return Err(
                fail!(Kind::Unsupported, "no control group hierarchy is mounted there").context(doing())
            );
        }
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens a group below this one. Returns the bare errno, because its absence is often an answer.
    pub(crate) fn open_child(&self, path: &Path) -> Result<Self, Errno> {
        let fd = self.open(path.as_os_str().as_bytes(), DIRECTORY)?;
        Ok(Self { fd, path: self.path.join(path) })
    }

    /// Opens the same group once more.
    pub(crate) fn reopen(&self) -> Result<Self, Errno> {
        Ok(Self { fd: self.open(b".", DIRECTORY)?, path: self.path.clone() })
    }

    /// Opens a group directly below in place of this one, which comes back where that fails.
    pub(crate) fn descend(mut self, name: &Path) -> Result<Self, (Self, Errno)> {
        match self.open(name.as_os_str().as_bytes(), DIRECTORY) {
            Ok(fd) => {
                self.path.push(name);
                Ok(Self { fd, path: self.path })
            }
            Err(errno) => Err((self, errno)),
        }
    }

    /// Opens the group directly above in its place.
    pub(crate) fn ascend(mut self) -> Result<Self, Errno> {
        let fd = nix::fcntl::openat(&self.fd, c"..", DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        self.path.pop();
        Ok(Self { fd, path: self.path })
    }

    /// Returns what distinguishes this group from all others that exist at the same time.
    pub(crate) fn identity(&self) -> Result<Identity, Errno> {
        let stat = nix::sys::stat::fstat(&self.fd)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Opens a path, which may have several components. Returns the bare errno.
    fn open(&self, path: &[u8], flags: OFlag) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
        match openat2(self.fd.as_fd(), &path, flags.bits(), 0, INSIDE) {
            // KERNEL(5.6): openat2. On an older kernel the path is at least clean: `plan::location::clean`
            // has removed the dots.
            Err(Errno::ENOSYS) => {
                let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                nix::fcntl::openat(&self.fd, path.as_c_str(), flags, Mode::empty())
            }
            other => other,
        }
    }

    /// Makes the child group `name`. Returns false if it existed.
    pub(crate) fn create_child(&self, name: &Path) -> Result<bool, Errno> {
        match nix::sys::stat::mkdirat(&self.fd, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Removes the child group `name`.
    pub(crate) fn remove_child(&self, name: &Path) -> Result<(), Errno> {
        nix::unistd::unlinkat(&self.fd, name, nix::unistd::UnlinkatFlags::RemoveDir)
    }

    /// Reads a control file's text.
    pub(crate) fn read(&self, file: &str) -> Result<String, Errno> {
        self.read_path(name(file)?)
    }

    /// Reads a control file of a group below this one, without opening that group.
    pub(crate) fn read_in_child(&self, group: &Path, file: &str) -> Result<String, Errno> {
        self.read_path(group.join(OsStr::from_bytes(name(file)?)).as_os_str().as_bytes())
    }

    fn read_path(&self, path: &[u8]) -> Result<String, Errno> {
        let text = read_small(self.open(path, OFlag::O_RDONLY)?)?;
        String::from_utf8(text).map_err(|_| Errno::EILSEQ)
    }

    /// Writes a value to a control file, in one write.
    pub(crate) fn write(&self, file: &str, value: &str) -> Result<(), Errno> {
        let mut file = File::from(self.open(name(file)?, OFlag::O_WRONLY)?);
        // The kernel's parser never sees an empty write.
        let value = if value.is_empty() { "\n" } else { value };
        let written = loop {
            match file.write(value.as_bytes()).map_err(|error| errno(&error)) {
                Err(Errno::EINTR) => {}
                other => break other?,
            }
        };
        if written == value.len() { Ok(()) } else { Err(Errno::EIO) }
    }

    /// Opens a control file that is waited on or handed to the kernel.
    pub(crate) fn open_file(&self, file: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
        self.open(name(file)?, flags)
    }

    pub(crate) fn read_with_context(&self, file: &str) -> Result<String> {
        self.read(file).with_context(|| format!("read {}", self.path.join(file).display()))
    }

    pub(crate) fn write_with_context(&self, file: &str, value: &str) -> Result<()> {
        self.write(file, value)
            .with_context(|| format!("write {value:?} to {}", self.path.join(file).display()))
    }

    /// Returns the names of the groups directly below.
    pub(crate) fn children(&self) -> Result<Vec<PathBuf>, Errno> {
        let fd = self.open(b".", OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        let mut children = Vec::new();
        for entry in nix::dir::Dir::from_fd(fd)?.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if entry.file_type() == Some(nix::dir::Type::Directory) && name != b"." && name != b".." {
                children.push(PathBuf::from(std::ffi::OsStr::from_bytes(name)));
            }
        }
        Ok(children)
    }

    /// Whether this is the v2 tree.
    pub(crate) fn is_v2(&self) -> bool {
        fstatfs(&self.fd).is_ok_and(|stat| stat.filesystem_type() == CGROUP2_SUPER_MAGIC)
    }
}

/// Checks that a control file's name is a plain name.
fn name(file: &str) -> Result<&[u8], Errno> {
    if file.is_empty() || file.contains('/') || file == "." || file == ".." {
        return Err(Errno::EINVAL);
    }
    Ok(file.as_bytes())
}

fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// Whether the error means that something is not permitted.
pub(super) fn is_permission_error(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::EPERM | Errno::EACCES | Errno::EROFS))
}
