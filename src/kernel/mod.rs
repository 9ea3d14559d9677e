//! The kernel's numbers: flags, modes and small plain structs of the system call interface, without a call.
//!
//! `spec` and `plan` name these and not `libc` or `sys`: what is decided is written in the kernel's own terms, and the
//! modules that decide cannot reach a system call even by mistake (`tests/layers.rs` refuses it).

pub mod file;
pub mod mount;
pub mod namespace;
pub mod process;
pub mod scheduling;
pub mod seccomp;
