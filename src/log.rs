//! Writes the log: warnings and the final error, to stderr, to the file of `--log`, to journald or to syslog,
//! in the two formats that engines read.
//!
//! Text is `time="…" level=… msg="…"`, quoted as logrus does; on a terminal it is a plain `error: …` for a
//! person. JSON is one object a line with `level`, `msg` and an RFC 3339 `time`. Engines decode the log as a
//! whole (Podman) or look for the last `level":"error"` (containerd), so on failure exactly one record is
//! written unless `--debug` asks for more: warnings to a JSON log stay at debug level.

mod daemon;

use std::fmt::{Arguments, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, IsTerminal, Write as _};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::error::{Context, Result, printable};
use daemon::Daemon;

/// The severity of a record. The order is that of `--log-level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    Warning,
    Info,
    Debug,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// The value of `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
}

/// The shape of a record, which depends on the format and the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Logrus,
    Json,
    Terminal,
}

/// The value of `--log`: the destination of records if it is not standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    File(PathBuf),
    /// systemd's journal, with this SYSLOG_IDENTIFIER.
    Journal(String),
    /// The local syslog daemon, with this tag.
    Syslog(String),
}

enum Sink {
    Stderr,
    File(File),
    Daemon(Daemon),
}

struct Log {
    sink: Sink,
    format: Format,
    level: Level,
}

/// Whether a transient line is on the terminal: the next line overwrites it.
static IS_TRANSIENT: AtomicBool = AtomicBool::new(false);
/// The escape sequence that goes to the start of the line and clears it.
const CLEAR: &str = "\r\x1b[K";

static LOG: OnceLock<Log> = OnceLock::new();

/// The log before or without [`init`]: text on stderr, warnings and errors.
static DEFAULT: Log = Log { sink: Sink::Stderr, format: Format::Text, level: Level::Warning };

fn log() -> &'static Log {
    LOG.get().unwrap_or(&DEFAULT)
}

/// Sets the destination of records, their format, and the lowest level. Must be called once, before the first
/// record.
///
/// # Errors
/// The file cannot be opened, or the daemon's socket cannot be connected to.
pub(crate) fn init(destination: Option<Destination>, format: Format, level: Option<Level>) -> Result<()> {
    let sink = match destination {
        None => Sink::Stderr,
        // Standard error may be a socket, which cannot be opened by name. So this name means the descriptor.
        Some(Destination::File(path)) if path == Path::new("/dev/stderr") => Sink::Stderr,
        Some(Destination::File(path)) => Sink::File(open(&path)?),
        Some(Destination::Journal(name)) => Sink::Daemon(Daemon::journal(name)?),
        Some(Destination::Syslog(name)) => Sink::Daemon(Daemon::syslog(name)?),
    };
    let level = level.unwrap_or(match format {
        Format::Json => Level::Error,
        Format::Text => Level::Warning,
    });
    let _ = LOG.set(Log { sink, format, level });
    Ok(())
}

fn open(path: &Path) -> Result<File> {
    // O_APPEND: several commands share one log file and must not overwrite each other's lines. A fifo that nobody
    // reads is an error: nobody could do anything with a container while we wait for a reader.
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o644).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let opened = options.open(path).with_context(|| format!("open log file {}", path.display()));
    opened.map_err(|error| match error.errno() {
        Some(Errno::ENXIO) if is_fifo(path) => error.with_hint("it is a fifo that nobody reads"),
        _ => error,
    })
}

fn is_fifo(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

/// Whether records of this level are written: callers need not make the others.
pub(crate) fn enabled(level: Level) -> bool {
    level <= log().level
}

/// The longest message in bytes.
const MOST: usize = 256 << 10;

/// Writes a record at level debug.
pub(crate) fn debug(message: Arguments<'_>) {
    record(Level::Debug, message);
}

/// Writes a record at level warning.
pub(crate) fn warn(message: Arguments<'_>) {
    record(Level::Warning, message);
}

/// Writes a warning about the end of what a person has started. If the log is elsewhere, it goes to stderr too
/// where that is a terminal: an engine has none there.
pub(crate) fn warn_person(message: Arguments<'_>) {
    record(Level::Warning, message);
    if !matches!(log().sink, Sink::Stderr) && is_terminal() {
        plain(message);
    }
}

/// Writes the final error of a command. If the log is not on stderr, the sentence goes there too: conmon and
/// Podman read it there.
pub(crate) fn error(message: Arguments<'_>) {
    record(Level::Error, message);
    if !matches!(log().sink, Sink::Stderr) {
        plain(message);
    }
}

/// Writes a hint for the person. It goes only to stderr in text format, because programs read everything
/// else.
pub(crate) fn hint(hint: &str) {
    if matches!(log().sink, Sink::Stderr) && log().format == Format::Text {
        plain(format_args!("hint: {hint}"));
    }
}

/// Writes a plain line for a person to stderr; it is not a record.
pub(crate) fn plain(message: Arguments<'_>) {
    let message = message.to_string();
    stderr(format!("{}\n", printable::message(&printable::shortened(&message, MOST))));
}

/// Writes lines to stderr, in place of a transient line.
fn stderr(mut lines: String) {
    if IS_TRANSIENT.swap(false, Ordering::Relaxed) {
        lines.insert_str(0, CLEAR);
    }
    let _ = std::io::stderr().write_all(lines.as_bytes());
}

/// Writes to stderr what a container has written to its own, unchanged.
pub(crate) fn passed_on(bytes: &[u8]) -> std::io::Result<()> {
    std::io::stderr().write_all(bytes)
}

/// Whether stderr is a terminal.
pub(crate) fn is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
}

/// Writes a line that the next one replaces, such as progress. For terminals only.
pub(crate) fn transient(message: Arguments<'_>) {
    IS_TRANSIENT.store(true, Ordering::Relaxed);
    let _ = write!(std::io::stderr(), "{CLEAR}{}", printable::one_line(&message.to_string()));
}

/// Writes one record, if its level is enabled.
fn record(level: Level, message: Arguments<'_>) {
    if !enabled(level) {
        return;
    }
    let Log { sink, format, .. } = log();
    let on_stderr = matches!(sink, Sink::Stderr);
    let shape = match format {
        Format::Json => Shape::Json,
        Format::Text if on_stderr && std::io::stderr().is_terminal() => Shape::Terminal,
        Format::Text => Shape::Logrus,
    };
    let message = message.to_string();
    let message = printable::shortened(&message, MOST);
    let line = || line(shape, level, &message, SystemTime::now());
    // One write per record, so that records of several processes do not mix.
    match sink {
        Sink::File(file) => write(file, line().as_bytes()),
        Sink::Stderr => stderr(line()),
        // The daemon has its own fields for time and level.
        Sink::Daemon(daemon) if *format == Format::Text => {
            daemon.record(level, &printable::printable(&message));
        }
        Sink::Daemon(daemon) => daemon.record(level, line().trim_end()),
    }
}

fn write(mut file: &File, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Its reader is slow, and is waited for: it was opened not to block alone.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if fcntl(file, FcntlArg::F_SETFL(OFlag::O_APPEND)).is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

fn line(shape: Shape, level: Level, message: &str, now: SystemTime) -> String {
    let time = humantime::format_rfc3339_seconds(now);
    let level = level.word();
    match shape {
        Shape::Terminal => format!("{level}: {}\n", printable::message(message)),
        Shape::Logrus => format!("time=\"{time}\" level={level} msg={}\n", quoted(message)),
        Shape::Json => {
            let message = serde_json::Value::from(message).to_string();
            let message = printable::printable(&message);
            format!("{{\"level\":\"{level}\",\"msg\":{message},\"time\":\"{time}\"}}\n")
        }
    }
}

/// Quotes a value as logrus does: one plain word stays bare, everything else is quoted as Go quotes strings.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_ascii_control() => drop(write!(quoted, "\\x{:02x}", u32::from(c))),
            c if printable::is_control(c) => drop(write!(quoted, "\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: SystemTime = SystemTime::UNIX_EPOCH;

    #[test]
    fn text_is_what_logrus_writes() {
        let cases = [
            ("a \"b\"", r#""a \"b\"""#),
            ("word", "word"),
            ("a/b.c-d_e@f^g+1", "a/b.c-d_e@f^g+1"),
            ("", r#""""#),
            ("a:b", r#""a:b""#),
            ("it's", r#""it's""#),
            ("a\nb\tc\\d\r", r#""a\nb\tc\\d\r""#),
            ("\u{1b}[0m", r#""\x1b[0m""#),
            ("größer", r#""größer""#),
        ];
        for (message, expected) in cases {
            let line = line(Shape::Logrus, Level::Error, message, EPOCH);
            assert_eq!(line, format!("time=\"1970-01-01T00:00:00Z\" level=error msg={expected}\n"));
        }
    }

    #[test]
    fn json_is_one_object_a_line() {
        let json = line(Shape::Json, Level::Warning, "a \"b\"\n", EPOCH);
        assert_eq!(json.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["level"], "warning");
        assert_eq!(value["msg"], "a \"b\"\n");
        assert_eq!(value["time"], "1970-01-01T00:00:00Z");
        assert_eq!(value.as_object().map(serde_json::Map::len), Some(3));
    }

    #[test]
    fn a_person_at_a_terminal_reads_a_plain_line() {
        assert_eq!(line(Shape::Terminal, Level::Error, "no \"x\"", EPOCH), "error: no \"x\"\n");
        assert_eq!(
            line(Shape::Terminal, Level::Error, "\u{1b}[2J\u{9b}ü\n\tb", EPOCH),
            "error: \\u001b[2J\\u009bü\n  \tb\n"
        );
    }
}
