//! Progress of a pull, unpack or repack: a bar on a terminal, a line for each finished blob elsewhere, JSON
//! lines for programs, or nothing.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Arg, ArgMatches};
use oci_spec::image::{Descriptor, Digest};
use serde_json::json;

use super::arguments::flag;
use crate::cli::stdout;
use crate::image::blob::digest::short;
use crate::image::progress::Progress;
use crate::log;
use crate::sys::tty::{self, STDERR};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Quiet,
    Terminal,
    Plain,
    Json,
}

#[derive(Debug)]
struct TerminalProgress {
    form: Form,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    blobs: usize,
    done: usize,
    /// Bytes read so far of each blob that was begun; the whole size if the destination already had the blob.
    bytes: HashMap<Digest, u64>,
    total: u64,
    /// When the bar was last drawn, or the JSON line with bytes last printed.
    shown: Option<Instant>,
}

/// The shortest time between two drawings of the bar.
const BAR_INTERVAL: Duration = Duration::from_millis(100);
/// The shortest time between two JSON lines with bytes.
const JSON_INTERVAL: Duration = Duration::from_secs(1);
/// The width of the bar, in characters.
const BAR_WIDTH: u64 = 24;

impl State {
    fn bytes(&self) -> u64 {
        self.bytes.values().sum()
    }

    /// Returns `[=====>    ] 50 MB of 100 MB, 1 of 3 blobs`, cut to the terminal's width: a longer line would
    /// wrap, and could not be overwritten.
    fn bar(&self, columns: usize) -> String {
        let bytes = self.bytes();
        let full = (bytes.min(self.total) * BAR_WIDTH).checked_div(self.total).unwrap_or(BAR_WIDTH) as usize;
        let tip = if full < BAR_WIDTH as usize { ">" } else { "" };
        let (bar, left) = ("=".repeat(full), " ".repeat((BAR_WIDTH as usize - full).saturating_sub(1)));
        let (bytes, total, Self { done, blobs, .. }) = (human_size(bytes), human_size(self.total), self);
        let line = format!("[{bar}{tip}{left}] {bytes} of {total}, {done} of {blobs} blobs");
        line.chars().take(columns.saturating_sub(1)).collect()
    }
}

pub(super) fn arguments() -> [Arg; 2] {
    [
        quiet(),
        flag("json", "print progress and result as JSON lines on standard output").conflicts_with("quiet"),
    ]
}

pub(super) fn quiet() -> Arg {
    flag("quiet", "print nothing but errors").short('q')
}

/// Returns progress for commands with much output: a bar on a terminal, nothing elsewhere.
pub(super) fn terminal_only(matches: &ArgMatches) -> Arc<dyn Progress> {
    let is_shown = log::is_terminal() && !matches.get_flag("quiet");
    let form = if is_shown { Form::Terminal } else { Form::Quiet };
    Arc::new(TerminalProgress { form, state: Mutex::default() })
}

/// Returns progress in the form that the command line and the terminal need.
pub(super) fn progress_of(matches: &ArgMatches) -> Arc<dyn Progress> {
    let form = if matches.get_flag("quiet") {
        Form::Quiet
    } else if matches.get_flag("json") {
        Form::Json
    } else if std::io::stdin().is_terminal() && log::is_terminal() {
        Form::Terminal
    } else {
        Form::Plain
    };
    Arc::new(TerminalProgress { form, state: Mutex::default() })
}

impl Progress for TerminalProgress {
    fn plan(&self, blobs: &[Descriptor]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.blobs = blobs.len();
        state.total = blobs.iter().map(Descriptor::size).sum();
        // A bar is drawn at once; the first JSON line comes after an interval, so that short work prints
        // none.
        state.shown = (self.form == Form::Json).then(Instant::now);
    }

    fn bytes(&self, blob: &Descriptor, count: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state.bytes.entry(blob.digest().clone()).or_default() += count;
        let is_due = |interval| state.shown.is_none_or(|shown| shown.elapsed() >= interval);
        match self.form {
            Form::Terminal if is_due(BAR_INTERVAL) => {
                let columns = tty::size(STDERR).map_or(80, |size| usize::from(size.columns));
                log::transient(format_args!("{}", state.bar(if columns == 0 { 80 } else { columns })));
            }
            Form::Json if is_due(JSON_INTERVAL) => {
                let _ =
                    stdout::write(&format!("{}\n", json!({ "bytes": state.bytes(), "total": state.total })));
            }
            _ => return,
        }
        state.shown = Some(Instant::now());
    }

    fn done(&self, blob: &Descriptor) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.done += 1;
        state.bytes.insert(blob.digest().clone(), blob.size());
        let (digest, bytes) = (blob.digest(), blob.size());
        match self.form {
            Form::Quiet => {}
            Form::Terminal if state.done == state.blobs => log::transient(format_args!("")),
            Form::Terminal => {}
            Form::Plain => log::plain(format_args!(
                "{} of {}: {}:{} {}",
                state.done,
                state.blobs,
                digest.algorithm(),
                short(digest),
                human_size(bytes)
            )),
            Form::Json => {
                let line = json!({ "done": state.done, "of": state.blobs, "digest": digest, "size": bytes });
                // The reader may be gone: the work continues.
                let _ = stdout::write(&format!("{line}\n"));
            }
        }
    }
}

/// Formats a size for people: up to three digits and a unit, powers of 1000.
pub(super) fn human_size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 100.0 { 0 } else { 1 };
    format!("{value:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        assert_eq!(
            [0, 999, 1000, 12_345, 123_456_789].map(human_size),
            ["0 B", "999 B", "1.0 kB", "12.3 kB", "123 MB"]
        );
    }

    #[test]
    fn a_bar_is_as_long_as_what_is_done_and_stays_one_line() {
        let bar = |bytes, columns| {
            let digest = crate::image::blob::digest::sha256_of(b"");
            State { blobs: 2, done: 1, bytes: [(digest, bytes)].into(), total: 100, shown: None }.bar(columns)
        };
        assert_eq!(bar(0, 80), "[>                       ] 0 B of 100 B, 1 of 2 blobs");
        assert_eq!(bar(50, 80), "[============>           ] 50 B of 100 B, 1 of 2 blobs");
        assert_eq!(bar(100, 80), "[========================] 100 B of 100 B, 1 of 2 blobs");
        assert_eq!(bar(100, 10), "[========");
    }
}
