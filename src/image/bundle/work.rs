//! The place of a bundle in the making: beside its destination, locked, and moved there as a whole.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::{AccessFlags, Gid, Uid, UnlinkatFlags, faccessat, fchown, unlinkat};

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::changes;
use crate::image::filesystem::dir::{c_string, open_dir, proc_path};
use crate::image::filesystem::{overlay, remove};
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
        let parent = destination.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("."));
        // Absolute from here on: the kernel and the store are told where the bundle is.
        let parent = parent.canonicalize().with_context(|| format!("open {}", parent.display()))?;
        let above = open(&parent, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .with_context(|| format!("open {}", parent.display()))?;
        let name = [b".", last.as_bytes(), b".partial"].concat();
        let path = parent.join(std::ffi::OsStr::from_bytes(&name));
        let name = c_string(&name)?;
        let stale = unfinished(&above, &c_string(last.as_bytes())?).with_context(making)?;
        let lock = reserve(&above, &name).with_context(|| format!("make {}", path.display()))?;
        let work = Self { above, lock, path, name, destination: parent.join(last) };
        match stale.map_or(Ok(()), |stale| work.take_away(&stale)).with_context(making) {
            Ok(()) => Ok(work),
            Err(error) => {
                work.discard();
                Err(error)
            }
        }
    }

    /// The name of the bundle.
    fn last(&self) -> Result<CString> {
        Ok(c_string(self.destination.file_name().unwrap_or_default().as_bytes())?)
    }

    /// Takes away a bundle that was put in its place and not completed.
    fn take_away(&self, stale: &OwnedFd) -> Result<()> {
        let _lock = lock(stale.try_clone()?)?;
        overlay::detach(&proc_path(stale.as_fd(), c"rootfs"))?;
        // At once, so that it is never there without its mark.
        renameat(&self.above, self.last()?.as_c_str(), self.dir(), c"unfinished")?;
        Ok(remove::tree(self.dir().as_fd(), c"unfinished")?)
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
        let mut options = std::fs::OpenOptions::new();
        let to = options.write(true).create_new(true).mode(0o600).open(&file);
        let to = to.with_context(|| format!("make {}", file.display()))?;
        changes::describe(&self.path.join(name), to)
    }

    /// Gives the bundle to the container's root, who must be able to reach what is in it.
    pub fn own(&self, (uid, gid): (u32, u32)) -> Result<()> {
        if (uid, gid) == (0, 0) {
            return Ok(());
        }
        fchown(&*self.lock, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .with_context(|| format!("give {} its owner", self.path.display()))
    }

    /// Puts the bundle in its place; an empty directory there gives way.
    pub fn publish(&self) -> Result<()> {
        let moved = renameat(&self.above, self.name.as_c_str(), &self.above, self.last()?.as_c_str());
        moved.with_context(|| format!("put the bundle at {}", self.destination.display()))
    }

    /// Notes in the bundle that it is not all there before `mounted`.
    pub fn mounting(&self) -> Result<()> {
        self.write(MOUNTING, b"")
    }

    /// The bundle, in its place by now, has its mount.
    pub fn mounted(&self) -> Result<()> {
        unlinkat(self.dir(), MOUNTING, UnlinkatFlags::NoRemoveDir).context("complete the bundle")
    }

    /// Takes the bundle out of its place again.
    pub fn withdraw(&self) {
        if let Ok(last) = self.last() {
            let _ = renameat(&self.above, last.as_c_str(), &self.above, self.name.as_c_str());
        }
    }

    /// After a failure: its own error is the one to tell, not that of tidying up.
    pub fn discard(self) {
        let _ = remove::tree(self.above.as_fd(), &self.name);
    }
}

/// Stands in an overlay bundle from before it is put in its place until it is mounted.
const MOUNTING: &CStr = c".tare-image-mounting";

/// Only an empty directory may be at the destination, or a bundle whose maker was killed before it was complete, which
/// is returned.
fn unfinished(above: &OwnedFd, name: &CStr) -> Result<Option<OwnedFd>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let dir = match openat(above, name, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(None),
        dir => dir?,
    };
    if remove::is_empty(&dir)? {
        return Ok(None);
    }
    match faccessat(&dir, MOUNTING, AccessFlags::F_OK, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(()) => Ok(Some(dir)),
        Err(_) => Err(fail!(Kind::Exists, "it exists and is not empty")),
    }
}

fn lock(dir: OwnedFd) -> Result<Flock<OwnedFd>> {
    Flock::lock(dir, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => fail!(Kind::Exists, "another process is at work there"),
        errno => errno.into(),
    })
}

/// Makes and locks the work directory, empty and closed to everybody else: setuid programs of an image are not for
/// the users of the host (CVE-2021-41103).
fn reserve(above: &OwnedFd, name: &CStr) -> Result<Flock<OwnedFd>> {
    match mkdirat(above, name, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let lock = lock(open_dir(above.as_fd(), name)?)?;
    overlay::detach(&proc_path(lock.as_fd(), c"rootfs"))?;
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
