//! Waits for a container in the foreground, and passes signals on to it.

use std::os::fd::{AsFd, BorrowedFd};
use std::process::Command;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::runtime::Process;
use crate::error::{Context, Result};
use crate::sys::process::{pidfd_open, pidfd_send_signal};
use crate::sys::signal::{self, Signals};
use crate::sys::tty::{self, STDIN};

/// Waits until the process has ended, and returns its exit code, or 128 plus the number of a signal.
pub(super) fn wait(process: &Process, signals: &mut Signals, is_terminal: bool) -> Result<i32> {
    loop {
        let mut watched = [
            PollFd::new(process.pidfd.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut watched, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            polled => polled.context("wait for the container")?,
        };
        let has_ended = watched[0].any().unwrap_or(true);
        pass_on(signals, process.pidfd.as_fd(), is_terminal)?;
        if has_ended {
            let ended = signal::wait(process.pid, true).context("wait for the container")?;
            return Ok(ended.map_or(0, |(_, code)| code));
        }
    }
}

/// Passes all signals that have arrived on to the process.
fn pass_on(signals: &mut Signals, pidfd: BorrowedFd<'_>, is_terminal: bool) -> Result<()> {
    while let Some(number) = signals.read().context("read signals")? {
        match number {
            // A child has ended; the poll tells whether it is the one.
            libc::SIGCHLD | libc::SIGURG => {}
            // The runtime has these from the terminal itself.
            libc::SIGWINCH => {}
            libc::SIGTTIN | libc::SIGTTOU | libc::SIGTSTP | libc::SIGCONT if is_terminal => {}
            // It may have ended just now.
            _ => drop(pidfd_send_signal(pidfd, number)),
        }
    }
    Ok(())
}

/// Runs the runtime in the foreground, with this process's terminal, which has its mode back afterwards,
/// whatever has ended the runtime.
pub(super) fn run_with_terminal(command: &mut Command, signals: &mut Signals) -> Result<i32> {
    let mode = tty::mode(STDIN).ok();
    let child = command.spawn().context("start the runtime")?;
    let pid = child.id().cast_signed();
    let process = Process { pid, pidfd: pidfd_open(pid).context("open the runtime's process")? };
    let code = wait(&process, signals, true);
    if let Some(mode) = mode {
        let _ = tty::set_mode(STDIN, &mode);
    }
    code
}
