//! plan

/// linux.seccomp becomes one BPF program.
pub mod seccomp;
