//! `Filter`, a profile that has been compiled.

use std::path::PathBuf;

use super::action::Action;
use super::flags;
use crate::kernel::seccomp::{c_ulong, sock_filter};

/// A compiled profile, ready to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub program: Vec<sock_filter>,
    /// `SECCOMP_FILTER_FLAG_*` for seccomp(2), with NEW_LISTENER where a rule notifies.
    pub flags: c_ulong,
    pub notify: Option<Notify>,
    /// The answer to calls without a rule.
    pub default_action: Action,
    /// Whether a madvise kills nobody and notifies nobody: then the process may give memory back under the
    /// filter.
    pub madvise_is_harmless: bool,
    /// Whether looking at files kills nobody and notifies nobody: then the process may find out why its
    /// program was refused.
    pub file_lookups_are_harmless: bool,
    /// Whether a program can be executed under the filter.
    pub permits_execve: bool,
    /// Whether a process can end itself under the filter.
    pub permits_exit: bool,
    /// Whether a process can say under the filter why it fails: it needs memory, the runtime's socket and an
    /// end.
    pub permits_report: bool,
    /// The parts of the profile that have no effect and why, each with its JSON pointer. They go to the debug
    /// log: engines write one profile for every machine, so some part of it never has an effect.
    pub warnings: Vec<String>,
}

/// Where calls with SCMP_ACT_NOTIFY are reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    pub listener_path: PathBuf,
    pub listener_metadata: String,
}

impl Filter {
    /// Returns one line for the plan: `574 instructions, flags SPEC_ALLOW, default ERRNO(1)`.
    pub fn summary(&self) -> String {
        let (length, flags) = (self.program.len(), flags::show(self.flags));
        format!("{length} instructions, flags {flags}, default {}", self.default_action)
    }
}
