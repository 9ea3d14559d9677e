//! Starts another program as a child that inherits from us only what [`Program`] names.
//!
//! Neither `std::process` nor posix_spawn(3) can do this: the first sorts the environment and keeps other
//! descriptors and ignored signals, the second cannot close descriptors that it was not told about (musl).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{Pid, fchdir, getpid, getppid, pipe2, read, setpgid, write};

use super::process::{
    CloneSide, Vector, clone3, close_range, execve, exit_now, parent_death_signal, pidfd_send_signal,
    reset_signals,
};
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
            let errno = match prepare(program, dir.as_ref(), writer.as_fd(), parent) {
                Ok(()) => execve(program.path, &args, &env),
                Err(errno) => errno,
            };
            let _ = write(&writer, &(errno as i32).to_ne_bytes());
            exit_now(127)
        }
        CloneSide::Parent { pid, pidfd } => {
            if let Err(errno) = really_close(writer) {
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

/// Closes our end, and looks whether it is closed: a seccomp filter may deny that, and to read from the pipe
/// would then be to wait for ever. (The C library takes EINTR for success.)
fn really_close(writer: OwnedFd) -> Result<()> {
    let number = writer.as_raw_fd();
    drop(writer);
    // SAFETY: reads a flag of a number, whatever it stands for; there is no other thread that could open it
    // anew.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 { Ok(()) } else { Err(Errno::EPERM) }
}

/// Reads the errno of a failed start. Returns 0 if execve has closed the pipe.
fn read_errno(reader: &OwnedFd, errno: &mut [u8; 4]) -> Result<usize> {
    uninterrupted(|| read(reader, errno))
}

/// Sets up the new process. It allocates nothing: a thread that does not exist here may hold the allocator's
/// lock.
fn prepare(program: &Program<'_>, dir: Option<&OwnedFd>, writer: BorrowedFd<'_>, parent: Pid) -> Result<()> {
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    if program.ends_with_us {
        parent_death_signal(libc::SIGKILL)?;
        // It may have ended before the signal was asked for.
        if getppid() != parent {
            return Err(Errno::ESRCH);
        }
    }
    reset_signals(u64::MAX)?;
    for (target, fd) in (0..).zip(program.stdio) {
        // SAFETY: two numbers; who owns the target in our parent has a descriptor of its own.
        check(unsafe { libc::dup2(fd.as_raw_fd(), target) }.into())?;
    }
    if let Some(dir) = dir {
        fchdir(dir)?;
    }
    pass_more(program.more)?;
    // `writer` is above these: pipe2 takes the lowest free numbers, and the reader, which is closed here, is
    // below it; and where there are `more`, it has been moved.
    let writer = writer.as_raw_fd() as u32;
    close_range(3 + program.more.len() as u32, writer - 1)?;
    close_range(writer + 1, u32::MAX)
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
