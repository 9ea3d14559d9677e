//! Makes system calls, one file per interface of the kernel. It has the only unsafe code of the project; each
//! block says why it is sound.
//!
//! The functions are thin: each does what the system call of its name does, and returns the bare errno. The
//! layer above, which knows the purpose of the call, adds the context. `nix` is used directly if it has a
//! safe wrapper; these files contain the calls that it lacks.
#![allow(unsafe_code)]

pub mod bpf;
pub mod entry;
pub mod file;
pub mod heap_end;
pub mod interrupt;
pub mod loop_device;
pub mod mount;
pub mod mountinfo;
pub mod netlink;
pub mod process;
pub mod scheduling;
pub mod seccomp;
pub mod shared_memory;
pub mod shielded;
pub mod signal;
pub mod socket;
pub mod spawn;
pub mod tasks;
pub mod tty;
pub mod tuning;
pub mod verity;
pub mod xattr;

use nix::errno::Errno;

/// The result of a system call: its value or the bare errno.
pub type Result<T> = std::result::Result<T, Errno>;

/// Turns the -1 of a system call into its errno.
pub(crate) fn check(result: libc::c_long) -> Result<libc::c_long> {
    Errno::result(result)
}

/// Repeats a call that a signal has interrupted. Returns EINTR after a thousand times: signals do not do
/// that, but a seccomp filter can, and then for ever.
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

/// Returns the errno of an error of the standard library; EIO if it has none.
pub fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
