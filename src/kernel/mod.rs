//! The kernel's numbers: flags, modes and small plain structs of the system call interface, without a call.
//!
//! `spec` and `plan` name these and not `libc` or `sys`: what is decided is written in the kernel's own terms, and the
//! modules that decide cannot reach a system call even by mistake (`tests/layers.rs` refuses it).

pub(crate) mod file;
pub(crate) mod mount;
pub(crate) mod namespace;
pub(crate) mod process;
pub(crate) mod scheduling;
pub(crate) mod seccomp;
