//! `Facts` is what plans depend on of this host, as plain data: tests write it literally.

use serde::{Deserialize, Serialize};

use super::cgroup::Layout;
use super::resctrl::Resctrl;
use crate::kernel::process::CapabilitySet;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub euid: u32,
    pub egid: u32,
    /// What the runtime itself may pass on.
    pub capabilities: CapabilitySet,
    /// The highest capability this kernel knows.
    pub last_capability: u32,
    pub cgroup: Layout,
    pub apparmor: bool,
    pub selinux: bool,
    /// SECCOMP_FILTER_FLAG_* that this kernel has.
    pub seccomp_flags: u64,
    pub resctrl: Option<Resctrl>,
}
