//! A fault of the document: where (a JSON pointer) and what. All faults of one document are told together.
//!
//! The way to the value at hand is a chain on the stack ([`At`]): rules that find nothing allocate nothing.

use std::fmt::{self, Write};

use super::locate;
use super::tree::escape;
use crate::error::{Error, Kind};

/// How many faults one message names; the rest is counted.
const TOLD: usize = 16;

/// How many characters of a pointer are shown: names in it come from the document.
const POINTER: usize = 256;

/// The way from the document's root to the value a rule looks at.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    above: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Item(usize),
}

impl<'a> At<'a> {
    pub const ROOT: At<'static> = At { above: None, step: Step::Root };

    pub fn key<'b>(&'b self, name: &'b str) -> At<'b>
    where
        'a: 'b,
    {
        At { above: Some(self), step: Step::Key(name) }
    }

    pub fn item<'b>(&'b self, index: usize) -> At<'b>
    where
        'a: 'b,
    {
        At { above: Some(self), step: Step::Item(index) }
    }
}

/// Printed as a JSON pointer (RFC 6901).
impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            above.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Key(name) => write!(f, "/{}", escape(name)),
            Step::Item(index) => write!(f, "/{index}"),
        }
    }
}

pub(super) struct Fault {
    pub pointer: String,
    pub message: String,
}

/// What the rules found so far.
#[derive(Default)]
pub(super) struct Faults {
    found: Vec<Fault>,
    pub warnings: Vec<String>,
}

impl Faults {
    pub fn add(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.push(Fault { pointer: at.to_string(), message: message.into() });
    }

    pub fn push(&mut self, fault: Fault) {
        self.found.push(fault);
    }

    pub fn warn(&mut self, at: &At<'_>, message: impl fmt::Display) {
        self.warnings.push(format!("{at}: {message}"));
    }

    /// The warnings of a document without a fault, or one error that tells all faults. Lines and columns are
    /// looked up in `bytes`, the document's text, where there is one.
    pub fn settle(self, bytes: Option<&[u8]>) -> Result<Vec<String>, Error> {
        if self.found.is_empty() {
            return Ok(self.warnings);
        }
        let mut text = String::new();
        for (index, fault) in self.found.iter().take(TOLD).enumerate() {
            let _ = write!(text, "{}{}", if index == 0 { "" } else { "; " }, sentence(fault, bytes));
        }
        if self.found.len() > TOLD {
            let _ = write!(text, "; and {} more", self.found.len() - TOLD);
        }
        Err(Error::new(Kind::Spec, text))
    }
}

fn sentence(fault: &Fault, bytes: Option<&[u8]>) -> String {
    let pointer = match fault.pointer.char_indices().nth(POINTER) {
        _ if fault.pointer.is_empty() => "/",
        Some((end, _)) => &format!("{}…", &fault.pointer[..end]),
        None => &fault.pointer,
    };
    match bytes.and_then(|bytes| locate::position(bytes, &fault.pointer)) {
        Some((line, column)) => format!("{pointer} (line {line}, column {column}): {}", fault.message),
        None => format!("{pointer}: {}", fault.message),
    }
}

/// A value from the document, quoted for a message: escaped, and cut where it is long.
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
    fn a_pointer_escapes_the_names_it_passes() {
        let linux = At::ROOT.key("linux");
        let sysctl = linux.key("sysctl");
        assert_eq!(sysctl.key("net/ipv4~x").to_string(), "/linux/sysctl/net~1ipv4~0x");
        assert_eq!(sysctl.key("a\nb").to_string(), "/linux/sysctl/a\\nb");
        assert_eq!(At::ROOT.key("mounts").item(3).key("options").item(0).to_string(), "/mounts/3/options/0");
    }

    #[test]
    fn all_faults_are_told_together_and_a_flood_is_counted() {
        let mut faults = Faults::default();
        for index in 0..20 {
            faults.add(&At::ROOT.item(index), "wrong");
        }
        let text = faults.settle(None).unwrap_err().to_string();
        assert!(text.starts_with("/0: wrong; /1: wrong; "), "{text}");
        assert!(text.ends_with("/15: wrong; and 4 more"), "{text}");
    }

    #[test]
    fn a_quoted_value_is_escaped_and_cut() {
        assert_eq!(quote("a\n\"b"), r#""a\n\"b""#);
        assert_eq!(quote("é".repeat(100)), format!("\"{}\"…", "é".repeat(64)));
    }
}
