//! The second pass: `clap` turns flags in plain form into typed values, according to the same table.

use std::any::Any;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser, ValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};

use super::flag::{Flag, ValueType};
use super::go_flags::SplitArgs;
use super::value_parsers;

/// The flags of one level of the command line with their values.
#[derive(Debug)]
pub(super) struct FlagValues {
    known: &'static [Flag],
    /// The values of the flags that were given or have a default.
    typed: ArgMatches,
}

impl FlagValues {
    /// Types the flags of `words`. An error is runc's sentence.
    ///
    /// `clap` gets only the flags that are given: its preparation of each takes longer than the rest of the
    /// parsing.
    pub(super) fn parse(known: &'static [Flag], words: &SplitArgs) -> Result<Self, String> {
        let is_typed = |flag: &Flag| words.flags.iter().any(|(typed, _)| typed.long == flag.long);
        let command = clap::Command::new("tare")
            .no_binary_name(true)
            .disable_help_flag(true)
            .disable_version_flag(true)
            .args(known.iter().filter(|flag| flag.default.is_some() || is_typed(flag)).map(argument));
        command
            .try_get_matches_from(words.flags.iter().map(plain))
            .map(|typed| Self { known, typed })
            .map_err(|error| sentence(&error))
    }

    fn get<T: Any + Clone + Send + Sync>(&self, name: &str) -> Option<&T> {
        self.check(name);
        self.typed.try_get_one(name).ok().flatten()
    }

    fn get_all<T: Any + Clone + Send + Sync>(&self, name: &str) -> Vec<T> {
        self.check(name);
        self.typed.try_get_many(name).ok().flatten().map(|all| all.cloned().collect()).unwrap_or_default()
    }

    /// A name that is not in the table would never be found.
    fn check(&self, name: &str) {
        debug_assert!(self.known.iter().any(|flag| flag.long == name), "{name}");
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        self.get(name).copied().unwrap_or(false)
    }

    /// Returns the position among the given flags; `None` if it was not given.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.check(name);
        self.typed.ids().find(|id| *id == name)?;
        let typed = self.typed.value_source(name) == Some(ValueSource::CommandLine);
        self.typed.indices_of(name).filter(|_| typed)?.next_back()
    }

    /// Returns the text. An empty value counts as missing, as in Go.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get::<String>(name).filter(|text| !text.is_empty()).cloned()
    }

    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        self.get_all(name)
    }

    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.get::<PathBuf>(name).filter(|path| !path.as_os_str().is_empty()).cloned()
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.get(name).copied()
    }

    pub(super) fn numbers(&self, name: &str) -> Vec<i64> {
        self.get_all(name)
    }

    /// Returns the time in nanoseconds, which may be negative.
    pub(super) fn duration(&self, name: &str) -> Option<i64> {
        self.number(name)
    }
}

/// Returns the only form that `clap` gets: `--switch` or `--flag=value`.
fn plain((flag, value): &(&'static Flag, OsString)) -> OsString {
    let mut word = OsString::from("--");
    word.push(flag.long);
    if flag.takes != ValueType::Switch {
        word.push("=");
        word.push(value);
    }
    word
}

/// Describes one row of the table to `clap`. Help texts are made of the same.
pub(super) fn argument(flag: &'static Flag) -> Arg {
    let arg = Arg::new(flag.long).long(flag.long).help(flag.help).hide(flag.hidden);
    let arg = flag.short.into_iter().fold(arg, Arg::short);
    let arg = flag.default.into_iter().fold(arg, |arg, value| arg.default_value(value));
    match (flag.takes, flag.repeatable) {
        (ValueType::Switch, _) => arg.action(ArgAction::SetTrue),
        (_, true) => arg.action(ArgAction::Append).value_name("value").value_parser(parser(flag)),
        (_, false) => arg
            .action(ArgAction::Set)
            .overrides_with(flag.long)
            .value_name("value")
            .value_parser(parser(flag)),
    }
}

fn parser(flag: &Flag) -> ValueParser {
    match flag.takes {
        ValueType::Switch | ValueType::Text => ValueParser::string(),
        // clap's own parser of paths refuses the empty one.
        ValueType::Path => OsStringValueParser::new().map(PathBuf::from).into(),
        ValueType::Number => ValueParser::new(value_parsers::number),
        ValueType::Duration => ValueParser::new(value_parsers::duration),
    }
}

/// Words an error of `clap` as runc would.
fn sentence(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let flag = context(ContextKind::InvalidArg).trim_start_matches('-').split(' ').next().unwrap_or_default();
    match error.kind() {
        ErrorKind::ValueValidation => {
            let value = context(ContextKind::InvalidValue);
            format!("invalid value {value:?} for flag -{flag}: parse error")
        }
        ErrorKind::InvalidUtf8 => String::from("invalid value for a flag: not valid UTF-8"),
        kind => kind.as_str().unwrap_or("the command line cannot be understood").to_owned(),
    }
}
