//! Explains how a seccomp filter ended a process.

use crate::error::{Error, Kind};
use crate::plan::seccomp::Filter;
use crate::{fail, log};

/// The exit status of a process that SIGSYS has ended, as a shell counts it.
const BY_SIGSYS: i32 = 128 + libc::SIGSYS;

/// Says why a process ended by `signal` before its program ran, without a report: a filter may deny all that it could
/// have reported by. None where that has nothing to do with its filter.
pub(crate) fn explain(filter: Option<&Filter>, signal: Option<i32>) -> Option<Error> {
    let filter = filter?;
    let why = match (signal, filter.permits_execve, filter.permits_exit) {
        (Some(libc::SIGSYS), ..) => "the profile ended the process by SIGSYS before its program ran",
        (_, false, false) => "the profile allowed neither execve nor exit",
        (_, false, true) => "the profile did not allow execve",
        (Some(libc::SIGILL), true, false) => {
            "the profile allowed neither what comes before the program nor exit"
        }
        _ => return None,
    };
    let hint = "a process must be able to execute its program under its filter, and to end: execve, exit_group; \
                without noNewPrivileges also to change its user";
    Some(fail!(Kind::Child, "/linux/seccomp: {why}").with_hint(hint))
}

/// Says of a program that has ended by SIGSYS where that comes from.
pub(crate) fn tell(filter: Option<&Filter>, status: i32) {
    if filter.is_some() && status == BY_SIGSYS {
        log::warn(format_args!(
            "exit status {BY_SIGSYS} is SIGSYS: linux.seccomp ends a process so for a call that it does not allow"
        ));
    }
}
