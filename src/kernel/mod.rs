//! The kernel's numbers: flags, modes and small plain structs of the system call interface, without a call.
//!
//! `spec` and `plan` use these and not `libc` or `sys`: decisions are in the kernel's own terms, and the
//! modules that decide cannot make a system call even by mistake (`tests/layers/` refuses it).

pub(crate) mod file;
pub(crate) mod mount;
pub(crate) mod namespace;
pub(crate) mod process;
pub(crate) mod scheduling;
pub(crate) mod seccomp;
