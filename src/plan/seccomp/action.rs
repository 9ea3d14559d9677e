//! What a filter answers to a call: the OCI action and its errno as the kernel's one word.

use std::fmt;

use oci_spec::runtime::LinuxSeccompAction;

use crate::error::{Kind, Result};
use crate::fail;
use crate::kernel::seccomp as kernel;

/// The names of all actions, sorted, for `features`.
pub(crate) const NAMES: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

/// The largest errno that the kernel returns (MAX_ERRNO): it replaces larger ones in `SECCOMP_RET_ERRNO` by
/// this.
const MAX_ERRNO: u32 = 4095;

/// A return value of a filter, `SECCOMP_RET_*` with its data. Prints as `ERRNO(1)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action(pub u32);

impl Action {
    pub const ALLOW: Self = Self(kernel::SECCOMP_RET_ALLOW);
    pub const ENOSYS: Self = Self(kernel::SECCOMP_RET_ERRNO | kernel::ENOSYS);
    /// The answer to a call of an architecture that the profile does not list.
    pub const BAD_ARCH: Self = Self(kernel::SECCOMP_RET_KILL_THREAD);

    /// Joins an action with its errno (EPERM by default). `at` is the pointer of the errno field.
    ///
    /// # Errors
    /// An errno that the kernel cannot return.
    pub fn new(action: LinuxSeccompAction, errno: Option<u32>, at: impl Fn() -> String) -> Result<Self> {
        let word = kernel_word(action);
        if !takes_errno(action) {
            return Ok(Self(word));
        }
        let most = if word == kernel::SECCOMP_RET_ERRNO { MAX_ERRNO } else { kernel::SECCOMP_RET_DATA };
        match errno.unwrap_or(kernel::EPERM) {
            errno if errno <= most => Ok(Self(word | errno)),
            errno => Err(fail!(Kind::Spec, "{}: must be at most {most}: {errno}", at())),
        }
    }

    /// Whether the caller keeps running on its own, perhaps with an errno.
    pub fn is_harmless(self) -> bool {
        matches!(
            self.0 & kernel::SECCOMP_RET_ACTION_FULL,
            kernel::SECCOMP_RET_ALLOW | kernel::SECCOMP_RET_LOG | kernel::SECCOMP_RET_ERRNO
        )
    }

    /// Whether the call is executed, or can be executed by a tracer or listener.
    pub fn reaches_somebody(self) -> bool {
        self.is_permissive() || self.0 & kernel::SECCOMP_RET_ACTION_FULL == kernel::SECCOMP_RET_USER_NOTIF
    }

    /// Whether an unexpected call still reaches the kernel, or a tracer that can answer for it.
    pub fn is_permissive(self) -> bool {
        matches!(
            self.0 & kernel::SECCOMP_RET_ACTION_FULL,
            kernel::SECCOMP_RET_ALLOW | kernel::SECCOMP_RET_LOG | kernel::SECCOMP_RET_TRACE
        )
    }

    /// Whether the kernel prefers this answer to `other` (in its order, most restrictive first).
    pub fn is_stricter_than(self, other: Self) -> bool {
        let rank = |action: Self| (action.0 & kernel::SECCOMP_RET_ACTION_FULL).cast_signed();
        rank(self) < rank(other)
    }
}

/// Whether `errnoRet` means something with this action.
pub(super) fn takes_errno(action: LinuxSeccompAction) -> bool {
    matches!(action, LinuxSeccompAction::ScmpActErrno | LinuxSeccompAction::ScmpActTrace)
}

fn kernel_word(action: LinuxSeccompAction) -> u32 {
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            kernel::SECCOMP_RET_KILL_THREAD
        }
        LinuxSeccompAction::ScmpActKillProcess => kernel::SECCOMP_RET_KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => kernel::SECCOMP_RET_TRAP,
        LinuxSeccompAction::ScmpActErrno => kernel::SECCOMP_RET_ERRNO,
        LinuxSeccompAction::ScmpActNotify => kernel::SECCOMP_RET_USER_NOTIF,
        LinuxSeccompAction::ScmpActTrace => kernel::SECCOMP_RET_TRACE,
        LinuxSeccompAction::ScmpActLog => kernel::SECCOMP_RET_LOG,
        LinuxSeccompAction::ScmpActAllow => kernel::SECCOMP_RET_ALLOW,
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = self.0 & kernel::SECCOMP_RET_DATA;
        match self.0 & kernel::SECCOMP_RET_ACTION_FULL {
            kernel::SECCOMP_RET_KILL_PROCESS => f.write_str("KILL_PROCESS"),
            kernel::SECCOMP_RET_KILL_THREAD => f.write_str("KILL_THREAD"),
            kernel::SECCOMP_RET_TRAP => f.write_str("TRAP"),
            kernel::SECCOMP_RET_ERRNO => write!(f, "ERRNO({data})"),
            kernel::SECCOMP_RET_USER_NOTIF => f.write_str("NOTIFY"),
            kernel::SECCOMP_RET_TRACE => write!(f, "TRACE({data})"),
            kernel::SECCOMP_RET_LOG => f.write_str("LOG"),
            kernel::SECCOMP_RET_ALLOW => f.write_str("ALLOW"),
            _ => write!(f, "{:#x}", self.0),
        }
    }
}
