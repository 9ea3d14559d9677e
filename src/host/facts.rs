//! `Facts` is everything about this host that a plan depends on, as plain data: tests write it literally.

use serde::{Deserialize, Serialize};

use super::cgroup::Layout;
use super::resctrl::Resctrl;
use crate::kernel::process::CapabilitySet;

/// The facts. Those that are not needed have their default value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    pub euid: u32,
    pub egid: u32,
    /// The capabilities that the runtime itself has and may pass on.
    pub capabilities: CapabilitySet,
    /// The highest capability this kernel knows.
    pub last_capability: u32,
    pub cgroup: Layout,
    /// Whether AppArmor is enabled.
    pub apparmor: bool,
    /// Whether SELinux is enabled.
    pub selinux: bool,
    /// Whether this kernel makes a mount namespace of one tree alone, KERNEL(7.0), and we are root of the machine: for others
    /// it mounts procfs only where one is visible already, which in such a namespace none is.
    pub tree_namespaces: bool,
    /// SECCOMP_FILTER_FLAG_* that this kernel has.
    pub seccomp_flags: u64,
    /// `None` if resctrl is not mounted.
    pub resctrl: Option<Resctrl>,
}
