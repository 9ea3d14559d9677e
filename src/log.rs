//! The log: warnings and the final error, on stderr or in the file of `--log`, in the two shapes engines read.
//!
//! Text is `time="…" level=… msg="…"`; JSON is one object a line with `level`, `msg` and an RFC 3339 `time`.
//! Engines decode the log as a whole (Podman) or look for the last `level":"error"` (containerd), so on failure
//! exactly one record is written unless `--debug` asks for more: warnings to a JSON log stay at debug level.

use std::fmt::Arguments;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use crate::error::{Context, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    Warning,
    Info,
    Debug,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Text,
    Json,
}

struct Log {
    file: Option<File>,
    format: Format,
    level: Level,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Chooses where records go; once, before the first record. Without it: text on stderr from warning up.
pub fn init(file: Option<&Path>, format: Format, debug: bool) -> Result<()> {
    let file = file
        .map(|path| {
            // O_APPEND: several commands share one log file and must not overwrite each other's lines.
            let open = OpenOptions::new().append(true).create(true).mode(0o644).open(path);
            open.with_context(|| format!("open log file {}", path.display()))
        })
        .transpose()?;
    let level = if debug { Level::Debug } else { Level::Warning };
    let _ = LOG.set(Log { file, format, level });
    Ok(())
}

/// Whether a record of this level would be written: spares the work of making one.
pub fn enabled(level: Level) -> bool {
    level <= LOG.get().map_or(Level::Warning, |log| log.level)
}

pub fn debug(message: Arguments<'_>) {
    record(Level::Debug, message);
}

pub fn info(message: Arguments<'_>) {
    record(Level::Info, message);
}

pub fn warn(message: Arguments<'_>) {
    record(Level::Warning, message);
}

/// The final error of a command. With a log file, the plain sentence goes to stderr too: conmon and Podman read it there.
pub fn error(message: Arguments<'_>) {
    record(Level::Error, message);
    if LOG.get().is_some_and(|log| log.file.is_some()) {
        let _ = writeln!(std::io::stderr(), "{message}");
    }
}

/// A plain line on stderr, for a person; not a record.
pub fn plain(message: Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

fn record(level: Level, message: Arguments<'_>) {
    if !enabled(level) {
        return;
    }
    let (file, format) = match LOG.get() {
        Some(log) => (log.file.as_ref(), log.format),
        None => (None, Format::Text),
    };
    let line = line(format, level, &message.to_string(), SystemTime::now());
    // One write a record, so that records of several processes do not mix.
    let _ = match file {
        Some(mut file) => file.write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
}

fn line(format: Format, level: Level, message: &str, now: SystemTime) -> String {
    let time = humantime::format_rfc3339_seconds(now);
    let level = match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
    };
    match format {
        Format::Text => format!("time=\"{time}\" level={level} msg={message:?}\n"),
        Format::Json => {
            let message = serde_json::Value::from(message);
            format!("{{\"level\":\"{level}\",\"msg\":{message},\"time\":\"{time}\"}}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_shapes_that_engines_decode() {
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(
            line(Format::Text, Level::Error, "a \"b\"", now),
            "time=\"1970-01-01T00:00:00Z\" level=error msg=\"a \\\"b\\\"\"\n"
        );
        let json = line(Format::Json, Level::Warning, "a \"b\"\n", now);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["level"], "warning");
        assert_eq!(value["msg"], "a \"b\"\n");
        assert_eq!(value["time"], "1970-01-01T00:00:00Z");
    }
}
