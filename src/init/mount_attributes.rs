//! Sets the attributes of a mount with mount_setattr(2).

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

use super::mount_error::{InCall, MountError};
use crate::kernel::mount::{Attributes, MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW};
use crate::plan::mount_options::ExplicitFlags;
use crate::plan::mounts::Mount;
use crate::sys::mount::{mount_flags, mount_setattr};

/// Gives a bind the flags that its options name, and clears all others except those that the kernel has
/// locked.
pub(super) fn set_named_attributes(
    tree: &OwnedFd,
    mount: &Mount,
    named: ExplicitFlags,
    locked: bool,
) -> Result<(), MountError> {
    if named == ExplicitFlags::default() {
        return set_attributes(tree, mount);
    }
    let existing = flags_of(tree)?;
    let change = |wanted: Option<Attributes>| {
        let mut wanted = wanted.ok_or(Errno::EPERM).call("mount_setattr")?;
        wanted.propagation = mount.attributes.propagation;
        if existing & MS_NOSYMFOLLOW == 0 {
            // KERNEL(5.14): an older kernel does not know the flag and refuses even to clear it.
            wanted.clear &= !MOUNT_ATTR_NOSYMFOLLOW;
        }
        set_attributes(tree, &Mount { attributes: wanted, ..mount.clone() })
    };
    if locked {
        // The runtime cloned the mount outside the container, where the kernel locks nothing. But the mount
        // is for the container, which could not clear these flags itself.
        return change(named.attributes_keeping_locked(existing));
    }
    match change(Some(named.to_attributes())) {
        Err(MountError { errno: Errno::EPERM, .. }) => change(named.attributes_keeping_locked(existing)),
        other => other,
    }
}

/// Returns the MS_* flags of a mount. statfs uses the same numbers, except for two.
fn flags_of(tree: &OwnedFd) -> Result<u64, MountError> {
    const MOVED: [(u64, u64); 2] = [(0x1000, libc::MS_RELATIME), (0x2000, MS_NOSYMFOLLOW)];
    const SAME: u64 = libc::MS_RDONLY
        | libc::MS_NOSUID
        | libc::MS_NODEV
        | libc::MS_NOEXEC
        | libc::MS_NOATIME
        | libc::MS_NODIRATIME;
    let st_flags = mount_flags(tree.as_fd()).call("fstatfs")?;
    let moved = MOVED.iter().filter(|(st, _)| st_flags & st != 0).fold(0, |all, (_, ms)| all | ms);
    Ok(st_flags & SAME | moved)
}

/// Gives a mount the attributes and the propagation of the plan.
pub(super) fn set_attributes(mount: &OwnedFd, plan: &Mount) -> Result<(), MountError> {
    if !plan.attributes.is_empty() {
        mount_setattr(mount.as_fd(), plan.attributes, None, false).call("mount_setattr")?;
    }
    if !plan.recursive_attributes.is_empty() {
        mount_setattr(mount.as_fd(), plan.recursive_attributes, None, true)
            .call("mount_setattr(AT_RECURSIVE)")?;
    }
    for &(propagation, recursive) in &plan.propagation {
        let change = Attributes { propagation, ..Attributes::default() };
        mount_setattr(mount.as_fd(), change, None, recursive).call("mount_setattr")?;
    }
    Ok(())
}
