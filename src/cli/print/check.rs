//! Prints the findings of `check`: as lines for programs and logs, as JSON, or on a terminal as the lines of
//! the file with a caret at each place.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;
use serde_json::Value;

use super::indented;
use crate::error::Result;
use crate::lifecycle::verbs::check::{Finding, Report, Severity};

/// A finding in JSON. All members are always present.
#[derive(Serialize)]
struct Document<'a> {
    severity: &'static str,
    pointer: &'a str,
    file: String,
    line: Option<usize>,
    column: Option<usize>,
    value: &'a Option<Value>,
    message: &'a str,
    host: &'a Option<String>,
    hint: &'a Option<String>,
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Fault => "fault",
        Severity::Loss => "loss",
        Severity::Note => "note",
    }
}

pub(crate) fn json(report: &Report) -> Result<String> {
    let documents: Vec<_> = report.findings.iter().map(|finding| document(finding, report)).collect();
    Ok(indented(&documents, "  ")? + "\n")
}

fn document<'a>(finding: &'a Finding, report: &Report) -> Document<'a> {
    let Finding { severity, pointer, message, host, hint, line, column, value, .. } = finding;
    let (file, severity) = (report.file.display().to_string(), word(*severity));
    Document { severity, pointer, file, line: *line, column: *column, value, message, host, hint }
}

/// Returns a line for each finding: `config.json:3:14: fault: /hostnme: no such member`, then what the host
/// has and the hint.
pub(crate) fn lines(report: &Report) -> String {
    let line = |finding: &Finding| {
        let (line, column) = (finding.line.unwrap_or(1), finding.column.unwrap_or(1));
        let mut text = format!("{}:{line}:{column}: {}", report.file.display(), word(finding.severity));
        text.push_str(&format!(": {}: {}", shown(&finding.pointer), finding.message));
        for (name, more) in [("this host has", &finding.host), ("hint", &finding.hint)] {
            if let Some(more) = more {
                text.push_str(&format!("; {name}: {more}"));
            }
        }
        text + "\n"
    };
    report.findings.iter().map(line).collect()
}

fn shown(pointer: &str) -> &str {
    if pointer.is_empty() { "/" } else { pointer }
}

/// Returns for each finding the line of the file, with a caret below.
pub(crate) fn pictures(report: &Report) -> String {
    let source = String::from_utf8_lossy(&report.text);
    let path = report.file.display().to_string();
    let renderer = Renderer::plain();
    let mut text = String::new();
    for finding in &report.findings {
        let level = match finding.severity {
            Severity::Fault => Level::ERROR.with_name("fault"),
            Severity::Loss => Level::WARNING.with_name("loss"),
            Severity::Note => Level::NOTE,
        };
        let title = format!("{}: {}", shown(&finding.pointer), finding.message);
        // Only the first line of an object or a list: it may be half of the file.
        let line =
            source.get(finding.span.clone()).and_then(|value| value.lines().next()).unwrap_or_default();
        let span = finding.span.start..finding.span.start + line.len();
        let is_place = source.is_char_boundary(span.start) && source.is_char_boundary(span.end);
        let snippet = Snippet::source(&*source).path(&*path);
        let annotation = is_place.then(|| AnnotationKind::Primary.span(span));
        let mut group = level.primary_title(&*title).element(snippet.annotations(annotation));
        for (name, more) in [("this host has", &finding.host), ("hint", &finding.hint)] {
            if let Some(more) = more {
                group = group.element(Level::NOTE.with_name(name).message(&**more));
            }
        }
        text.push_str(&renderer.render(&[group]));
        text.push_str("\n\n");
    }
    text
}
