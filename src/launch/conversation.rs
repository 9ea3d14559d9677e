//! The parent's end of the conversation with the new process. In the foreground, a signal that asks us to end
//! also ends the conversation: nobody else could end a process that hangs before its program runs.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::handshake::{Acknowledgement, Message, SyncSocket};
use crate::sys::interrupt::Interrupts;
use crate::sys::spawn::signal_name;

pub(super) const DOING: &str = "talk to the new process";

#[derive(Debug)]
pub(super) struct Conversation {
    socket: SyncSocket,
    interrupts: Option<Interrupts>,
}

impl Conversation {
    /// `foreground`: this process has blocked the signals that ask it to end.
    pub(super) fn new(socket: SyncSocket, foreground: bool) -> Result<Self> {
        let interrupts = foreground.then(Interrupts::already_blocked).transpose().context("signalfd")?;
        Ok(Self { socket, interrupts })
    }

    /// Waits for the next message.
    pub(super) fn recv(&self) -> Result<Message> {
        if let Some(interrupts) = &self.interrupts {
            self.wait(interrupts)?;
        }
        self.socket.recv().context(DOING)
    }

    fn wait(&self, interrupts: &Interrupts) -> Result<()> {
        loop {
            let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut watched = [watch(self.socket.as_fd()), watch(interrupts.as_fd())];
            match poll(&mut watched, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other.context(DOING)?,
            };
            // A message that has arrived is read before the signal: the program may already run, and then the
            // signal is for it.
            if watched[0].any() == Some(true) {
                return Ok(());
            }
            if let Some(signal) = interrupts.take().context("read signals")? {
                let name = signal_name(signal).to_lowercase();
                return Err(fail!(Kind::Child, "ended by signal {signal} ({name}) before the program ran"));
            }
        }
    }

    pub(super) fn acknowledge_with(&self, mount: &OwnedFd) -> Result<()> {
        self.socket.acknowledge_with(mount.as_fd()).context(DOING)
    }

    pub(super) fn acknowledge(&self, acknowledgement: Acknowledgement) -> Result<()> {
        self.socket.acknowledge(acknowledgement).context(DOING)
    }
}
