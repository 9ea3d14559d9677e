//! One error in a configuration: the field, and what is wrong with it.

use std::fmt;

use crate::error::{Error, Kind};
use crate::fail;

/// A field that breaks a rule: its JSON pointer and one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub pointer: String,
    pub message: String,
}

impl ConfigError {
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }

    /// Whether the message suggests a word. Later checks then assume that word.
    pub(crate) fn has_guess(&self) -> bool {
        self.message.contains(" (did you mean ")
    }

    /// Whether the error is about the value at `pointer`, about one that contains it, or about a part of it.
    pub(crate) fn concerns(&self, pointer: &str) -> bool {
        let holds = |above: &str, below: &str| {
            below.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        holds(&self.pointer, pointer) || holds(pointer, &self.pointer)
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        fail!(Kind::Spec, "{}: {}", error.pointer, error.message)
    }
}

/// Quotes a value from the document for a message: escaped, and shortened if it is long.
pub(super) fn quote(value: impl fmt::Display) -> String {
    let text = value.to_string();
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_value_is_escaped_and_cut() {
        assert_eq!(quote("a\n\"b"), r#""a\n\"b""#);
        assert_eq!(quote("é".repeat(100)), format!("\"{}\"…", "é".repeat(64)));
    }
}
