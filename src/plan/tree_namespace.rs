//! Decides whether a container can enter a mount namespace that has its rootfs alone (`RootSwitch::TreeNamespace`).
//!
//! From then on its process has no path to the host. So all that it needs of the host is cloned before, and what cannot
//! be cloned, or is seen by others in between, takes the copy of all mounts.

use std::ffi::CStr;

use super::devices::Devices;
use super::hooks::Hooks;
use super::mounts::{Mount, MountOperation};
use super::namespaces::{Namespace, NamespacePlan};
use super::rootfs::{RootSwitch, Rootfs};

/// Filesystems that are made of nothing on the host.
const OF_NOTHING: [&CStr; 8] =
    [c"proc", c"sysfs", c"tmpfs", c"devpts", c"mqueue", c"ramfs", c"cgroup", c"cgroup2"];

/// Whether nothing in the plan stands in the way.
pub(super) fn fits(
    rootfs: &Rootfs,
    mounts: &[Mount],
    devices: &Devices,
    hooks: &Hooks,
    namespaces: &NamespacePlan,
) -> bool {
    rootfs.switch == RootSwitch::PivotRoot
        // Propagation of another kind than the default goes by way of the host's tree.
        && rootfs.propagation.is_none()
        && namespaces.makes(Namespace::MOUNT)
        // The new namespace would belong to the host's users, and the kernel mounts procfs for others only where one is
        // visible.
        && !namespaces.has(Namespace::USER)
        // These see the host's tree and the container's mounts at once.
        && hooks.prestart.is_empty()
        && hooks.create_runtime.is_empty()
        && hooks.create_container.is_empty()
        // Standard streams that are the host's null device become this one.
        && devices.nodes.iter().any(|node| node.path.as_c_str() == c"/dev/null")
        && mounts.iter().all(needs_no_path)
}

/// Whether the mount can be made of clones and names alone.
fn needs_no_path(mount: &Mount) -> bool {
    match &mount.operation {
        MountOperation::Bind { copy_symlink, .. } => !copy_symlink,
        MountOperation::Filesystem { kind, .. } => OF_NOTHING.contains(&kind.as_c_str()),
        MountOperation::Remount | MountOperation::Symlink { .. } => true,
    }
}
