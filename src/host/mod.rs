//! What this host is, read once, as plain data: plans are made from it and tests write it literally.

pub mod cgroup;
pub mod resctrl;
pub mod users;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Result};
use crate::kernel::process::CapabilitySet;
use crate::sys::process::{capget, in_bounding};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub euid: u32,
    pub egid: u32,
    /// What the runtime itself may pass on.
    pub capabilities: CapabilitySet,
    /// The highest capability this kernel knows.
    pub last_capability: u32,
    pub cgroup: cgroup::Layout,
    pub apparmor: bool,
    pub selinux: bool,
    /// SECCOMP_FILTER_FLAG_* that this kernel has.
    pub seccomp_flags: u64,
    pub resctrl: Option<resctrl::Resctrl>,
}

/// What is looked for only where the configuration asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub cgroup: Groups,
    pub seccomp: bool,
    pub resctrl: bool,
    /// AppArmor and SELinux.
    pub labels: bool,
}

/// What is to be known of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    Nothing,
    /// The hierarchies.
    Tree,
    /// And where in them this process is.
    OwnPlace,
}

impl Groups {
    fn read(self) -> Result<cgroup::Layout> {
        match self {
            Self::Nothing => Ok(cgroup::Layout::default()),
            Self::Tree => cgroup::Layout::read_tree(),
            Self::OwnPlace => cgroup::Layout::read(),
        }
    }
}

impl Facts {
    /// Looks around once. What is not wanted is left at its default.
    pub fn read(wanted: Wanted) -> Result<Self> {
        let (_, permitted, _) = capget().context("read own capabilities")?;
        Ok(Self {
            euid: nix::unistd::geteuid().as_raw(),
            egid: nix::unistd::getegid().as_raw(),
            capabilities: permitted,
            last_capability: last_capability(),
            cgroup: wanted.cgroup.read()?,
            apparmor: wanted.labels && apparmor(),
            selinux: wanted.labels && exists(c"/sys/fs/selinux/enforce"),
            seccomp_flags: if wanted.seccomp { crate::sys::seccomp::supported_flags() } else { 0 },
            resctrl: if wanted.resctrl { resctrl::Resctrl::read() } else { None },
        })
    }
}

/// Whether AppArmor is built in and switched on.
fn apparmor() -> bool {
    crate::sys::file::read_small_at(c"/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.first() == Some(&b'Y'))
}

/// By asking the bounding set: no file of /proc is needed for it.
fn last_capability() -> u32 {
    // 40 (CAP_CHECKPOINT_RESTORE) has been the last since KERNEL(5.9); walk from there, up or down.
    let known = |capability: u32| in_bounding(capability) != Err(Errno::EINVAL);
    let mut last = 40;
    while known(last + 1) {
        last += 1;
    }
    while last > 0 && !known(last) {
        last -= 1;
    }
    last
}

fn exists(path: &std::ffi::CStr) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::F_OK).is_ok()
}
