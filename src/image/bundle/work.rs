//! The place of a bundle in the making: beside its destination, locked, and moved there as a whole.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::{Gid, Uid, fchown};

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::tree::{c_string, open_dir};
use crate::image::{changes, remove};
use crate::sys::xattr::fremovexattr;

/// A bundle in the making, locked against a second maker.
#[derive(Debug)]
pub struct Work {
    /// The directory that the bundle appears in.
    above: OwnedFd,
    lock: Flock<OwnedFd>,
    /// `.NAME.partial`, beside the destination.
    path: PathBuf,
    name: CString,
    destination: PathBuf,
}

impl Work {
    /// Reserves the work directory; what an earlier run left in it goes.
    pub fn begin(destination: &Path) -> Result<Self> {
        let making = || format!("make bundle {}", destination.display());
        let last = destination.file_name().ok_or_else(|| fail!(Kind::Usage, "the path names no directory"));
        let last = last.with_context(making)?;
        check_free(destination).with_context(making)?;
        let parent = destination.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("."));
        // Absolute from here on: the kernel and the store are told where the bundle is.
        let parent = parent.canonicalize().with_context(|| format!("open {}", parent.display()))?;
        let above = open(&parent, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .with_context(|| format!("open {}", parent.display()))?;
        let name = [b".", last.as_bytes(), b".partial"].concat();
        let path = parent.join(std::ffi::OsStr::from_bytes(&name));
        let name = c_string(&name)?;
        let lock = reserve(&above, &name).with_context(|| format!("make {}", path.display()))?;
        let destination = parent.join(last);
        Ok(Self { above, lock, path, name, destination })
    }

    pub fn dir(&self) -> &OwnedFd {
        &self.lock
    }

    /// Where the work is done.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the bundle will be, absolute.
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    pub fn mkdir(&self, name: &CStr, mode: u32) -> Result<()> {
        let made = mkdirat(self.dir(), name, Mode::from_bits_truncate(mode));
        made.with_context(|| format!("make {}", name.to_string_lossy()))
    }

    /// Writes a file of the bundle.
    pub fn write(&self, name: &CStr, content: &[u8]) -> Result<()> {
        let writing = || format!("write {}", name.to_string_lossy());
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(self.dir(), name, flags, Mode::from_bits_truncate(0o644)).with_context(writing)?;
        File::from(fd).write_all(content).with_context(writing)
    }

    /// Writes down how the tree `name` is left, so that changes can be told later.
    pub fn describe(&self, name: &str) -> Result<()> {
        let file = self.path.join(changes::FILE);
        let to = File::create_new(&file).with_context(|| format!("make {}", file.display()))?;
        changes::describe(&self.path.join(name), to)
    }

    /// Puts the bundle in its place; an empty directory there gives way.
    pub fn publish(&self) -> Result<()> {
        let to = c_string(self.destination.file_name().unwrap_or_default().as_bytes())?;
        let moved = renameat(&self.above, self.name.as_c_str(), &self.above, to.as_c_str());
        moved.with_context(|| format!("put the bundle at {}", self.destination.display()))
    }

    /// After a failure: its own error is the one to tell, not that of tidying up.
    pub fn discard(self) {
        let _ = remove::tree(self.above.as_fd(), &self.name);
    }
}

fn check_free(destination: &Path) -> Result<()> {
    match std::fs::read_dir(destination) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(fail!(Kind::Exists, "it exists and is not empty")),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes and locks the work directory, empty and closed to everybody else: setuid programs of an image are not for
/// the users of the host (CVE-2021-41103).
fn reserve(above: &OwnedFd, name: &CStr) -> Result<Flock<OwnedFd>> {
    match mkdirat(above, name, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let dir = open_dir(above.as_fd(), name)?;
    let lock = Flock::lock(dir, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => fail!(Kind::Exists, "another process is at work there"),
        errno => errno.into(),
    })?;
    remove::contents(lock.try_clone()?, &|_, _| false)?;
    // A parent with setgid or a default ACL passes them on: then no file would get the mode it is made with.
    for acl in [c"system.posix_acl_default", c"system.posix_acl_access"] {
        match fremovexattr(lock.as_fd(), acl) {
            Ok(()) | Err(Errno::ENODATA | Errno::ENOTSUP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    fchown(&*lock, Some(Uid::effective()), Some(Gid::effective()))?;
    fchmod(&*lock, Mode::S_IRWXU)?;
    Ok(lock)
}
