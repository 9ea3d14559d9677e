//! Reads signals from a descriptor, for a process that forwards them.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::{Result, check};

/// One past the last signal, SIGRTMAX.
const END: i32 = 65;

/// Every signal that arrives from now on is read from here and has no other effect.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    set: SigSet,
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Signals {
    /// Blocks every signal except those that this process ignores: its caller wants that (nohup, a script's
    /// background job), so they stay ignored. Blocked signals wait in the kernel until [`Signals::read`].
    pub fn divert() -> Result<Self> {
        // SAFETY: for sigset_t, plain data, zero is valid.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: set is live; this initialises it, without the signals that the C library keeps for itself.
        unsafe { libc::sigfillset(&raw mut set) };
        let ignored = ignored();
        for signal in (1..END).filter(|signal| ignored >> (signal - 1) & 1 == 1) {
            // SAFETY: set is live and initialised; the number is a signal's.
            unsafe { libc::sigdelset(&raw mut set, signal) };
        }
        // SAFETY: initialised by sigfillset.
        let set = unsafe { SigSet::from_sigset_t_unchecked(set) };
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { fd, set })
    }

    /// Gives these signals their usual action back.
    pub fn release(&mut self, signals: &[Signal]) -> Result<()> {
        let mut released = SigSet::empty();
        for signal in signals {
            released.add(*signal);
            self.set.remove(*signal);
        }
        self.fd.set_mask(&self.set)?;
        pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&released), None)
    }

    /// Returns the number of a signal that has arrived; `None` if none is waiting.
    pub fn read(&mut self) -> Result<Option<i32>> {
        Ok(self.read_with_origin()?.map(|(signal, _)| signal))
    }

    /// Returns the number of a signal that has arrived, and whether the kernel itself has sent it, as it does
    /// for the keys of a terminal: to every process in the foreground.
    pub fn read_with_origin(&mut self) -> Result<Option<(i32, bool)>> {
        let our_pid = std::process::id();
        while let Some(signal) = self.fd.read_signal()? {
            // A SIGPIPE of our own write is already known by its EPIPE.
            let ours = signal.ssi_code == libc::SI_USER && signal.ssi_pid == our_pid;
            if !ours {
                return Ok(Some((signal.ssi_signo as i32, signal.ssi_code == libc::SI_KERNEL)));
            }
        }
        Ok(None)
    }
}

static IGNORED: OnceLock<u64> = OnceLock::new();

/// The same as [`ignored`], where that was looked up before; otherwise every signal may be.
pub(super) fn known_ignored() -> u64 {
    IGNORED.get().copied().unwrap_or(u64::MAX)
}

/// Returns the signals that this process ignores, signal N in bit N-1. Its caller has chosen them, because
/// tare itself ignores none.
///
/// They are looked up once: if possible in /proc with one read, otherwise signal by signal.
pub fn ignored() -> u64 {
    *IGNORED.get_or_init(|| {
        let status = super::file::read_small_at(c"/proc/self/status").unwrap_or_default();
        let asked = || (1..END).filter(|signal| is_ignored(*signal)).fold(0, |set, n| set | 1 << (n - 1));
        in_status(&status).unwrap_or_else(asked)
    })
}

/// Parses `SigIgn:` of proc_pid_status(5), which is hexadecimal.
fn in_status(status: &[u8]) -> Option<u64> {
    let line = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"SigIgn:"))?;
    u64::from_str_radix(std::str::from_utf8(line).ok()?.trim(), 16).ok()
}

pub(super) fn is_ignored(signal: i32) -> bool {
    // The kernel's struct: handler, flags, restorer, mask. The system call is used because a C library
    // answers EINVAL for the signals that it reserves; posix_spawn may have left them ignored nonetheless.
    let mut action = [0_u64; 4];
    // SAFETY: nothing is set; the kernel writes what is set now into action, which is no smaller and outlives
    // the call.
    let asked = check(unsafe {
        let none = std::ptr::null::<u64>();
        libc::syscall(libc::SYS_rt_sigaction, signal, none, action.as_mut_ptr(), size_of::<u64>())
    });
    asked.is_ok() && action[0] == libc::SIG_IGN as u64
}

/// Keeps the exit statuses of children, whatever the caller has done to SIGCHLD: if it is ignored, they are
/// lost.
pub fn keep_exit_statuses() -> Result<()> {
    use nix::sys::signal::{SigHandler, signal};
    // SAFETY: the default action installs no handler.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }.map(drop)
}

/// Waits for a child that has ended: waitpid(2). Returns its id, and its code, or 128 plus the number of the
/// signal that killed it.
///
/// `pid` -1 means any child. Returns `None` if none has ended and `block` is false. nix has no name for
/// real-time signals.
pub fn wait(pid: i32, block: bool) -> Result<Option<(i32, i32)>> {
    let mut status: libc::c_int = 0;
    let options = if block { 0 } else { libc::WNOHANG };
    loop {
        // SAFETY: the kernel writes one int, which outlives the call.
        match check(unsafe { libc::waitpid(pid, &raw mut status, options) }.into()) {
            Err(nix::errno::Errno::EINTR) => {}
            Ok(0) => return Ok(None),
            ended => return ended.map(|ended| Some((ended as i32, exit_status(status)))),
        }
    }
}

/// Sends a signal to one process: kill(2). nix has no name for real-time signals.
pub fn send(pid: i32, signal: i32) -> Result<()> {
    if pid <= 0 {
        return Err(nix::errno::Errno::ESRCH);
    }
    // SAFETY: two numbers; it is one process, not a group.
    check(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}

fn exit_status(status: libc::c_int) -> i32 {
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_status() {
        let text = b"Name:\tx\nSigBlk:\t00000000000000ff\nSigIgn:\t0000000180001000\nSigCgt:\t0\n";
        assert_eq!(in_status(text), Some(1 << 12 | 1 << 31 | 1 << 32));
        assert_eq!(in_status(b"Name:\tx\n"), None);
    }
}
