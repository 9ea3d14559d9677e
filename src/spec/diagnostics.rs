//! Errors and warnings about one document. They are collected while its rules are checked, and all errors are
//! reported together.

use std::fmt::{self, Write};

use super::config_error::ConfigError;
use super::json_pointer::JsonPointer;
use super::locate;
use super::removed::Removed;
use crate::error::{Error, Kind};

/// How many errors one message names; the others are only counted.
const MAX_NAMED: usize = 16;

/// How many characters of a pointer are shown, because names in it come from the document.
const MAX_POINTER: usize = 256;

/// The errors and warnings so far.
#[derive(Default)]
pub(super) struct Diagnostics {
    pub errors: Vec<ConfigError>,
    pub warnings: Vec<String>,
    /// Members that nobody reads, if the caller asks for them.
    pub unknown: Vec<ConfigError>,
    /// The pointers of unreadable members, which the rules do not see any more.
    pub removed: Removed,
    /// How many of the errors are about unreadable members: these come first.
    unreadable: usize,
}

impl Diagnostics {
    /// Adds a broken rule. If a member there could not be read, that has been reported, and the rule is
    /// broken because of it.
    pub(super) fn error(&mut self, at: &JsonPointer<'_>, message: impl Into<String>) {
        let pointer = self.removed.original(&at.to_string());
        if !self.errors[..self.unreadable].iter().any(|told| told.concerns(&pointer)) {
            self.errors.push(ConfigError::new(pointer, message));
        }
    }

    /// Adds an unreadable member. These are added before the rules are checked.
    pub(super) fn unreadable(&mut self, error: ConfigError) {
        self.errors.insert(self.unreadable, error);
        self.unreadable += 1;
    }

    /// Whether a member there or below could not be read, so that its value is unknown.
    pub(super) fn lacks(&self, at: &str) -> bool {
        self.errors[..self.unreadable].iter().any(|told| told.concerns(at) && !told.has_guess())
    }

    pub(super) fn warn(&mut self, at: &JsonPointer<'_>, message: impl fmt::Display) {
        let pointer = self.removed.original(&at.to_string());
        self.warnings.push(format!("{pointer}: {message}"));
    }

    /// Returns the warnings of a document without errors, or one error that reports all errors. Lines and
    /// columns are looked up in `bytes`, the document's text, if there is one.
    pub(super) fn into_result(self, bytes: Option<&[u8]>) -> Result<Vec<String>, Error> {
        if self.errors.is_empty() {
            return Ok(self.warnings);
        }
        Err(Error::new(Kind::Spec, sentences(&self.errors, bytes)))
    }
}

/// Shows all errors in one line.
pub(crate) fn sentences(errors: &[ConfigError], bytes: Option<&[u8]>) -> String {
    let mut text = String::new();
    for (index, error) in errors.iter().take(MAX_NAMED).enumerate() {
        let _ = write!(text, "{}{}", if index == 0 { "" } else { "; " }, sentence(error, bytes));
    }
    if errors.len() > MAX_NAMED {
        let _ = write!(text, "; and {} more", errors.len() - MAX_NAMED);
    }
    text
}

/// Shows the error with its place in the text.
fn sentence(error: &ConfigError, bytes: Option<&[u8]>) -> String {
    let pointer = match error.pointer.char_indices().nth(MAX_POINTER) {
        _ if error.pointer.is_empty() => "/",
        Some((end, _)) => &format!("{}…", &error.pointer[..end]),
        None => &error.pointer,
    };
    match bytes.and_then(|bytes| locate::position(bytes, &error.pointer)) {
        Some((line, column)) => format!("{pointer} (line {line}, column {column}): {}", error.message),
        None => format!("{pointer}: {}", error.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_errors_are_told_together_and_a_flood_is_counted() {
        let mut diagnostics = Diagnostics::default();
        for index in 0..20 {
            diagnostics.error(&JsonPointer::ROOT.item(index), "wrong");
        }
        let text = diagnostics.into_result(None).unwrap_err().to_string();
        assert!(text.starts_with("/0: wrong; /1: wrong; "), "{text}");
        assert!(text.ends_with("/15: wrong; and 4 more"), "{text}");
    }
}
