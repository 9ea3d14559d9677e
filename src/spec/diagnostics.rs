//! Errors and warnings about one document, collected while its rules are checked: all errors are told together.

use std::fmt::{self, Write};

use super::config_error::ConfigError;
use super::json_pointer::JsonPointer;
use super::locate;
use crate::error::{Error, Kind};

/// How many errors one message names; the rest is counted.
const MAX_NAMED: usize = 16;

/// How many characters of a pointer are shown: names in it come from the document.
const MAX_POINTER: usize = 256;

/// What the rules have found so far.
#[derive(Default)]
pub(super) struct Diagnostics {
    errors: Vec<ConfigError>,
    pub warnings: Vec<String>,
}

impl Diagnostics {
    pub(super) fn error(&mut self, at: &JsonPointer<'_>, message: impl Into<String>) {
        self.push(ConfigError::new(at.to_string(), message));
    }

    pub(super) fn push(&mut self, error: ConfigError) {
        self.errors.push(error);
    }

    pub(super) fn warn(&mut self, at: &JsonPointer<'_>, message: impl fmt::Display) {
        self.warnings.push(format!("{at}: {message}"));
    }

    /// The warnings of a document without errors, or one error that tells all of them. Lines and columns are looked
    /// up in `bytes`, the document's text, where there is one.
    pub(super) fn into_result(self, bytes: Option<&[u8]>) -> Result<Vec<String>, Error> {
        if self.errors.is_empty() {
            return Ok(self.warnings);
        }
        let mut text = String::new();
        for (index, error) in self.errors.iter().take(MAX_NAMED).enumerate() {
            let _ = write!(text, "{}{}", if index == 0 { "" } else { "; " }, sentence(error, bytes));
        }
        if self.errors.len() > MAX_NAMED {
            let _ = write!(text, "; and {} more", self.errors.len() - MAX_NAMED);
        }
        Err(Error::new(Kind::Spec, text))
    }
}

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
