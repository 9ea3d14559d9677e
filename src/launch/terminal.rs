//! Puts the caller's terminal into raw mode while the container's terminal is shown on it.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::termios::Termios;

use crate::error::{Context, Result};
use crate::sys::tty::{self, STDERR, STDIN, STDOUT, Size};

/// Standard input as a terminal in raw mode, so that the container interprets ^C and the like. Its former
/// mode comes back when this is dropped.
pub(super) struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    /// Enters raw mode. Returns `None` if standard input is no terminal: a terminal that is only written to
    /// keeps its mode, and ^C.
    pub(super) fn enter() -> Result<Option<Self>> {
        let Ok(before) = tty::mode(STDIN) else { return Ok(None) };
        let terminal = STDIN.try_clone_to_owned().context("duplicate standard input")?;
        let raw = Self { terminal, before };
        raw.enter_again()?;
        Ok(Some(raw))
    }

    /// Enters raw mode again after a stop, because the shell has changed the mode.
    pub(super) fn enter_again(&self) -> Result<()> {
        let mode = tty::raw(&self.before);
        tty::set_mode(self.terminal.as_fd(), &mode).context("put terminal into raw mode")
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // EIO if the terminal is gone: then there is nothing to restore.
        let _ = tty::set_mode(self.terminal.as_fd(), &self.before);
    }
}

/// Returns the size of the caller's terminal. `None` without a terminal, or if its size is not set.
pub(super) fn size() -> Option<Size> {
    let is_set = |size: &Size| size.rows != 0 && size.columns != 0;
    [STDIN, STDOUT, STDERR].into_iter().filter_map(|fd| tty::size(fd).ok()).find(is_set)
}

/// Whether the caller types at a terminal and sees the output on one.
pub(super) fn is_interactive() -> bool {
    [STDIN, STDOUT].into_iter().all(|fd| tty::mode(fd).is_ok())
}
