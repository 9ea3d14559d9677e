//! Standard output: nothing else writes to it.

use std::io::{IsTerminal, Write};

use crate::error::{Context, Result, printable::printable};
use crate::sys::tty::{self, STDOUT};

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

fn write_all(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).context("write to standard output")
}
