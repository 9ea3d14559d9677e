//! Standard output: the one place that writes it.

use std::io::Write;

use crate::error::{Context, Result};

/// Writes `text` as it is. Not kept in a buffer: nothing would flush it when the process ends.
pub(super) fn write(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("write to standard output")
}
