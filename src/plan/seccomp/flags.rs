//! The flags of the filter: checks those of the profile against those of the kernel.

use std::fmt::Write;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag as Flag};

use crate::error::{Faults, Kind, Result};
use crate::fail;
use crate::kernel::seccomp::{self as kernel, c_ulong};

/// Every flag a profile may name, in the order of `features`, with its bit.
const KNOWN: [(&str, c_ulong); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", kernel::SECCOMP_FILTER_FLAG_TSYNC),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", kernel::SECCOMP_FILTER_FLAG_SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_LOG", kernel::SECCOMP_FILTER_FLAG_LOG),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", kernel::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV),
];

/// The names of all flags, for `features`.
pub(crate) fn names() -> Vec<&'static str> {
    KNOWN.iter().map(|(name, _)| *name).collect()
}

/// The names of the flags among `kernel`, for `features`.
pub(crate) fn supported_names(kernel: c_ulong) -> Vec<&'static str> {
    KNOWN.iter().filter(|(_, bit)| kernel & bit != 0).map(|(name, _)| *name).collect()
}

/// The flags to load the filter with.
///
/// # Errors
/// A flag that this kernel does not have, or one that needs a listener if no rule asks for one.
pub(super) fn requested(profile: &LinuxSeccomp, notify: bool, kernel: c_ulong) -> Result<c_ulong> {
    // A missing list, unlike an empty one, means SPEC_ALLOW if the kernel has it. Without that flag the
    // kernel turns off speculation for the whole container, as it did by default before 5.16.
    let mut flags = match profile.flags() {
        None => kernel & kernel::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        Some(list) => all_of(list, notify, kernel)?,
    };
    if notify {
        flags |= kernel::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    }
    Ok(flags)
}

fn all_of(list: &[Flag], notify: bool, kernel: c_ulong) -> Result<c_ulong> {
    let mut flags = 0;
    let mut faults = Faults::default();
    for (index, flag) in list.iter().enumerate() {
        let bit = bit(*flag);
        if kernel & bit == 0 {
            faults.push(fail!(Kind::Unsupported, "/linux/seccomp/flags/{index}: this kernel has no {flag}"));
        } else if bit == kernel::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV && !notify {
            let why = "needs a rule with SCMP_ACT_NOTIFY";
            faults.push(fail!(Kind::Spec, "/linux/seccomp/flags/{index}: {flag} {why}"));
        }
        // TSYNC puts the filter on all threads at once. The process that loads it has only one thread, and
        // NOTIFY's listener cannot be combined with TSYNC.
        flags |= bit & !kernel::SECCOMP_FILTER_FLAG_TSYNC;
    }
    faults.into_result(flags)
}

fn bit(flag: Flag) -> c_ulong {
    match flag {
        Flag::SeccompFilterFlagLog => kernel::SECCOMP_FILTER_FLAG_LOG,
        Flag::SeccompFilterFlagTsync => kernel::SECCOMP_FILTER_FLAG_TSYNC,
        Flag::SeccompFilterFlagSpecAllow => kernel::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        Flag::SeccompFilterFlagWaitKillableRecv => kernel::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    }
}

/// `SPEC_ALLOW|LOG`, or `none`.
pub(super) fn show(flags: c_ulong) -> String {
    let mut words = String::new();
    let listener = ("SECCOMP_FILTER_FLAG_NEW_LISTENER", kernel::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    for (name, bit) in KNOWN.iter().chain([&listener]) {
        if flags & bit != 0 {
            let separator = if words.is_empty() { "" } else { "|" };
            let _ = write!(words, "{separator}{}", name.trim_start_matches("SECCOMP_FILTER_FLAG_"));
        }
    }
    if words.is_empty() { "none".to_owned() } else { words }
}
