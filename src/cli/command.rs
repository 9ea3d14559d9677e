//! A command line as a value: what was typed, and nothing else. No look at the host.

use std::ffi::OsString;
use std::path::PathBuf;

use super::flag::Verb;
use super::flag_values::Values;
use super::go_flags::{Until, Words, split};
use super::{command_table, options};
use crate::cgroup::Driver;
use crate::error::Error;
use crate::lifecycle::options::{
    Checkpoint, Create, Delete, Events, Exec, Kill, Mounts, Restore, Rootless, Run, Spec, Update,
};
use crate::log::Level;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Checkpoint(Checkpoint),
    Create(Create),
    Delete(Delete),
    Events(Events),
    Exec(Exec),
    Features,
    Kill(Kill),
    List {
        format: Format,
        quiet: bool,
    },
    Mounts(Mounts),
    Pause(String),
    Plan(PathBuf),
    Ps {
        id: String,
        format: Format,
        arguments: Vec<String>,
    },
    Restore(Restore),
    Resume(String),
    Run(Run),
    Spec(Spec),
    Start(String),
    State(String),
    Update(Update),
    Version,
    /// Of one verb, or of the program.
    Help(Option<&'static Verb>),
}

/// How `list` and `ps` print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Table,
    Json,
}

/// The flags before the verb, as typed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GlobalFlags {
    pub debug: bool,
    pub log: Option<PathBuf>,
    pub log_format: Option<String>,
    pub root: Option<PathBuf>,
    pub log_level: Option<Level>,
    pub cgroup_manager: Driver,
    pub rootless: Rootless,
}

/// Why a command line is no command.
#[derive(Debug)]
pub enum Fault {
    /// A flag is wrong: the message, and the verb whose help to show.
    Flag { verb: Option<&'static Verb>, message: String },
    /// The number of arguments is wrong.
    Arity { verb: &'static Verb, message: String },
    /// There is no such verb.
    NoVerb(String),
    /// The words are right, their meaning is not.
    Meaning { verb: Option<&'static Verb>, error: Error },
}

/// What was typed, up to where it could be understood: global flags serve to report a fault behind them.
#[derive(Debug)]
pub struct Typed {
    pub globals: GlobalFlags,
    pub command: Result<Command, Fault>,
}

/// Reads the words behind the program's name.
pub fn read(typed: &[OsString]) -> Typed {
    let flag = |message| Fault::Flag { verb: None, message };
    let words = split(command_table::GLOBAL, Until::FirstArgument, typed).map_err(flag);
    let values =
        words.and_then(|words| Ok((Values::new(command_table::GLOBAL, &words).map_err(flag)?, words)));
    let (values, words) = match values {
        Ok(both) => both,
        Err(fault) => return Typed { globals: GlobalFlags::default(), command: Err(fault) },
    };
    match options::globals(&values) {
        Ok(globals) => Typed { globals, command: command(&values, &words) },
        Err(error) => {
            let fault = Fault::Meaning { verb: None, error };
            Typed { globals: GlobalFlags::default(), command: Err(fault) }
        }
    }
}

fn command(globals: &Values, words: &Words) -> Result<Command, Fault> {
    let Some((name, rest)) = words.arguments.split_first() else {
        return Ok(if globals.on("version") { Command::Version } else { Command::Help(None) });
    };
    if words.help || globals.on("version") {
        return Ok(if words.help { Command::Help(None) } else { Command::Version });
    }
    let name = name.to_string_lossy();
    let verb = command_table::find(&name).ok_or_else(|| Fault::NoVerb(name.into_owned()))?;
    of_verb(verb, rest)
}

fn of_verb(verb: &'static Verb, rest: &[OsString]) -> Result<Command, Fault> {
    let flag = |message| Fault::Flag { verb: Some(verb), message };
    let until = if verb.stops { Until::FirstArgument } else { Until::End };
    let words = split(verb.flags, until, rest).map_err(flag)?;
    if words.help {
        return Ok(Command::Help(Some(verb)));
    }
    let values = Values::new(verb.flags, &words).map_err(flag)?;
    if let Some(fault) = verb.arity.fault(words.arguments.len()) {
        return Err(Fault::Arity { verb, message: format!("\"{}\" requires {fault}", verb.name) });
    }
    let meaning = |error| Fault::Meaning { verb: Some(verb), error };
    let arguments = options::arguments(&words.arguments).map_err(meaning)?;
    match verb.name {
        "help" => topic(arguments.first()),
        _ => options::command(verb.name, &values, arguments).map_err(meaning),
    }
}

fn topic(name: Option<&String>) -> Result<Command, Fault> {
    let Some(name) = name else { return Ok(Command::Help(None)) };
    command_table::find(name).map(|verb| Command::Help(Some(verb))).ok_or_else(|| Fault::NoVerb(name.clone()))
}
