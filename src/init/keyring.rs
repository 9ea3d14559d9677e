//! The session keyring of the container: its processes do not share the host's.

use std::ffi::CStr;

use nix::errno::Errno;

use super::label;
use crate::handshake::{InStep, Report, Step};
use crate::plan::process::ProcessPlan;
use crate::sys::process;

/// Joins a new session keyring. If SELinux labels the process, the keyring gets the same label.
pub(super) fn join(plan: &ProcessPlan) -> Result<(), Report> {
    let Some(name) = &plan.keyring else { return Ok(()) };
    let Some(label) = &plan.selinux else { return join_named(name) };
    label::set_on_keys(label).in_step(Step::Keyring, "selinux: write /proc/thread-self/attr/keycreate")?;
    join_named(name)?;
    label::set_on_keys(c"").in_step(Step::Keyring, "selinux: write /proc/thread-self/attr/keycreate")
}

fn join_named(name: &CStr) -> Result<(), Report> {
    match process::join_session_keyring(name) {
        // The kernel has no keyrings, or an outer container's seccomp profile denies the call.
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EACCES) => Ok(()),
        Ok(key) => match process::set_key_permissions(key, KEY_PERMISSIONS) {
            Ok(()) | Err(Errno::ENOSYS | Errno::EPERM | Errno::EACCES) => Ok(()),
            Err(errno) => Err(Report::new(Step::Keyring, errno, "keyctl(KEYCTL_SETPERM)")),
        },
        Err(errno) => Err(Report::new(Step::Keyring, errno, "keyctl(KEYCTL_JOIN_SESSION_KEYRING)")),
    }
}

/// Possessor: all; user: view, read and search. The container's own user finds its keyring; others cannot
/// change it.
const KEY_PERMISSIONS: u32 = 0x3f0b_0000;
