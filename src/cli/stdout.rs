//! Standard output: nothing else writes to it.

use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::printable::{one_line, printable};
use crate::error::{Context, Result};
use crate::sys::tty::{self, STDOUT, Size};

/// Writes `text`; control characters in it cannot control a terminal. There is no buffer, because nothing
/// would flush it when the process ends.
pub(super) fn write(text: &str) -> Result<()> {
    write_all(printable(text).as_bytes())
}

/// Writes a document unchanged, so that its digest stays right; for a terminal like [`write`].
pub(super) fn document(bytes: &[u8]) -> Result<()> {
    match std::io::stdout().is_terminal() {
        true => write(&String::from_utf8_lossy(bytes)),
        false => write_all(bytes),
    }
}

/// Writes what a container has written, unchanged.
pub(super) fn bytes(bytes: &[u8]) -> Result<()> {
    write_all(bytes)
}

/// Whether a person looks on.
pub(super) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// How many columns the terminal has that standard output is; `None` if it is none.
pub(super) fn columns() -> Option<usize> {
    let size = tty::size(STDOUT).ok()?;
    // Zero if nobody has set it.
    Some(if size.columns == 0 { 80 } else { usize::from(size.columns) })
}

/// Returns the size of the terminal.
pub(super) fn size() -> Size {
    let usual = Size { rows: 24, columns: 80 };
    match tty::size(STDOUT) {
        Ok(size) if size.rows != 0 && size.columns != 0 => size,
        _ => usual,
    }
}

/// The terminal's second screen, which text can be shown on anew and anew. The first comes back when this is
/// dropped.
pub(super) struct Screen {
    /// Never blocks: who has stopped the terminal's output (^S) can still end us. `None` where that cannot be
    /// had.
    terminal: Option<Arc<OwnedFd>>,
}

/// How long a terminal may take to be ready for more, in milliseconds.
const MOMENT: u8 = 200;

/// The second screen without a cursor, and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

impl Screen {
    pub(super) fn enter() -> Result<Self> {
        let screen = Self { terminal: tty::without_blocking(STDOUT, OFlag::O_WRONLY).map(Arc::new) };
        screen.again();
        Ok(screen)
    }

    /// Shows lines in place of the former ones.
    pub(super) fn show(&self, lines: &[String]) {
        let line = |line: &String| format!("{}\x1b[K", one_line(line));
        let text = lines.iter().map(line).collect::<Vec<_>>().join("\r\n");
        self.send(&format!("\x1b[H{text}\x1b[J"));
    }

    pub(super) fn leave(&self) {
        self.send(LEAVE);
    }

    pub(super) fn again(&self) {
        self.send(ENTER);
    }

    /// Returns what brings the first screen back, for a process that drops nothing.
    pub(super) fn leaver(&self) -> impl Fn() + Send + Sync + use<> {
        let screen = Self { terminal: self.terminal.clone() };
        // Not dropped: that would leave the screen.
        let screen = std::mem::ManuallyDrop::new(screen);
        move || screen.leave()
    }

    /// A terminal that takes nothing now, or is gone, shows the next text.
    fn send(&self, text: &str) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let written = match &self.terminal {
                Some(terminal) => nix::unistd::write(terminal, rest),
                None => nix::unistd::write(STDOUT, rest),
            };
            match written {
                Ok(count) => rest = &rest[count..],
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if self.is_ready() => {}
                Err(_) => return,
            }
        }
    }

    /// Waits a moment for the terminal.
    fn is_ready(&self) -> bool {
        let Some(terminal) = &self.terminal else { return false };
        poll(&mut [PollFd::new(terminal.as_fd(), PollFlags::POLLOUT)], PollTimeout::from(MOMENT))
            .is_ok_and(|ready| ready > 0)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
    }
}

fn write_all(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).context("write to standard output")
}
