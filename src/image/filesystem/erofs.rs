//! Mounts the index of a layer with EROFS, its archive as a further device. The mount is detached: nobody sees
//! it, and it ends with the descriptor and the overlays over it, however this process ends.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::kernel_messages::explain;
use crate::error::{Context, Error, Result};
use crate::image::userns::mapping::IdMapping;
use crate::image::userns::namespace;
use crate::kernel::mount::{Attributes, MOUNT_ATTR_IDMAP, MOUNT_ATTR_RDONLY};
use crate::sys::loop_device::LoopDevice;
use crate::sys::mount::{fsconfig_create, fsconfig_set, fsmount, fsopen, mount_setattr};

/// Why an index was not mounted.
#[derive(Debug)]
pub(crate) struct MountError {
    error: Error,
    /// Whether it is what a kernel or a user says that mounts no index at all. An index that is not known to be
    /// good may be refused for its own sake with the same errno.
    pub(crate) may_be_the_host: bool,
}

/// Mounts `index`, whose data is in `archive`. KERNEL(6.12): files; before, loop devices.
pub(crate) fn mount(index: &File, archive: &File) -> std::result::Result<OwnedFd, MountError> {
    match mount_paths(&path_of(index.as_fd()), &path_of(archive.as_fd())) {
        // What the kernel says to a file that is no block device.
        Err((Errno::ENOTBLK, _)) => mount_by_loop(index, archive),
        mounted => mounted.map_err(of_mount),
    }
}

/// Mounts over loop devices, which end with the mount.
pub(crate) fn mount_by_loop(index: &File, archive: &File) -> std::result::Result<OwnedFd, MountError> {
    let device = |file: &File| LoopDevice::read_only(file.as_fd()).map_err(of_loop_device);
    let (index, archive) = (device(index)?, device(archive)?);
    mount_paths(index.path(), archive.path()).map_err(of_mount)
}

/// ENODEV: no EROFS; ENOSYS: KERNEL(5.2), the mount API; EINVAL, EOPNOTSUPP: not this form of it; EPERM: not this
/// user.
fn of_mount((errno, error): (Errno, Error)) -> MountError {
    let host = [Errno::ENODEV, Errno::ENOSYS, Errno::EINVAL, Errno::EOPNOTSUPP, Errno::EPERM];
    MountError { error, may_be_the_host: host.contains(&errno) }
}

/// ENOENT, ENXIO, ENODEV: no loop devices; EINVAL, ENOTTY: KERNEL(5.8), this way to make them; EPERM, EACCES: not
/// this user, or not in this cgroup or mount of /dev.
fn of_loop_device(errno: Errno) -> MountError {
    let host = [
        Errno::ENOENT,
        Errno::ENXIO,
        Errno::ENODEV,
        Errno::EINVAL,
        Errno::ENOTTY,
        Errno::EPERM,
        Errno::EACCES,
    ];
    let error = Error::from(errno).context("make a loop device");
    MountError { error, may_be_the_host: host.contains(&errno) }
}

fn path_of(file: BorrowedFd<'_>) -> CString {
    CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default()
}

fn mount_paths(index: &CStr, archive: &CStr) -> std::result::Result<OwnedFd, (Errno, Error)> {
    let plain = |errno: Errno| (errno, Error::from(errno));
    let context = fsopen(c"erofs").map_err(plain)?;
    let explained = |errno: Errno| (errno, explain(&context, errno));
    fsconfig_set(context.as_fd(), c"source", Some(index)).map_err(explained)?;
    fsconfig_set(context.as_fd(), c"device", Some(archive)).map_err(explained)?;
    fsconfig_set(context.as_fd(), c"ro", None).map_err(explained)?;
    fsconfig_create(context.as_fd()).map_err(explained)?;
    fsmount(context.as_fd(), MOUNT_ATTR_RDONLY).map_err(plain)
}

/// Maps the owners of mounts that nobody uses yet. KERNEL(5.19): EROFS.
pub(crate) fn map_owners(mounts: &[OwnedFd], mapping: &IdMapping) -> Result<()> {
    if mounts.is_empty() {
        return Ok(());
    }
    let namespace = namespace::create(mapping)?;
    let change = Attributes { set: MOUNT_ATTR_IDMAP, ..Attributes::default() };
    mounts.iter().try_for_each(|mount| {
        mount_setattr(mount.as_fd(), change, Some(namespace.as_fd()), false)
            .context("map the owners of a layer")
    })
}

impl From<MountError> for Error {
    fn from(failed: MountError) -> Self {
        failed.error
    }
}
