//! The C function `main` of `tare`, in place of the standard library's.
//!
//! The standard library's work before `main` costs a container runtime more than it gains: it ignores
//! SIGPIPE, which every container would inherit across execve, sets up a stack guard by reading
//! /proc/self/maps, and so on (33 system calls for an empty program). Only the necessary part is done here.

use std::ffi::{CStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStringExt;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Defines the C function `main`, which calls `$main`, a `fn(Vec<OsString>) -> i32`. The file needs
/// `#![no_main]`.
#[macro_export]
macro_rules! main_function {
    ($main:path) => {
        // SAFETY: the only symbol `main` of this program; the C library calls it once, with its argc and
        // argv.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn main(
            argc: std::ffi::c_int,
            argv: *const *const std::ffi::c_char,
        ) -> std::ffi::c_int {
            $crate::sys::entry::prepare();
            // SAFETY: argc and argv are those that the C library gave to main.
            $main(unsafe { $crate::sys::entry::arguments(argc, argv) })
        }
    };
}

/// Puts the process into the state that all our code relies on: descriptors 0 to 2 open, SIGPIPE harmless.
pub fn prepare() {
    open_standard_descriptors();
    survive_sigpipe();
}

/// Returns the command line.
///
/// # Safety
/// `argv` must point to `argc` pointers to NUL-terminated strings, as `main` gets them.
pub unsafe fn arguments(argc: c_int, argv: *const *const c_char) -> Vec<OsString> {
    let count = usize::try_from(argc).unwrap_or(0);
    (0..count)
        .map(|index| {
            // SAFETY: index is below argc, so there is a pointer, and it points to a NUL-terminated string.
            let argument = unsafe { CStr::from_ptr(*argv.add(index)) };
            OsString::from_vec(argument.to_bytes().to_vec())
        })
        .collect()
}

/// Opens /dev/null for each descriptor below 3 that the caller left closed. Otherwise the first file that we
/// open would get its number, and be written to as standard output.
fn open_standard_descriptors() {
    let mut fds = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: fds is a live array of three; poll with no timeout only fills in revents.
    let ready = unsafe { libc::poll(fds.as_mut_ptr(), 3, 0) };
    if ready <= 0 {
        return;
    }
    for _ in fds.iter().filter(|fd| fd.revents & libc::POLLNVAL != 0) {
        // SAFETY: a constant path; the lowest free number is the one that is closed. It stays open on
        // purpose.
        unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
    }
}

/// Makes a write without a reader (of a log, or a hook's standard input) fail with EPIPE and not end us
/// halfway. A handler does this and, unlike SIG_IGN, is reset in every program that we execute. If the caller
/// ignores the signal, it stays ignored.
fn survive_sigpipe() {
    extern "C" fn nothing(_: c_int) {}
    let handler = SigAction::new(SigHandler::Handler(nothing), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does nothing, so it is safe at any point.
    let before = unsafe { sigaction(Signal::SIGPIPE, &handler) };
    if let Ok(before) = before
        && matches!(before.handler(), SigHandler::SigIgn)
    {
        // SAFETY: restores what was there a moment ago.
        let _ = unsafe { sigaction(Signal::SIGPIPE, &before) };
    }
}
