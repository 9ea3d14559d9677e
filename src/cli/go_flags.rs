//! The first pass over a command line: turns it into flags with their values, and arguments.
//!
//! runc's grammar is Go's and not that of `getopt`: a long flag has one dash or two, a switch may have
//! `=false`, and flags and arguments may come in any order, except after the first argument of `exec`, `kill`
//! and `ps`. This pass resolves all of that with the command table, so that `clap` gets one plain form.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::flag::{Flag, ValueType};
use super::value_parsers;

/// A command line, or the part of one that belongs to a verb, in plain form.
#[derive(Debug, Default)]
pub(super) struct SplitArgs {
    /// The switches that are on, and other flags with their values, in the given order.
    pub flags: Vec<(&'static Flag, OsString)>,
    pub arguments: Vec<OsString>,
    /// Whether `-h` or `--help` was given, which every verb accepts.
    pub help: bool,
}

/// Where flags end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FlagsEnd {
    /// Flags may be anywhere before `--`.
    AtDoubleDash,
    /// The first argument: it and all words after it are arguments.
    AtFirstArgument,
}

/// Splits the words `typed` into the flags of `known` and arguments. An error is runc's sentence.
pub(super) fn split(known: &'static [Flag], end: FlagsEnd, typed: &[OsString]) -> Result<SplitArgs, String> {
    let mut words = SplitArgs::default();
    let mut rest = typed.iter();
    while let Some(word) = rest.next() {
        match word.as_bytes() {
            b"--" => break,
            // A single dash is an argument: by convention it means standard input.
            [b'-', _, ..] => words.flag(known, word, &mut rest)?,
            _ => {
                words.arguments.push(word.clone());
                if end == FlagsEnd::AtFirstArgument {
                    break;
                }
            }
        }
    }
    words.arguments.extend(rest.cloned());
    Ok(words)
}

impl SplitArgs {
    fn flag<'a>(
        &mut self,
        known: &'static [Flag],
        word: &OsStr,
        rest: &mut impl Iterator<Item = &'a OsString>,
    ) -> Result<(), String> {
        let (name, value) = name_and_value(word)?;
        if let Some(flag) = known.iter().find(|flag| flag.is_named(name)) {
            return self.known(flag, name, value, rest);
        }
        match name {
            // The last two are crun's.
            "h" | "help" | "?" | "usage" => self.help = on(name, value)?,
            _ if value.is_none() && self.cluster(known, word, name) => {}
            _ if self.attached(known, word) => {}
            _ => return Err(undefined(name)),
        }
        Ok(())
    }

    fn known<'a>(
        &mut self,
        flag: &'static Flag,
        name: &str,
        value: Option<OsString>,
        rest: &mut impl Iterator<Item = &'a OsString>,
    ) -> Result<(), String> {
        if flag.takes == ValueType::Switch {
            self.flags.retain(|(other, _)| other.long != flag.long);
            if on(name, value)? {
                self.flags.push((flag, OsString::new()));
            }
            return Ok(());
        }
        let Some(value) = value.or_else(|| rest.next().cloned()) else {
            return Err(format!("flag needs an argument: -{name}"));
        };
        self.flags.push((flag, value));
        Ok(())
    }

    /// Reads `-td` as `-t -d`, which people type for crun and Docker: one dash, only short switches.
    fn cluster(&mut self, known: &'static [Flag], word: &OsStr, name: &str) -> bool {
        let switch = |letter| known.iter().find(|f| f.short == Some(letter) && f.takes == ValueType::Switch);
        let Some(switches) = name.chars().map(switch).collect::<Option<Vec<_>>>() else { return false };
        if word.as_bytes().starts_with(b"--") {
            return false;
        }
        for flag in switches {
            self.flags.retain(|(other, _)| other.long != flag.long);
            self.flags.push((flag, OsString::new()));
        }
        true
    }
}

impl SplitArgs {
    /// Reads `-u1000`, `-eNAME=VALUE`, `-b/bundle`: one letter and its value, as in getopt and as crun's
    /// users type it. Not if the value begins like the name of a flag: then it is probably a misspelt flag
    /// with runc's single dash.
    fn attached(&mut self, known: &'static [Flag], word: &OsStr) -> bool {
        let [b'-', letter, value @ ..] = word.as_bytes() else { return false };
        let letter = char::from(*letter);
        let takes_value = |flag: &&Flag| flag.short == Some(letter) && flag.takes != ValueType::Switch;
        match known.iter().find(takes_value) {
            Some(flag) if value.first().is_some_and(|c| *c != b'=' && !c.is_ascii_lowercase()) => {
                self.flags.push((flag, OsStr::from_bytes(value).to_owned()));
                true
            }
            _ => false,
        }
    }
}

/// Returns the name after one or two dashes, and the text after `=`.
fn name_and_value(word: &OsStr) -> Result<(&str, Option<OsString>), String> {
    let bytes = word.as_bytes();
    let bare = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-")).unwrap_or(bytes);
    let (name, value) = match bare.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bare[..at], Some(OsString::from_vec(bare[at + 1..].to_vec()))),
        None => (bare, None),
    };
    if name.is_empty() || name[0] == b'-' {
        return Err(format!("bad flag syntax: {}", word.display()));
    }
    let name = std::str::from_utf8(name).map_err(|_| undefined(&String::from_utf8_lossy(name)))?;
    Ok((name, value))
}

/// The start of the sentence for an unknown flag; the flag's name follows.
pub(super) const UNDEFINED: &str = "flag provided but not defined: -";

fn undefined(name: &str) -> String {
    format!("{UNDEFINED}{name}")
}

fn on(name: &str, value: Option<OsString>) -> Result<bool, String> {
    let Some(value) = value else { return Ok(true) };
    let wrong = || format!("invalid boolean value \"{}\" for -{name}: parse error", value.display());
    value.to_str().and_then(value_parsers::boolean).ok_or_else(wrong)
}
