//! Starts another program as a child that inherits from us only what [`Program`] names.
//!
//! Neither `std::process` nor posix_spawn(3) can do this: the first sorts the environment and keeps other
//! descriptors and ignored signals, the second cannot close descriptors that it was not told about (musl).

use std::ffi::{CStr, CString, c_int, c_void};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use nix::unistd::{Pid, fchdir, getpid, getppid, pipe2, read, setpgid, write};

use super::process::{
    CloneSide, Vector, clone3, close_range, execve, execve_fd, exit_now, parent_death_signal,
    pidfd_send_signal, reset_signals,
};
use super::signal::known_ignored;
use super::{Result, check, uninterrupted};

/// A program to start, and everything that it inherits.
pub struct Program<'a> {
    pub path: &'a CStr,
    pub args: &'a [CString],
    pub env: &'a [CString],
    /// The working directory; `None` for ours.
    pub dir: Option<&'a CStr>,
    /// The descriptors 0 to 2; each must be 3 or above.
    pub stdio: [BorrowedFd<'a>; 3],
    /// More descriptors, from 3 up.
    pub more: &'a [BorrowedFd<'a>],
    /// Whether the kernel kills it when we end.
    pub ends_with_us: bool,
}

/// Starts the program as the leader of a new process group, with signals as after a login: none blocked, none
/// ignored. Its descriptors from 3 up are closed. Returns pid and pidfd once the program has been executed.
///
/// # Errors
/// The errno of the failed call in the new process, most often execve(2). Then the process has ended.
pub fn spawn(program: &Program<'_>) -> Result<(i32, OwnedFd)> {
    let args = Vector::new(program.args.iter().map(CString::as_c_str));
    let env = Vector::new(program.env.iter().map(CString::as_c_str));
    let dir = program.dir.map(open_directory).transpose()?;
    // execve closes the pipe. An errno of a failure before comes through it.
    let (reader, mut writer) = pipe2(OFlag::O_CLOEXEC)?;
    if program.more.len() > MOST {
        return Err(Errno::E2BIG);
    }
    if !program.more.is_empty() {
        // SAFETY: the number of a descriptor that was made here, and that nobody else has.
        writer = unsafe { OwnedFd::from_raw_fd(copy_above(writer.as_raw_fd())?) };
    }
    let parent = getpid();
    match clone3(0, None)? {
        CloneSide::Child => {
            let errno = match prepare(program, dir.as_ref(), Some(writer.as_fd()), u64::MAX, parent) {
                Ok(()) => execve(program.path, &args, &env),
                Err(errno) => errno,
            };
            let _ = write(&writer, &(errno as i32).to_ne_bytes());
            exit_now(127)
        }
        CloneSide::Parent { pid, pidfd } => {
            if let Err(errno) = really_close(writer, &reader) {
                let _ = pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
                let _ = wait(pid);
                return Err(errno);
            }
            let mut errno = [0; 4];
            match read_errno(&reader, &mut errno) {
                Ok(0) => Ok((pid, pidfd)),
                other => {
                    let _ = wait(pid);
                    Err(other.map_or_else(|errno| errno, |_| Errno::from_raw(i32::from_ne_bytes(errno))))
                }
            }
        }
    }
}

/// The stack of a process that has our memory until it executes its program: what [`prepare`] takes, without
/// optimisation too, and twice that.
const STACK: usize = 16 << 10;

/// What a process in our memory has to do.
struct Order<'a> {
    program: &'a Program<'a>,
    sealed: Option<BorrowedFd<'a>>,
    dir: Option<&'a OwnedFd>,
    args: &'a Vector<'a>,
    env: &'a Vector<'a>,
    parent: Pid,
    /// Of the call that has failed; 0 as long as none has.
    errno: c_int,
}

/// Starts the program like [`spawn`], without a copy of our memory: the new process has ours, and we stand still,
/// until it has executed (vfork(2)). Where the program is `sealed`, that file is executed in place of the one at
/// `path`, which is what a script falls back on: its interpreter cannot open it.
///
/// For a process without threads, and not in a container: a filter there may answer clone(2) itself, and who takes the
/// answer for true would be in somebody's memory.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_in_place(program: &Program<'_>, sealed: Option<BorrowedFd<'_>>) -> Result<i32> {
    let args = Vector::new(program.args.iter().map(CString::as_c_str));
    let env = Vector::new(program.env.iter().map(CString::as_c_str));
    let dir = program.dir.map(open_directory).transpose()?;
    if program.more.len() > MOST {
        return Err(Errno::E2BIG);
    }
    // It could have the number that one of them is to get.
    let sealed = sealed.filter(|_| program.more.is_empty());
    let (dir, parent) = (dir.as_ref(), getpid());
    let mut order = Order { program, sealed, dir, args: &args, env: &env, parent, errno: 0 };
    let mut stack: Vec<u128> = Vec::with_capacity(STACK / size_of::<u128>());
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is the new process's alone, has room for all that `carry_out` calls, and lives as the order
    // does until that process has its own memory or has ended: only then does clone(2) return here (CLONE_VFORK).
    // It allocates nothing, returns nowhere, and there is no other thread.
    let pid = Errno::result(unsafe {
        let top = stack.as_mut_ptr().add(stack.capacity());
        libc::clone(carry_out, top.cast(), flags, (&raw mut order).cast())
    })?;
    if order.errno == 0 {
        return Ok(pid);
    }
    let _ = wait(pid);
    Err(Errno::from_raw(order.errno))
}

extern "C" fn carry_out(order: *mut c_void) -> c_int {
    // SAFETY: what `spawn_in_place` has given to clone(2), and does not touch before we have executed or ended.
    let order = unsafe { &mut *order.cast::<Order<'_>>() };
    let program = order.program;
    let errno = match prepare(program, order.dir, order.sealed, known_ignored(), order.parent) {
        Ok(()) => execute(order),
        Err(errno) => errno,
    };
    order.errno = errno as c_int;
    exit_now(127)
}

fn execute(order: &Order<'_>) -> Errno {
    match order.sealed.map(|file| execve_fd(file, order.args, order.env)) {
        None | Some(Errno::ENOENT) => execve(order.program.path, order.args, order.env),
        Some(errno) => errno,
    }
}

/// Ends this process with status 0, and lets another one go on with `rest` where it stood, in its memory, with its
/// descriptors but for the first three: who waits for us need not wait for the rest.
pub fn leave_behind<F: FnOnce()>(rest: F) -> ! {
    const ROOM: usize = 24 << 10;
    let mut rest = Some(rest);
    let mut stack: Vec<u128> = Vec::with_capacity(ROOM / size_of::<u128>());
    let _ = close_range(0, 2);
    // SAFETY: the stack and `rest` are never given back: we do nothing more than end, and the memory stays as long as one of
    // the two does. So there are never two that use it.
    unsafe {
        let top = stack.as_mut_ptr().add(stack.capacity());
        libc::clone(go_on::<F>, top.cast(), libc::CLONE_VM | libc::SIGCHLD, (&raw mut rest).cast());
    }
    exit_now(0)
}

extern "C" fn go_on<F: FnOnce()>(rest: *mut c_void) -> c_int {
    // SAFETY: what `leave_behind` has given to clone(2), and does not touch any more.
    let rest = unsafe { &mut *rest.cast::<Option<F>>() };
    if let Some(rest) = rest.take() {
        rest();
    }
    exit_now(0)
}

/// Closes our end, and looks whether it is closed: a seccomp filter may deny that, and to read from the pipe
/// would then be to wait for ever. (The C library takes EINTR for success.)
fn really_close(writer: OwnedFd, reader: &OwnedFd) -> Result<()> {
    let number = writer.as_raw_fd();
    drop(writer);
    // SAFETY: plain data for which zero is valid.
    let mut there: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: looks at a number, whatever it stands for, and writes one struct.
    if unsafe { libc::fstat(number, &raw mut there) } < 0 {
        return Ok(());
    }
    // Another thread may have opened something else by that number.
    let pipe = fstat(reader)?;
    let is_pipe = (there.st_dev, there.st_ino) == (pipe.st_dev, pipe.st_ino);
    if is_pipe { Err(Errno::EPERM) } else { Ok(()) }
}

/// Reads the errno of a failed start. Returns 0 if execve has closed the pipe.
fn read_errno(reader: &OwnedFd, errno: &mut [u8; 4]) -> Result<usize> {
    uninterrupted(|| read(reader, errno))
}

/// Sets up the new process, and closes every descriptor that it is not to have, but for `kept`. It allocates
/// nothing: a thread that does not exist here may hold the allocator's lock.
fn prepare(
    program: &Program<'_>,
    dir: Option<&OwnedFd>,
    kept: Option<BorrowedFd<'_>>,
    ignored: u64,
    parent: Pid,
) -> Result<()> {
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    if program.ends_with_us {
        parent_death_signal(libc::SIGKILL)?;
        // It may have ended before the signal was asked for.
        if getppid() != parent {
            return Err(Errno::ESRCH);
        }
    }
    reset_signals(ignored)?;
    for (target, fd) in (0..).zip(program.stdio) {
        // SAFETY: two numbers; who owns the target in our parent has a descriptor of its own.
        check(unsafe { libc::dup2(fd.as_raw_fd(), target) }.into())?;
    }
    if let Some(dir) = dir {
        fchdir(dir)?;
    }
    pass_more(program.more)?;
    let first = 3 + program.more.len() as u32;
    let Some(kept) = kept else { return close_range(first, u32::MAX) };
    // It is above these: `spawn` has a pipe, whose other end, which is closed here, is below it; and where there are
    // `more`, it has been moved. `spawn_in_place` keeps nothing beside `more`.
    let kept = kept.as_raw_fd() as u32;
    close_range(first, kept - 1)?;
    close_range(kept + 1, u32::MAX)
}

/// The most descriptors beside the first three.
const MOST: usize = 8;

/// Gives the descriptors the numbers from 3 up. Each goes to a number above all of them first, because one may have the
/// number that another gets.
fn pass_more(more: &[BorrowedFd<'_>]) -> Result<()> {
    let mut copies = [0; MOST];
    for (copy, fd) in copies.iter_mut().zip(more) {
        *copy = copy_above(fd.as_raw_fd())?;
    }
    for (target, copy) in (3..).zip(&copies[..more.len()]) {
        // SAFETY: two numbers; what had the target is closed, or has a copy above.
        check(unsafe { libc::dup2(*copy, target) }.into())?;
    }
    Ok(())
}

/// Copies a descriptor to a number above those of [`Program::more`].
fn copy_above(fd: i32) -> Result<i32> {
    // SAFETY: makes a new descriptor.
    check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3 + MOST as i32) }.into()).map(|copy| copy as i32)
}

/// Waits until a child has ended: waitpid(2).
pub fn wait(pid: i32) -> Result<ExitStatus> {
    let mut status = 0;
    // SAFETY: status is a live integer.
    uninterrupted(|| Errno::result(unsafe { libc::waitpid(pid, &raw mut status, 0) }))?;
    Ok(ExitStatus::from_raw(status))
}

/// Returns the C library's name of a signal, such as `Killed`: strsignal(3).
pub fn signal_name(signal: i32) -> String {
    // SAFETY: strsignal takes any number and returns a string that is valid until the thread's next call of
    // it.
    let name = unsafe { libc::strsignal(signal) };
    if name.is_null() {
        return format!("signal {signal}");
    }
    // SAFETY: not null, so it is a NUL-terminated string; it is copied at once.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}

fn open_directory(path: &CStr) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, nix::sys::stat::Mode::empty())
}
