//! Parses argv into a [`Command`]: global flags, the verb, its flags and arguments.

use std::ffi::OsString;

use super::command::{Command, GlobalFlags};
use super::flag::Verb;
use super::flag_values::FlagValues;
use super::go_flags::{FlagsEnd, SplitArgs, split};
use super::{command_table, options};
use crate::error::Error;

/// The reason why a command line is invalid.
#[derive(Debug)]
pub enum UsageError {
    /// A flag is wrong: the message, and the verb whose help is shown.
    Flag {
        verb: Option<&'static Verb>,
        message: String,
    },
    /// The number of arguments is wrong.
    ArgumentCount {
        verb: &'static Verb,
        message: String,
    },
    UnknownVerb(String),
    /// A value has the right form, but no meaning.
    Value {
        verb: Option<&'static Verb>,
        error: Error,
    },
}

/// A parsed command line. The global flags are valid even if the rest is not: they decide where that is
/// reported.
#[derive(Debug)]
pub struct CommandLine {
    pub globals: GlobalFlags,
    pub command: Result<Command, UsageError>,
}

impl CommandLine {
    /// Parses the words after the program's name.
    pub fn parse(argv: &[OsString]) -> Self {
        let flag_error = |message| UsageError::Flag { verb: None, message };
        let words = split(command_table::GLOBAL, FlagsEnd::AtFirstArgument, argv).map_err(flag_error);
        let values = words.and_then(|words| {
            Ok((FlagValues::parse(command_table::GLOBAL, &words).map_err(flag_error)?, words))
        });
        let (values, words) = match values {
            Ok(both) => both,
            Err(error) => return Self { globals: GlobalFlags::default(), command: Err(error) },
        };
        match options::globals(&values) {
            Ok(globals) => {
                let mut command = parse_command(&values, &words);
                if let Ok(Command::SeccompRecord(record)) = &mut command {
                    record.globals = argv[..argv.len() - words.arguments.len()].to_vec();
                }
                Self { globals, command }
            }
            Err(error) => {
                let error = UsageError::Value { verb: None, error };
                Self { globals: GlobalFlags::default(), command: Err(error) }
            }
        }
    }
}

/// Parses a command. `words` begin with the verb; `globals` are the flags before it.
fn parse_command(globals: &FlagValues, words: &SplitArgs) -> Result<Command, UsageError> {
    let Some((name, rest)) = words.arguments.split_first() else {
        return Ok(if globals.is_on("version") { Command::Version } else { Command::Help(None) });
    };
    if words.help || globals.is_on("version") {
        return Ok(if words.help { Command::Help(None) } else { Command::Version });
    }
    parse_verb(find_verb(&name.to_string_lossy())?, rest)
}

fn find_verb(name: &str) -> Result<&'static Verb, UsageError> {
    command_table::find(name).ok_or_else(|| UsageError::UnknownVerb(name.to_owned()))
}

/// Parses the words after the verb, `rest`.
fn parse_verb(verb: &'static Verb, rest: &[OsString]) -> Result<Command, UsageError> {
    let flag_error = |message| UsageError::Flag { verb: Some(verb), message };
    let end = if verb.stops_at_first_argument { FlagsEnd::AtFirstArgument } else { FlagsEnd::AtDoubleDash };
    let words = split(verb.flags, end, rest).map_err(flag_error)?;
    if words.help {
        return Ok(Command::Help(Some(verb)));
    }
    let values = FlagValues::parse(verb.flags, &words).map_err(flag_error)?;
    if let Some(required) = verb.arity.unmet_by(words.arguments.len()) {
        let message = format!("\"{}\" requires {required}", verb.name);
        return Err(UsageError::ArgumentCount { verb, message });
    }
    let value_error = |error| UsageError::Value { verb: Some(verb), error };
    let arguments = options::arguments(&words.arguments).map_err(value_error)?;
    match (verb.name, arguments.first()) {
        ("help", None) => Ok(Command::Help(None)),
        ("help", Some(topic)) => find_verb(topic).map(|verb| Command::Help(Some(verb))),
        _ => options::command(verb.name, &values, &arguments).map_err(value_error),
    }
}
