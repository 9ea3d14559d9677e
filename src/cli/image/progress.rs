//! How far things are, as the person can use it: one line that changes on a terminal, a line for each finished blob
//! elsewhere, JSON for programs, or nothing.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Arg, ArgMatches};
use oci_spec::image::Descriptor;
use serde_json::json;

use super::arguments::flag;
use crate::cli::out;
use crate::image::digest::short;
use crate::image::watch::Watch;
use crate::log;

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
    bytes: u64,
    total: u64,
    /// When the line was last written.
    shown: Option<Instant>,
}

/// The line changes no more often.
const PACE: Duration = Duration::from_millis(100);

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
    }

    fn bytes(&self, _blob: &Descriptor, count: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes += count;
        if self.form == Form::Terminal && state.shown.is_none_or(|shown| shown.elapsed() >= PACE) {
            state.shown = Some(Instant::now());
            let State { done, blobs, bytes, total, .. } = *state;
            log::transient(format_args!("{done} of {blobs} blobs, {} of {}", size(bytes), size(total)));
        }
    }

    fn done(&self, blob: &Descriptor) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.done += 1;
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
                let _ = out::write(&format!("{line}\n"));
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
    use super::size;

    #[test]
    fn sizes_have_three_digits() {
        assert_eq!(
            [0, 999, 1000, 12_345, 123_456_789].map(size),
            ["0 B", "999 B", "1.0 kB", "12.3 kB", "123 MB"]
        );
    }
}
