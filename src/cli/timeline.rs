//! `--timings` and `--trace`: prints or writes the timeline of a command when the command has ended.

use std::path::Path;

use super::command::GlobalFlags;
use crate::error::{Context, Error, Kind, Result};
use crate::log;
use crate::timeline::{Mark, log_ended, marks, now, table, trace_events};

/// Writes the timeline as the flags ask. Does nothing if none was recorded.
pub(super) fn write(flags: &GlobalFlags) -> Result<()> {
    let Some(marks) = marks() else { return Ok(()) };
    let end = now();
    log_ended(Some(end));
    if flags.timings {
        table(&marks, end).lines().for_each(|line| log::plain(format_args!("{line}")));
    }
    flags.trace.as_deref().map_or(Ok(()), |path| write_trace(path, &marks, end))
}

fn write_trace(path: &Path, marks: &[Mark], end: u64) -> Result<()> {
    let doing = || format!("write the trace to {}", path.display());
    let text = serde_json::to_vec(&trace_events(marks, end));
    let text = text.map_err(|error| Error::new(Kind::Unsupported, error.to_string())).with_context(doing)?;
    std::fs::write(path, text).with_context(doing)
}
