//! Loads seccomp filters, and reports which of their flags the kernel has: seccomp(2).

use std::os::fd::{FromRawFd, OwnedFd};

use libc::{c_uint, c_ulong, sock_filter};
use nix::errno::Errno;

use super::{Result, check};

/// Every filter flag that tare can use.
const FLAGS: [c_ulong; 5] = [
    libc::SECCOMP_FILTER_FLAG_TSYNC,
    libc::SECCOMP_FILTER_FLAG_LOG,
    libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
    libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
];

/// Loads a filter for the calling thread with `SECCOMP_FILTER_FLAG_*`. Returns the listener if NEW_LISTENER
/// is set. It needs no_new_privs or CAP_SYS_ADMIN. It allocates nothing, so a child may call it after fork.
///
/// # Errors
/// EINVAL if the kernel refuses the program, EACCES without the privilege, EBUSY if the process already has a
/// listener; ESRCH if TSYNC finds a thread that cannot get the filter.
pub fn load(program: &[sock_filter], flags: c_ulong) -> Result<Option<OwnedFd>> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let fprog = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    let answer = check(set_mode_filter(flags, &raw const fprog))?;
    if flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 {
        // SAFETY: a descriptor that the kernel has just made for us, owned by nobody else.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(answer as i32) }));
    }
    // With TSYNC the result may be the id of a thread that has another filter.
    if answer == 0 { Ok(None) } else { Err(Errno::ESRCH) }
}

/// Returns the `SECCOMP_FILTER_FLAG_*` that this kernel has. The kernel checks the flags before the program:
/// with a null program, EFAULT means that it has the flag, and nothing is loaded.
pub fn supported_flags() -> c_ulong {
    FLAGS.into_iter().filter(|flag| is_supported(*flag)).fold(0, |flags, flag| flags | flag)
}

fn is_supported(flag: c_ulong) -> bool {
    // The kernel refuses WAIT_KILLABLE_RECV without NEW_LISTENER.
    let company = match flag {
        libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV => libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
        _ => 0,
    };
    check(set_mode_filter(flag | company, std::ptr::null())) == Err(Errno::EFAULT)
}

fn set_mode_filter(flags: c_ulong, program: *const libc::sock_fprog) -> libc::c_long {
    // SAFETY: the kernel only reads the program, and answers EFAULT where the pointer is null.
    unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            c_ulong::from(libc::SECCOMP_SET_MODE_FILTER as c_uint),
            flags,
            program,
        )
    }
}
