//! Clones and executes processes, and sets their properties: clone3(2), pidfds, execve(2), ids, capabilities,
//! limits, prctl(2).

use std::ffi::{CStr, c_char, c_int};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::{Result, check};
use crate::kernel::process::CapabilitySet;

/// Bit 33. The type of libc's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The side of clone3(2) on which the caller continues.
pub enum CloneSide {
    /// We are the new process.
    Child,
    /// The caller: the new process's id in our pid namespace, and a pidfd, which never refers to another
    /// process.
    Parent { pid: i32, pidfd: OwnedFd },
}

/// Clones this process by clone3(2) without shared memory, like fork(2). `flags` are CLONE_NEW* and
/// CLONE_PARENT; KERNEL(5.3), `cgroup` KERNEL(5.7).
///
/// The child continues with a copy of everything, including locks. If the caller has threads, the child must
/// not take any lock, and so must not allocate.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<CloneSide> {
    let mut pidfd: c_int = -1;
    // SAFETY: clone_args is plain data for which zero is valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    // With CLONE_PARENT the child has the exit signal of its parent; the kernel refuses another (clone(2)).
    args.exit_signal = if flags & libc::CLONE_PARENT as u64 == 0 { libc::SIGCHLD as u64 } else { 0 };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: args lives across the call and is of the size given; without CLONE_VM the child has its own
    // memory, so it returns here on a copy of this stack.
    let pid =
        check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) })?;
    if pid == 0 {
        return Ok(CloneSide::Child);
    }
    // SAFETY: the kernel has stored a new descriptor for us in pidfd.
    Ok(CloneSide::Parent { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
}

/// Ends this process at once: no destructor, no atexit handler, no flush of buffers that belong to the
/// parent.
///
/// _exit(3) is not used: it calls exit(2) in an endless loop, but a seccomp filter may deny both calls that
/// end a process.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: these end the process, or come back and have done nothing.
    unsafe {
        libc::syscall(libc::SYS_exit_group, code);
        libc::syscall(libc::SYS_exit, code);
    }
    trap()
}

/// Ends this process with an invalid instruction, for which the kernel kills it by SIGILL.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
fn trap() -> ! {
    // SAFETY: nothing runs after it.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("ud2", options(noreturn, nomem, nostack))
    }
    // SAFETY: the same.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("udf #0", options(noreturn, nomem, nostack))
    }
    // SAFETY: the same.
    #[cfg(target_arch = "riscv64")]
    unsafe {
        std::arch::asm!("unimp", options(noreturn, nomem, nostack))
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
fn trap() -> ! {
    std::process::abort()
}

/// Returns the size of a page: 4 KiB, 16 or 64, as this kernel was built.
pub fn page_size() -> usize {
    // SAFETY: a number that the kernel gave to this program.
    unsafe { libc::getauxval(libc::AT_PAGESZ) as usize }
}

/// Opens a pidfd of a process: pidfd_open(2), KERNEL(5.3).
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: numbers only.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: a descriptor just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// Duplicates a descriptor of another process, by its number there: pidfd_getfd(2), KERNEL(5.6). It needs the
/// same rights as ptrace.
pub fn pidfd_getfd(pidfd: BorrowedFd<'_>, number: i32) -> Result<OwnedFd> {
    // SAFETY: numbers only.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) })?;
    // SAFETY: a descriptor just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// Sends a signal to the process of a pidfd: pidfd_send_signal(2), KERNEL(5.1).
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: numbers and a null siginfo, which the kernel fills in itself.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(drop)
}

/// Joins namespaces: setns(2) with a namespace descriptor (`flags` is its type, or 0 for any) or a pidfd
/// (`flags` is a set of types, KERNEL(5.8)).
pub fn setns(fd: BorrowedFd<'_>, flags: c_int) -> Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::setns(fd.as_raw_fd(), flags) }.into()).map(drop)
}

/// Returns the type of a namespace descriptor as a CLONE_NEW* flag, NS_GET_NSTYPE of ioctl_ns(2).
pub fn namespace_type(fd: BorrowedFd<'_>) -> Result<c_int> {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: an ioctl without an argument.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) }.into()).map(|kind| kind as c_int)
}

/// Returns the user who made a user namespace, NS_GET_OWNER_UID of ioctl_ns(2).
pub fn namespace_owner(fd: BorrowedFd<'_>) -> Result<u32> {
    const NS_GET_OWNER_UID: libc::Ioctl = 0xb704;
    let mut uid: libc::uid_t = 0;
    // SAFETY: the kernel writes one uid_t, which outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_OWNER_UID, &raw mut uid) }.into()).map(|_| uid)
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityWord {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Sets the capabilities: capset(2) of the calling thread, all three sets in one call.
pub fn capset(effective: CapabilitySet, permitted: CapabilitySet, inheritable: CapabilitySet) -> Result<()> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let word = |shift: u32| CapabilityWord {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [word(0), word(32)];
    // SAFETY: both structs have the layout of linux/capability.h version 3 and outlive the call, which reads
    // them.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}

/// Reads the capabilities of the calling thread, capget(2), as (effective, permitted, inheritable).
pub fn capget() -> Result<(CapabilitySet, CapabilitySet, CapabilitySet)> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [CapabilityWord::default(); 2];
    // SAFETY: as above; the kernel writes two words, which is what data holds.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) })?;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok((
        join(data[0].effective, data[1].effective),
        join(data[0].permitted, data[1].permitted),
        join(data[0].inheritable, data[1].inheritable),
    ))
}

fn prctl(option: c_int, a: libc::c_ulong, b: libc::c_ulong) -> Result<c_int> {
    let none: libc::c_ulong = 0;
    // SAFETY: the options used below take numbers only.
    check(unsafe { libc::prctl(option, a, b, none, none) }.into()).map(|value| value as c_int)
}

/// Drops a capability from the bounding set, PR_CAPBSET_DROP.
pub fn drop_bounding(capability: u32) -> Result<()> {
    prctl(libc::PR_CAPBSET_DROP, capability.into(), 0).map(drop)
}

/// Whether the capability is in the bounding set; EINVAL if this kernel does not have it.
pub fn is_in_bounding(capability: u32) -> Result<bool> {
    prctl(libc::PR_CAPBSET_READ, capability.into(), 0).map(|value| value == 1)
}

/// Adds a capability to the ambient set, PR_CAP_AMBIENT_RAISE.
pub fn raise_ambient(capability: u32) -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong, capability.into()).map(drop)
}

/// Empties the ambient set, PR_CAP_AMBIENT_CLEAR_ALL.
pub fn clear_ambient() -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, 0).map(drop)
}

/// Keeps the permitted set across setuid, until execve.
pub fn keep_capabilities() -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, 1, 0).map(drop)
}

/// Sets no_new_privs, which cannot be undone (prctl(2)).
pub fn set_no_new_privileges() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

/// Sets the signal that this process gets when its parent dies, PR_SET_PDEATHSIG; 0 for none.
pub fn parent_death_signal(signal: c_int) -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong, 0).map(drop)
}

/// Sets whether others of the same user may trace this process and read its /proc entries, PR_SET_DUMPABLE.
pub fn set_dumpable(yes: bool) -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, yes.into(), 0).map(drop)
}

/// Sets the supplementary groups: setgroups(2). This function, `set_gid` and `set_uid` are bare system calls,
/// which change only this thread: there is no other.
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: a pointer and length of a live slice of gid_t.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Sets real, effective and saved gid: setresgid(2).
pub fn set_gid(gid: u32) -> Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// Sets real, effective and saved uid: setresuid(2).
pub fn set_uid(uid: u32) -> Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Sets a resource limit: prlimit64(2) of the calling process; `u64::MAX` is infinity.
pub fn set_limit(resource: c_int, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let none = std::ptr::null_mut::<libc::rlimit64>();
    // SAFETY: limit outlives the call, which reads it; no old value is asked for.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, none) }).map(drop)
}

/// Reads the working directory from the kernel: the C library's wrapper hides "(unreachable)"
/// (CVE-2024-21626).
pub fn current_directory(buffer: &mut [u8; libc::PATH_MAX as usize]) -> Result<&CStr> {
    // SAFETY: the kernel writes at most the length given into the live buffer, NUL included.
    check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })?;
    CStr::from_bytes_until_nul(buffer).map_err(|_| Errno::ERANGE)
}

/// The argv or envp of execve(2): pointers to C strings, with a null at the end. It is built before the
/// clone, and borrows the strings.
pub struct Vector<'a> {
    pointers: Vec<*const c_char>,
    strings: std::marker::PhantomData<&'a CStr>,
}

impl<'a> Vector<'a> {
    /// Makes the vector of these strings.
    pub fn new(strings: impl IntoIterator<Item = &'a CStr>) -> Self {
        let mut pointers: Vec<_> = strings.into_iter().map(CStr::as_ptr).collect();
        pointers.push(std::ptr::null());
        Self { pointers, strings: std::marker::PhantomData }
    }
}

/// Executes a program: execve(2). Returns only on failure.
pub fn execve(path: &CStr, args: &Vector<'_>, env: &Vector<'_>) -> Errno {
    // SAFETY: path is NUL-terminated, both vectors end in null and their strings live as long as they do.
    unsafe { libc::execve(path.as_ptr(), args.pointers.as_ptr(), env.pointers.as_ptr()) };
    Errno::last()
}

/// Executes the file of a descriptor: execveat(2). Returns only on failure.
pub fn execve_fd(fd: BorrowedFd<'_>, args: &Vector<'_>, env: &Vector<'_>) -> Errno {
    // SAFETY: as above; the path is the empty literal.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            args.pointers.as_ptr(),
            env.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::last()
}

/// Marks every descriptor from `first` on close-on-exec. KERNEL(5.11).
pub fn cloexec_from(first: u32) -> Result<()> {
    // SAFETY: changes a flag of descriptors by number; none is closed.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })
        .map(drop)
}

/// Closes the descriptors from `first` to `last`. KERNEL(5.9). Only allowed right before execve or `_exit`.
pub fn close_range(first: u32, last: u32) -> Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: closes by number; the caller goes on to execve or _exit, so no owner uses or closes them again.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Makes SIGHUP, SIGINT, SIGQUIT and SIGTERM end this process with the exit code that a shell shows for them.
pub fn end_on_signals() -> Result<()> {
    extern "C" fn end(signal: libc::c_int) {
        // SAFETY: _exit is async-signal-safe.
        unsafe { libc::_exit(128 + signal) }
    }
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        let action = SigAction::new(SigHandler::Handler(end), SaFlags::empty(), SigSet::empty());
        let signal = Signal::try_from(signal)?;
        // SAFETY: the handler only ends the process.
        unsafe { sigaction(signal, &action) }?;
    }
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
        mask.add(signal);
    }
    mask.thread_unblock()
}

/// Sets every signal to its default action and unblocks all, as a new process expects.
///
/// `ignored` are the signals that the caller ignores, signal N in bit N-1: they would stay ignored across
/// execve, which resets only those with a handler.
pub fn reset_signals(ignored: u64) -> Result<()> {
    // The kernel's struct: handler, flags, restorer, mask; SIG_DFL is 0.
    let default = [0_u64; 4];
    for signal in (1..=64).filter(|signal| ignored >> (signal - 1) & 1 == 1) {
        // The system call is used because a C library refuses to change the signals that it reserves, from 32
        // on, and posix_spawn leaves them ignored.
        // SAFETY: the kernel reads no more than 32 bytes; a default action installs no handler of ours.
        unsafe {
            let action = default.as_ptr();
            libc::syscall(libc::SYS_rt_sigaction, signal, action, std::ptr::null::<u64>(), size_of::<u64>())
        };
    }
    // SAFETY: an all-zero sigset_t is the empty set on Linux; the kernel reads it.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()).into()).map(drop)
    }
}

/// Sets the NIS domain name of the UTS namespace: setdomainname(2).
pub fn set_domain_name(name: &CStr) -> Result<()> {
    // SAFETY: pointer and length of a live string.
    check(unsafe { libc::setdomainname(name.as_ptr(), name.count_bytes()) }.into()).map(drop)
}

/// Joins a new session keyring named `name`, keyctl(KEYCTL_JOIN_SESSION_KEYRING).
pub fn join_session_keyring(name: &CStr) -> Result<i32> {
    const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: a NUL-terminated string that the kernel only reads.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) })
        .map(|id| id as i32)
}

/// Sets the permissions of a key: keyctl(KEYCTL_SETPERM).
pub fn set_key_permissions(key: i32, permissions: u32) -> Result<()> {
    const KEYCTL_SETPERM: c_int = 5;
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, key, permissions) }).map(drop)
}

/// Sets the execution domain: personality(2).
pub fn set_personality(persona: libc::c_ulong) -> Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::personality(persona) }.into()).map(drop)
}

/// Brings up the loopback interface of this network namespace.
pub fn bring_loopback_up() -> Result<()> {
    // SAFETY: a datagram socket, made and closed here; ifreq is plain data for which zero is valid and
    // SIOC[GS]IFFLAGS reads and writes within it.
    unsafe {
        let fd = check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0).into())?;
        let socket = OwnedFd::from_raw_fd(fd as c_int);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as c_char;
        request.ifr_name[1] = b'o' as c_char;
        request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request).into()).map(drop)
    }
}
