//! Opens nodes of the host for a container: a device can be used through a read-only mount, and its mode,
//! owner and times cannot be changed.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::{Mode, fstat};

use super::Result;
use super::mount::{mount_setattr, open_tree_clone};
use crate::kernel::mount::{Attributes, MOUNT_ATTR_RDONLY};
use crate::weak::{Defence, stands};

/// Clones the mount of one file, read-only and attached nowhere: of the file at `path`, or of the descriptor
/// `dir` itself if `path` is empty.
pub fn clone_read_only(dir: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd> {
    let mount = open_tree_clone(dir, path, false, 0)?;
    if !stands(Defence::ReadOnlyNodes) {
        return Ok(mount);
    }
    let read_only = Attributes { set: MOUNT_ATTR_RDONLY, ..Attributes::default() };
    mount_setattr(mount.as_fd(), read_only, None, false)?;
    Ok(mount)
}

/// Opens the same character device on a read-only mount. If the descriptor belongs to another mount
/// namespace, whose mounts cannot be cloned, it is opened by `path`; ENODEV if that is not the device.
pub fn reopen_device(device: BorrowedFd<'_>, path: &CStr, flags: OFlag) -> Result<OwnedFd> {
    match clone_read_only(device, c"") {
        Err(Errno::EINVAL) => {}
        other => return open_cloned(&other?, flags),
    }
    let mount = clone_read_only(AT_FDCWD.as_fd(), path)?;
    let (asked, there) = (fstat(device)?, fstat(&mount)?);
    let is_it = there.st_mode & libc::S_IFMT == libc::S_IFCHR && there.st_rdev == asked.st_rdev;
    if is_it { open_cloned(&mount, flags) } else { Err(Errno::ENODEV) }
}

/// Opens the file of a clone through its link in procfs: no other path leads to a mount that is attached
/// nowhere.
pub fn open_cloned(mount: &OwnedFd, flags: OFlag) -> Result<OwnedFd> {
    let link = format!("/proc/self/fd/{}", mount.as_raw_fd());
    // openat and not open: musl's open makes a second call to set O_CLOEXEC, which very old kernels ignored.
    nix::fcntl::openat(AT_FDCWD, &*link, flags | OFlag::O_CLOEXEC | OFlag::O_NOCTTY, Mode::empty())
}
