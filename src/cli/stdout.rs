//! Standard output: the one place that writes it.

use std::io::{IsTerminal, Write};

use crate::error::{Context, Result, printable::printable};

/// Writes `text`, in which nothing commands a terminal. Not kept in a buffer: nothing would flush it when the process
/// ends.
pub(super) fn write(text: &str) -> Result<()> {
    write_all(printable(text).as_bytes())
}

/// Writes a document byte by byte, as its digest needs it; for a terminal as [`write`].
pub(super) fn document(bytes: &[u8]) -> Result<()> {
    match std::io::stdout().is_terminal() {
        true => write(&String::from_utf8_lossy(bytes)),
        false => write_all(bytes),
    }
}

fn write_all(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).context("write to standard output")
}
