//! Reads the facts of this host, once, before a plan is made.

pub(crate) mod cgroup;
pub(crate) mod resctrl;

use nix::errno::Errno;

use super::Facts;
use super::cgroup::Layout;
use super::user_namespace::in_user_namespace;
use crate::error::{Context, Result};
use crate::sys::process::{capget, is_in_bounding};

/// The facts to read: those that cost time are read only if the configuration needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needed {
    pub cgroup: NeededCgroup,
    pub seccomp: bool,
    pub resctrl: bool,
    /// AppArmor and SELinux.
    pub labels: bool,
}

/// The facts about cgroups to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NeededCgroup {
    Nothing,
    Hierarchies,
    /// The hierarchies, and the group of this process in each.
    OwnGroup,
}

/// Reads the facts of this host. Those that are not needed keep their default value.
///
/// # Errors
/// The system's, if /proc or the cgroup filesystem cannot be read.
pub(crate) fn read_facts(needed: Needed) -> Result<Facts> {
    let (_, permitted, _) = capget().context("read own capabilities")?;
    Ok(Facts {
        euid: nix::unistd::geteuid().as_raw(),
        egid: nix::unistd::getegid().as_raw(),
        capabilities: permitted,
        last_capability: last_capability(),
        cgroup: match needed.cgroup {
            NeededCgroup::Nothing => Layout::default(),
            NeededCgroup::Hierarchies => cgroup::read_hierarchies()?,
            NeededCgroup::OwnGroup => cgroup::read_layout()?,
        },
        apparmor: needed.labels && has_apparmor(),
        selinux: needed.labels && exists(c"/sys/fs/selinux/enforce"),
        tree_namespaces: has_tree_namespaces() && !in_user_namespace()?,
        seccomp_flags: if needed.seccomp { crate::sys::seccomp::supported_flags() } else { 0 },
        resctrl: if needed.resctrl { resctrl::find_resctrl() } else { None },
    })
}

/// Whether AppArmor is built in and switched on.
fn has_apparmor() -> bool {
    crate::sys::file::read_small_at(c"/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.first() == Some(&b'Y'))
}

/// Whether the kernel may know OPEN_TREE_NAMESPACE: to ask it with a mount would cost more than its name. One that does
/// not know it after all says so when it is used.
fn has_tree_namespaces() -> bool {
    let release = nix::sys::utsname::uname().ok();
    let major = release.as_ref().and_then(|name| name.release().to_str()?.split('.').next()?.parse().ok());
    major.is_some_and(|major: u32| major >= 7)
}

/// Returns the highest capability of this kernel. The bounding set is asked for it, so no file of /proc is
/// needed.
fn last_capability() -> u32 {
    // 40 (CAP_CHECKPOINT_RESTORE) has been the last since KERNEL(5.9); walk from there, up or down.
    let is_known = |capability: u32| is_in_bounding(capability) != Err(Errno::EINVAL);
    let mut last = 40;
    while is_known(last + 1) {
        last += 1;
    }
    while last > 0 && !is_known(last) {
        last -= 1;
    }
    last
}

fn exists(path: &std::ffi::CStr) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::F_OK).is_ok()
}
