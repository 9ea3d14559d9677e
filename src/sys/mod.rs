//! Makes system calls, one file per interface of the kernel. The only unsafe code of the project; each block says why it is
//! sound.
//!
//! Thin: a call here does what the system call of that name does and returns its bare errno. Context is added
//! one layer up, where it is known what the call was for. `nix` is used directly wherever it has a safe wrapper;
//! what stands here are the calls it lacks.
#![allow(unsafe_code)]

pub mod bpf;
pub mod entry;
pub mod file;
pub mod interrupt;
pub mod mount;
pub mod mountinfo;
pub mod netlink;
pub mod process;
pub mod scheduling;
pub mod seccomp;
pub mod shielded;
pub mod signal;
pub mod socket;
pub mod spawn;
pub mod tasks;
pub mod tuning;
pub mod tty;
pub mod xattr;

use nix::errno::Errno;

/// The result of a system call: its value or the bare errno.
pub type Result<T> = std::result::Result<T, Errno>;

/// Turns the -1 of a system call into its errno.
pub(crate) fn check(result: libc::c_long) -> Result<libc::c_long> {
    Errno::result(result)
}

/// Makes a call again where a signal has interrupted it; EINTR where it says so a thousand times. No signals do that, but
/// a seccomp filter can, and then for ever.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    const MOST: u32 = 1000;
    for _ in 1..MOST {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
    call()
}

/// Returns the errno behind an error of the standard library; EIO where there is none.
pub fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
