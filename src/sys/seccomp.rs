//! Loads seccomp filters, reports which of their flags the kernel has, and answers the calls that a filter
//! reports to a listener: seccomp(2), seccomp_unotify(2).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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

/// A system call that waits until its listener answers.
#[derive(Debug, Clone, Copy)]
pub struct WaitingCall {
    id: u64,
    /// The thread that calls, in our pid namespace.
    pub thread: i32,
    /// `AUDIT_ARCH_*`.
    pub audit: u32,
    pub number: u32,
    pub first_argument: u64,
}

/// The memory that the kernel writes a waiting call into.
#[derive(Debug)]
pub struct Calls(Vec<u64>);

impl Calls {
    /// Asks the kernel for the size: a newer one may write more than this program knows.
    pub fn new() -> Result<Self> {
        // SAFETY: for three plain numbers zero is valid.
        let mut sizes: libc::seccomp_notif_sizes = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes its three numbers into the live struct.
        check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_NOTIF_SIZES, 0, &raw mut sizes) })?;
        let bytes = usize::from(sizes.seccomp_notif).max(size_of::<libc::seccomp_notif>());
        Ok(Self(vec![0; bytes.div_ceil(size_of::<u64>())]))
    }

    /// Waits for the next call. Returns `None` if its thread has ended meanwhile.
    pub fn receive(&mut self, listener: BorrowedFd<'_>) -> Result<Option<WaitingCall>> {
        self.0.fill(0); // The kernel refuses anything else.
        let request = libc::SECCOMP_IOCTL_NOTIF_RECV as _;
        // SAFETY: the kernel writes its struct, which is no larger than the buffer.
        match check(unsafe { libc::ioctl(listener.as_raw_fd(), request, self.0.as_mut_ptr()) }.into()) {
            Err(Errno::ENOENT) => return Ok(None),
            other => other?,
        };
        // SAFETY: the buffer is aligned and no smaller, and the kernel has filled it; it is plain data.
        let call = unsafe { self.0.as_ptr().cast::<libc::seccomp_notif>().read() };
        Ok(Some(WaitingCall {
            id: call.id,
            thread: call.pid.cast_signed(),
            audit: call.data.arch,
            number: call.data.nr.cast_unsigned(),
            first_argument: call.data.args[0],
        }))
    }
}

/// Lets a call go on as if there were no filter. A thread that has ended meanwhile is no error.
pub fn let_go_on(listener: BorrowedFd<'_>, call: &WaitingCall) -> Result<()> {
    let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
    let mut answer = libc::seccomp_notif_resp { id: call.id, val: 0, error: 0, flags };
    let request = libc::SECCOMP_IOCTL_NOTIF_SEND as _;
    // SAFETY: the kernel reads the live struct.
    match check(unsafe { libc::ioctl(listener.as_raw_fd(), request, &raw mut answer) }.into()) {
        Ok(_) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Tells the kernel that a call waits for our answer and we for the next call: it then wakes us on the same
/// CPU. KERNEL(6.6); an older one answers EINVAL, and it goes on more slowly.
pub fn wake_on_the_same_cpu(listener: BorrowedFd<'_>) {
    const SET_FLAGS: libc::c_ulong = 0x4008_2104;
    const SYNC_WAKE_UP: u64 = 1;
    // SAFETY: the kernel takes the flags as a number, and changes nothing else.
    unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS as _, SYNC_WAKE_UP) };
}
