//! Standard output: nothing else writes to it.

use std::io::{IsTerminal, Write};

use crate::error::{Context, Result, printable::printable};

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

/// Whether a person looks on.
pub(super) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

fn write_all(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).context("write to standard output")
}
