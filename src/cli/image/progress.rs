//! How far things are, as the person can use it: a bar on a terminal, a line for each finished blob elsewhere, JSON
//! for programs, or nothing.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Arg, ArgMatches};
use oci_spec::image::{Descriptor, Digest};
use serde_json::json;

use super::arguments::flag;
use crate::cli::stdout;
use crate::image::digest::short;
use crate::image::watch::Watch;
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
struct Progress {
    form: Form,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    blobs: usize,
    done: usize,
    /// Bytes of each blob that was begun; all of it where it was there already.
    bytes: HashMap<Digest, u64>,
    total: u64,
    /// When the bar was last drawn, or the bytes told.
    shown: Option<Instant>,
}

/// The bar changes no more often.
const PACE: Duration = Duration::from_millis(100);
/// Programs are told of bytes no more often.
const JSON_PACE: Duration = Duration::from_secs(1);
/// Characters of a full bar.
const BAR: u64 = 24;

impl State {
    fn bytes(&self) -> u64 {
        self.bytes.values().sum()
    }

    /// `[=====>    ]  50 MB of 100 MB, 1 of 3 blobs`, no wider than the terminal, where it would not stay one line.
    fn bar(&self, columns: usize) -> String {
        let bytes = self.bytes();
        let full = (bytes.min(self.total) * BAR).checked_div(self.total).unwrap_or(BAR) as usize;
        let tip = if full < BAR as usize { ">" } else { "" };
        let (bar, left) = ("=".repeat(full), " ".repeat((BAR as usize - full).saturating_sub(1)));
        let (bytes, total, Self { done, blobs, .. }) = (size(bytes), size(self.total), self);
        let line = format!("[{bar}{tip}{left}] {bytes} of {total}, {done} of {blobs} blobs");
        line.chars().take(columns.saturating_sub(1)).collect()
    }
}

pub fn arguments() -> [Arg; 2] {
    [
        quiet(),
        flag("json", "tell progress and result as JSON lines on standard output").conflicts_with("quiet"),
    ]
}

pub fn quiet() -> Arg {
    flag("quiet", "say nothing but errors").short('q')
}

/// For commands whose result is long: a line on a terminal, nothing elsewhere.
pub fn silent(matches: &ArgMatches) -> Arc<dyn Watch> {
    let is_shown = log::is_terminal() && !matches.get_flag("quiet");
    let form = if is_shown { Form::Terminal } else { Form::Quiet };
    Arc::new(Progress { form, state: Mutex::default() })
}

pub fn of(matches: &ArgMatches) -> Arc<dyn Watch> {
    let form = if matches.get_flag("quiet") {
        Form::Quiet
    } else if matches.get_flag("json") {
        Form::Json
    } else if std::io::stdin().is_terminal() && log::is_terminal() {
        Form::Terminal
    } else {
        Form::Plain
    };
    Arc::new(Progress { form, state: Mutex::default() })
}

impl Watch for Progress {
    fn plan(&self, blobs: &[Descriptor]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.blobs = blobs.len();
        state.total = blobs.iter().map(Descriptor::size).sum();
        // A bar is there at once; programs need no word of what takes no time.
        state.shown = (self.form == Form::Json).then(Instant::now);
    }

    fn bytes(&self, blob: &Descriptor, count: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state.bytes.entry(blob.digest().clone()).or_default() += count;
        let is_due = |pace| state.shown.is_none_or(|shown| shown.elapsed() >= pace);
        match self.form {
            Form::Terminal if is_due(PACE) => {
                let columns = tty::size(STDERR).map_or(80, |size| usize::from(size.columns));
                log::transient(format_args!("{}", state.bar(if columns == 0 { 80 } else { columns })));
            }
            Form::Json if is_due(JSON_PACE) => {
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
                size(bytes)
            )),
            Form::Json => {
                let line = json!({ "done": state.done, "of": state.blobs, "digest": digest, "size": bytes });
                // A reader that went away does not stop the work.
                let _ = stdout::write(&format!("{line}\n"));
            }
        }
    }
}

/// For people: three digits and a unit.
pub fn size(bytes: u64) -> String {
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
            [0, 999, 1000, 12_345, 123_456_789].map(size),
            ["0 B", "999 B", "1.0 kB", "12.3 kB", "123 MB"]
        );
    }

    #[test]
    fn a_bar_is_as_long_as_what_is_done_and_stays_one_line() {
        let bar = |bytes, columns| {
            let digest = crate::image::digest::of(b"");
            State { blobs: 2, done: 1, bytes: [(digest, bytes)].into(), total: 100, shown: None }.bar(columns)
        };
        assert_eq!(bar(0, 80), "[>                       ] 0 B of 100 B, 1 of 2 blobs");
        assert_eq!(bar(50, 80), "[============>           ] 50 B of 100 B, 1 of 2 blobs");
        assert_eq!(bar(100, 80), "[========================] 100 B of 100 B, 1 of 2 blobs");
        assert_eq!(bar(100, 10), "[========");
    }
}
