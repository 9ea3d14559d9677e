//! Explains how a seccomp filter ended a process.

use crate::error::{Error, Kind};
use crate::plan::seccomp::Filter;
use crate::{fail, log};

/// The exit status, in a shell's numbers, of a process that SIGSYS has ended.
const BY_SIGSYS: i32 = 128 + libc::SIGSYS;
/// The exit statuses of a process that could neither go on nor exit.
const BY_SIGILL: i32 = 128 + libc::SIGILL;
const BY_SIGSEGV: i32 = 128 + libc::SIGSEGV;
const NO_WAY_ON: &str =
    "linux.seccomp does not allow what nearly every program needs to go on or to end: mmap, brk, exit_group";

/// Says why a process ended by `signal` before its program ran and without a report: a filter may deny every
/// call that it could report with. Returns `None` if its filter is not the reason.
pub(crate) fn explain(filter: Option<&Filter>, signal: Option<i32>) -> Option<Error> {
    let filter = filter?;
    let why = match (signal, filter.permits_execve, filter.permits_exit) {
        (Some(libc::SIGSYS), false, _) => {
            "the profile ended the process by SIGSYS before its program ran: it does not permit execve"
        }
        (Some(libc::SIGSYS), ..) => "the profile ended the process by SIGSYS before its program ran",
        (_, false, false) => "the profile allowed neither execve nor exit",
        (_, false, true) => "the profile did not allow execve",
        // `sys::process::exit_now` ends by SIGILL if the filter denies both exit_group and exit. With execve
        // permitted, a call before it was denied, and the process wanted to exit for that.
        (Some(libc::SIGILL), true, false) => {
            "the profile allowed neither what comes before the program nor exit"
        }
        (_, true, _) if !filter.permits_report => {
            "the profile left the process no way to its program, nor to say what it was denied"
        }
        _ => return None,
    };
    let hint = match signal {
        Some(libc::SIGSYS) if filter.permits_execve => RECORD,
        _ => NEEDED,
    };
    Some(fail!(Kind::Child, "/linux/seccomp: {why}").with_hint(hint))
}

const NEEDED: &str = "a process must be able to execute its program under its filter, and to end: execve, exit_group; \
                      without noNewPrivileges also to change its user";
/// No status of a process says for which call it ended.
const RECORD: &str = "`tare seccomp record -b BUNDLE`, without this profile, writes one of the calls that are made; where \
                      the kernel audits, dmesg has the number of the call (type=1326, syscall=)";

/// If a program has ended in a way that a filter brings about, says so.
pub(crate) fn tell(filter: Option<&Filter>, status: i32) {
    let Some(filter) = filter else { return };
    let (name, why) = match status {
        BY_SIGSYS => ("SIGSYS", "linux.seccomp ends a process so for a call that it does not allow"),
        BY_SIGILL if !filter.permits_report => ("SIGILL", NO_WAY_ON),
        BY_SIGSEGV if !filter.permits_report => ("SIGSEGV", NO_WAY_ON),
        _ => return,
    };
    log::warn_person(format_args!("exit status {status} is {name}: {why}"));
    log::hint(RECORD);
}
