//! `Keyboard`: a terminal that is read key by key, and the signals that arrive meanwhile. Its former mode comes
//! back when it is dropped.

use std::os::fd::AsFd;
use std::sync::Mutex;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, raise};
use nix::sys::termios::Termios;

use crate::error::{Context, Result};
use crate::sys::signal::Signals;
use crate::sys::tty::{self, STDIN};

pub(super) struct Keyboard {
    signals: Signals,
    /// The mode before ours; `None` if standard input is no terminal: then there are no keys.
    before: Option<Termios>,
}

/// What ends a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Key(u8),
    Timeout,
    Resized,
    /// Somebody wants this process to stop (^Z).
    Stopped,
    /// A signal wants this process to end.
    Ended(i32),
    /// The terminal is gone.
    Closed,
}

impl Keyboard {
    /// Blocks all signals, and switches echo and lines off.
    pub(super) fn open() -> Result<Self> {
        let signals = Signals::divert().context("divert signals")?;
        let keyboard = Self { signals, before: tty::mode(STDIN).ok() };
        keyboard.read_keys()?;
        Ok(keyboard)
    }

    fn read_keys(&self) -> Result<()> {
        let Some(before) = &self.before else { return Ok(()) };
        tty::set_mode(STDIN, &tty::key_by_key(before)).context("read the terminal key by key")
    }

    fn restore(&self) {
        // EIO if the terminal is gone: then there is nothing to restore.
        let _ = self.before.as_ref().map(|before| tty::set_mode(STDIN, before));
    }

    /// Returns what brings the former mode back, for a process that drops nothing.
    pub(super) fn restorer(&self) -> impl Fn() + Send + Sync + use<> {
        let before = self.before.clone().map(Mutex::new);
        move || {
            if let Some(Ok(before)) = before.as_ref().map(Mutex::try_lock) {
                let _ = tty::set_mode(STDIN, &before);
            }
        }
    }

    /// Stops this process, and takes the terminal again when it goes on.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.restore();
        raise(Signal::SIGSTOP).context("stop")?;
        self.read_keys()
    }

    /// Waits for an event, at most so long.
    pub(super) fn wait(&mut self, time: Duration) -> Result<Event> {
        let time = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        let mut watched = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if self.before.is_some() {
            watched.push(PollFd::new(STDIN, PollFlags::POLLIN));
        }
        let ready = match poll(&mut watched, time) {
            Ok(0) | Err(Errno::EINTR) => return Ok(Event::Timeout),
            other => other.context("wait for a key"),
        };
        ready?;
        let has_key = watched.get(1).is_some_and(|fd| fd.any().unwrap_or(false));
        drop(watched);
        while let Some(signal) = self.signals.read().context("read signals")? {
            match signal {
                libc::SIGWINCH => return Ok(Event::Resized),
                libc::SIGTSTP => return Ok(Event::Stopped),
                libc::SIGHUP | libc::SIGINT | libc::SIGQUIT | libc::SIGTERM | libc::SIGPIPE => {
                    return Ok(Event::Ended(signal));
                }
                _ => {}
            }
        }
        if has_key { read_key() } else { Ok(Event::Resized) }
    }
}

fn read_key() -> Result<Event> {
    let mut key = [0];
    match nix::unistd::read(STDIN, &mut key) {
        Ok(1) => Ok(Event::Key(key[0])),
        // The end of the file, or a terminal that was hung up.
        Ok(_) | Err(Errno::EIO) => Ok(Event::Closed),
        // Nothing there, after all; or we are in the background of a shell.
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(Event::Timeout),
        Err(errno) => Err(errno).context("read a key"),
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.restore();
    }
}
