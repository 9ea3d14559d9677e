//! Puts the caller's terminal into raw mode while it stands for one inside the container.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::termios::Termios;

use crate::error::{Context, Result};
use crate::sys::tty::{self, STDERR, STDIN, STDOUT, Size};

/// Standard input as a terminal in raw mode, so that ^C and the like are the container's to interpret. It gets its
/// former mode back when this goes.
pub(super) struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    /// None if standard input is no terminal: then nobody types, and a terminal that is only written to keeps ^C.
    pub(super) fn enter() -> Result<Option<Self>> {
        let Ok(before) = tty::mode(STDIN) else { return Ok(None) };
        let terminal = STDIN.try_clone_to_owned().context("duplicate standard input")?;
        let raw = Self { terminal, before };
        raw.enter_again()?;
        Ok(Some(raw))
    }

    /// Goes back into raw mode: whoever stopped us may have changed it.
    pub(super) fn enter_again(&self) -> Result<()> {
        let mode = tty::raw(&self.before);
        tty::set_mode(self.terminal.as_fd(), &mode).context("put terminal into raw mode")
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // EIO where the terminal is gone: then there is nothing to restore.
        let _ = tty::set_mode(self.terminal.as_fd(), &self.before);
    }
}

/// The size of the caller's terminal; None without one, or where nobody has told it its size.
pub(super) fn size() -> Option<Size> {
    let is_set = |size: &Size| size.rows != 0 && size.columns != 0;
    [STDIN, STDOUT, STDERR].into_iter().filter_map(|fd| tty::size(fd).ok()).find(is_set)
}

/// Whether the caller types at a terminal and sees the output on one.
pub(super) fn is_interactive() -> bool {
    [STDIN, STDOUT].into_iter().all(|fd| tty::mode(fd).is_ok())
}
