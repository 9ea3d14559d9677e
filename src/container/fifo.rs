//! The writing end of a container's exec fifo: `start` waits by it until the program runs.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

use crate::error::{Context, Result};

/// How long `start` waits for the program to execute before it runs poststart hooks, in milliseconds.
const PROGRAM_TIMEOUT: u16 = 10_000;

/// A process that was told to execute, and our end of its fifo.
#[derive(Debug)]
pub(crate) struct FifoWriter(pub(super) OwnedFd);

/// How long `start` waits for a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitLimit {
    /// For as long as the startContainer hooks run.
    Unlimited,
    /// For a limited time, because somebody may have stopped the process.
    ForProgram,
}

impl FifoWriter {
    /// Waits until the process has executed its program or has ended: then its end of the fifo is closed.
    /// Returns what it has written to the fifo.
    pub(crate) fn wait_for_program(&self, limit: WaitLimit) -> Result<Option<String>> {
        let timeout = match limit {
            WaitLimit::Unlimited => PollTimeout::NONE,
            WaitLimit::ForProgram => PROGRAM_TIMEOUT.into(),
        };
        // For the writing end of a pipe, poll reports only the loss of all readers.
        let mut waiting = [PollFd::new(self.0.as_fd(), PollFlags::empty())];
        loop {
            match poll(&mut waiting, timeout) {
                Err(Errno::EINTR) => {}
                Ok(0) => return Ok(None),
                other => break other.map(drop).context("wait for the program")?,
            }
        }
        self.last_words().context("read from the exec fifo")
    }

    fn last_words(&self) -> Result<Option<String>, Errno> {
        let path = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let reader = openat(AT_FDCWD, &*path, flags, Mode::empty())?;
        let mut text = [0; 4096];
        match nix::unistd::read(reader, &mut text) {
            Ok(0) | Err(Errno::EAGAIN) => Ok(None),
            // This is our own byte: the process ended before it could read it.
            Ok(1) if text[0] == b'0' => Ok(None),
            Ok(length) => Ok(Some(String::from_utf8_lossy(&text[..length]).into_owned())),
            Err(errno) => Err(errno),
        }
    }
}
