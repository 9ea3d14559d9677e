//! The seccomp compiler: turns `linux.seccomp` into one BPF program, without a system call.
//!
//! `compile` calls the others in this order: `rules` checks and reads the object, `verdicts` computes the
//! answer to each call number on each architecture, `program` writes the instructions. The verdicts are those
//! of libseccomp as runc uses it (`tests/seccomp_differential.rs` compares them). When several rules apply:
//! - a rule with the default's answer is left out;
//! - a rule without conditions decides its call alone, the first one if there are several;
//! - of rules with conditions the first that holds decides;
//! - 32-bit architectures and x32 compare the lower half of an argument;
//! - a call of an architecture that the profile does not list kills the thread;
//! - numbers above the newest call that the profile names get ENOSYS, unless the default lets calls through.

pub(crate) mod action;
pub(crate) mod arch;
mod compile;
mod explain;
mod filter;
pub(crate) mod flags;
mod multiplex;
mod program;
pub(crate) mod record;
mod rules;
mod table;
mod verdicts;

pub use compile::compile;
pub(crate) use compile::warnings;
pub(crate) use explain::{Asked, Decision, Explanation, Fate, explain};
pub use filter::Filter;
pub(crate) use filter::Notify;

/// The names of all operators, sorted, for `features`.
pub(crate) const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// The names of all system calls in the table.
pub(crate) fn system_calls() -> impl Iterator<Item = &'static str> {
    table::TABLE.iter().map(|row| row.0)
}

#[cfg(test)]
mod tests;
