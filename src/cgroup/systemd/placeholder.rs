//! A process in a scope until the container's own is there: systemd starts no scope without a process.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::wait::{Id, WaitPidFlag, waitid};

use crate::error::{Context, Result};
use crate::sys::process::{CloneSide, clone3, exit_now, parent_death_signal, pidfd_send_signal};

#[derive(Debug)]
pub(crate) struct Placeholder {
    pub pid: i32,
    pidfd: OwnedFd,
}

impl Placeholder {
    /// Starts the process. It does nothing, and ends with us.
    pub(crate) fn start() -> Result<Self> {
        let us = std::process::id();
        match clone3(0, None).context("start a process for the new scope")? {
            CloneSide::Parent { pid, pidfd } => Ok(Self { pid, pidfd }),
            CloneSide::Child => {
                let bound = parent_death_signal(libc::SIGKILL);
                // Our death before that call would have had no effect.
                while bound.is_ok() && nix::unistd::getppid().as_raw().unsigned_abs() == us {
                    nix::unistd::pause();
                }
                exit_now(0)
            }
        }
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
        let _ = waitid(Id::PIDFd(self.pidfd.as_fd()), WaitPidFlag::WEXITED);
    }
}
