//! `check`: reports everything in a bundle that `create` would refuse on this host, and everything that it
//! would silently leave out. It makes nothing. Only tare has this verb.
//!
//! The rules and the plan are those of `create` ([`crate::lifecycle::examination`]). What only the filesystem
//! or the kernel knows is looked up here, in `looks`, `filesystem` and `paths`.

pub(crate) mod damaged_program;
mod filesystem;
mod looks;
mod paths;

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use serde_json::Value;

use crate::bundle::{self, CONFIG};
use crate::container_id::ContainerId;
use crate::error::printable::counted;
use crate::error::{Error, Kind, Result, matched};
use crate::lifecycle::examination::{Examination, all_facts, examine, missing_rootfs};
use crate::lifecycle::load;
use crate::lifecycle::options::Globals;
use crate::plan::Request;
use crate::spec::{ConfigError, Places, Removed};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// The container would not be made, or would not start.
    Fault,
    /// The container would run, but without something that the configuration asks for.
    Loss,
    /// The container would run as intended. The configuration could be clearer.
    Note,
}

/// How many findings are reported at most: nobody reads more, and each one is compared with the others.
const MOST_FINDINGS: usize = 500;
/// The longest value that is shown, in bytes of the text.
const LONGEST_VALUE: usize = 4096;

/// One finding, with its place in the file.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub severity: Severity,
    /// Empty for the document itself.
    pub pointer: String,
    pub message: String,
    /// What this host offers instead.
    pub host: Option<String>,
    pub hint: Option<String>,
    /// Starts at 1. `None` if the place was not found in the file.
    pub line: Option<usize>,
    pub column: Option<usize>,
    /// The bytes of the value in the file. If there is no value, those of the nearest object or list.
    pub span: std::ops::Range<usize>,
    /// The value at `pointer`, if there is one.
    pub value: Option<Value>,
}

/// Texts of warnings that are only notes: the container gets all that the configuration asks for.
const NOTES: &[&str] =
    &["is deprecated", "this machine runs no programs of that kind", "has no meaning with"];

/// All findings, in the order of the file.
pub(crate) struct Report {
    pub file: PathBuf,
    pub text: Vec<u8>,
    pub findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn has(&self, severity: Severity) -> bool {
        self.findings.iter().any(|finding| finding.severity == severity)
    }
}

/// Checks the bundle. The id is the name of its directory.
pub(crate) fn check(bundle: &Path, globals: &Globals) -> Result<Report> {
    let path = load::canonical(bundle)?;
    let file = path.join(CONFIG);
    let text = bundle::read_config_bytes(&file).map_err(|error| match error.errno() {
        Some(Errno::ENOENT) => Error::new(Kind::NotFound, matched::NO_CONFIG),
        _ => error,
    })?;
    let facts = all_facts()?;
    let id = ContainerId::from_lossy(&path.file_name().unwrap_or_default().to_string_lossy());
    let request = Request {
        cgroup_manager: globals.cgroup_manager,
        rootless: load::rootless(globals, globals.cgroup_manager)?,
        ..Request::new(&id, path)
    };
    let examination = examine(&text, &facts, &request);
    let mut findings = Findings { list: Vec::new(), removed: examination.removed.clone(), more: None };
    findings.add_examination(&examination, &facts);
    looks::state_root(globals, &mut findings);
    if let Some(cgroup) = &examination.cgroup {
        looks::limits_of_user(cgroup, &mut findings);
    }
    if let Some(spec) = &examination.spec {
        looks::look(spec, &request, &facts, &mut findings);
    }
    let mut findings = findings.all();
    match Places::new(&text) {
        Some(mut places) => findings.iter_mut().for_each(|finding| place(finding, &text, &mut places)),
        None => findings.iter_mut().for_each(|finding| place_of_syntax(finding, &text)),
    }
    findings.sort_by_key(|finding| (finding.line, finding.column, finding.severity));
    // The path is shown as the user typed it.
    let shown = if bundle == Path::new(".") { PathBuf::from(CONFIG) } else { bundle.join(CONFIG) };
    Ok(Report { file: shown, text, findings })
}

/// Fills in the place in the file, and the value.
fn place(finding: &mut Finding, text: &[u8], places: &mut Places<'_>) {
    let place = places.find(&finding.pointer);
    (finding.line, finding.column) = (Some(place.line), Some(place.column));
    let is_shown = place.exact && !finding.pointer.is_empty() && place.span.len() <= LONGEST_VALUE;
    let value = text.get(place.span.clone()).filter(|_| is_shown);
    finding.value = value.and_then(|value| serde_json::from_slice(value).ok());
    finding.span = place.span;
}

/// Fills in the place at which the text stops being JSON.
fn place_of_syntax(finding: &mut Finding, text: &[u8]) {
    let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(text) else { return };
    (finding.line, finding.column) = (Some(error.line()), Some(error.column()));
    let lines = text.split_inclusive(|&byte| byte == b'\n').take(error.line().saturating_sub(1));
    let before: usize = lines.map(<[u8]>::len).sum();
    let at = (before + error.column().saturating_sub(1)).min(text.len().saturating_sub(1));
    finding.span = at..at;
}

/// The findings so far.
struct Findings {
    list: Vec<Finding>,
    removed: Removed,
    /// How many are not told, and how bad the worst of these is.
    more: Option<(usize, Severity)>,
}

impl Findings {
    fn add_examination(&mut self, examination: &Examination, facts: &crate::host::Facts) {
        let both = [(Severity::Fault, &examination.faults), (Severity::Loss, &examination.losses)];
        for (severity, list) in both {
            for ConfigError { pointer, message } in list {
                let host = looks::host_has(pointer, message, facts);
                let loses = !NOTES.iter().any(|words| message.contains(words));
                let severity = if loses { severity } else { severity.max(Severity::Note) };
                self.push(severity, pointer.clone(), message.clone(), host);
            }
        }
    }

    /// Whether there are already too many findings: then the new one is only counted.
    fn is_full(&mut self, severity: Severity) -> bool {
        let is_full = self.list.len() >= MOST_FINDINGS;
        if is_full {
            let (count, worst) = self.more.unwrap_or((0, severity));
            self.more = Some((count + 1, worst.min(severity)));
        }
        is_full
    }

    /// Returns the findings. If some were only counted, the last one says so.
    fn all(mut self) -> Vec<Finding> {
        if let Some((count, worst)) = self.more {
            let worst = self.list.pop().map_or(worst, |last| worst.min(last.severity));
            self.push(worst, String::new(), format!("and {}", counted(count + 1, "more finding")), None);
        }
        self.list
    }

    /// Adds a finding. `pointer` must be one into the text of the file.
    fn push(&mut self, severity: Severity, pointer: String, mut message: String, host: Option<String>) {
        if self.is_full(severity) {
            return;
        }
        let mut hint = None;
        if let Some(at) = message.find(" (did you mean ").filter(|_| message.ends_with("?)")) {
            hint = Some(message[at + 2..message.len() - 1].to_owned());
            message.truncate(at);
        }
        let (line, column, span, value) = (None, None, 0..0, None);
        self.list.push(Finding { severity, pointer, message, host, hint, line, column, span, value });
    }

    /// Adds a finding from a look at the host. Returns `None`, and adds nothing, if a fault in the same place
    /// is already reported.
    fn add_unless_known(
        &mut self,
        severity: Severity,
        pointer: &str,
        message: impl Into<String>,
    ) -> Option<&mut Finding> {
        if self.is_full(severity) {
            return None;
        }
        let pointer = self.removed.original(pointer);
        let is_told = |told: &Finding| {
            told.severity == Severity::Fault && ConfigError::new(&*told.pointer, "").concerns(&pointer)
        };
        if self.list.iter().any(is_told) {
            return None;
        }
        self.push(severity, pointer, message.into(), None);
        self.list.last_mut()
    }

    fn fault(&mut self, pointer: &str, message: impl Into<String>, host: Option<String>, hint: Option<&str>) {
        if let Some(finding) = self.add_unless_known(Severity::Fault, pointer, message) {
            finding.host = host;
            finding.hint = finding.hint.take().or_else(|| hint.map(str::to_owned));
        }
    }

    fn loss(&mut self, pointer: &str, message: impl Into<String>, host: Option<String>) {
        if let Some(finding) = self.add_unless_known(Severity::Loss, pointer, message) {
            finding.host = host;
        }
    }
}
