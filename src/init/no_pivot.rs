//! Hides what `--no-pivot` leaves of the host: the host's tree of mounts stays below the container's root,
//! out of sight.
//!
//! The kernel lets a user namespace mount a new procfs or sysfs only if a procfs or sysfs with no mounts over
//! parts of it is visible in its mount namespace (mount_too_revealing() in the kernel). The host's own, which
//! the root merely hides, would be such a one: the container could mount /proc without the masks of its
//! configuration. So they are unmounted, or covered.

use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::sys::mountinfo;

const NONE: Option<&CStr> = None;

/// Unmounts each whole procfs and sysfs outside of `rootfs`, or covers it if it cannot be unmounted.
pub(super) fn hide_kernel_filesystems(rootfs: &Path) -> Result<(), Errno> {
    for there in mountinfo::read()? {
        let whole = there.root == b"/" && matches!(&there.kind[..], b"proc" | b"sysfs");
        let point = Path::new(std::ffi::OsStr::from_bytes(there.point.to_bytes()));
        if whole && !point.starts_with(rootfs) {
            hide(&there.point)?;
        }
    }
    Ok(())
}

fn hide(point: &CStr) -> Result<(), Errno> {
    // The unmount must not travel to the host.
    match mount(NONE, point, NONE, MsFlags::MS_SLAVE | MsFlags::MS_REC, NONE) {
        // Already unmounted together with a parent mount.
        Err(Errno::ENOENT) => return Ok(()),
        other => other?,
    }
    match umount2(point, MntFlags::MNT_DETACH) {
        // The mount is locked, because a user namespace has inherited it.
        Err(Errno::EINVAL | Errno::EPERM) => {
            mount(Some(c"tmpfs"), point, Some(c"tmpfs"), MsFlags::empty(), NONE)
        }
        other => other,
    }
}
