//! How a command that failed says so: the log, standard output for wrong usage, the exit code.

use super::command::{Command, Fault};
use super::{help, stdout};
use crate::error::{Error, matched};
use crate::log;

/// Any failure.
const FAILED: i32 = 1;
/// There is no such command.
const NO_COMMAND: i32 = 3;
/// `exec` failed before the process ran, so that no code of the process is taken for ours.
const EXEC_FAILED: i32 = 255;

/// Writes the error to the log; its hint goes to a person only.
pub fn failure(error: &Error) -> i32 {
    log::error(format_args!("{error}"));
    if let Some(hint) = error.hint() {
        log::hint(hint);
    }
    FAILED
}

/// A verb failed.
pub fn failed(command: &Command, error: Error) -> i32 {
    match command {
        Command::Create(_) => failure(&error.context("tare create failed")),
        Command::Run(_) => failure(&error.context("tare run failed")),
        Command::Exec(_) => exec_failed(error),
        _ => failure(&error),
    }
}

fn exec_failed(error: Error) -> i32 {
    failure(&error.context(matched::EXEC_FAILED));
    EXEC_FAILED
}

/// The command line is wrong. `name` is the program's as it was called.
pub fn fault(name: &str, fault: Fault) -> i32 {
    match fault {
        Fault::Flag { verb, message } => {
            let (mark, help) = match verb {
                Some(verb) => (":", help::verb(verb)),
                None => (".", help::program()),
            };
            usage(&format!("Incorrect Usage{mark} {message}\n\n{help}"));
            log::error(format_args!("{message}"));
            FAILED
        }
        Fault::Arity { verb, message } => {
            usage(&format!("Incorrect Usage.\n\n{}", help::verb(verb)));
            log::error(format_args!("{name}: {message}"));
            FAILED
        }
        Fault::NoVerb(verb) => {
            log::error(format_args!("No help topic for '{verb}'"));
            NO_COMMAND
        }
        Fault::Meaning { verb: Some(verb), error } if verb.name == "exec" => exec_failed(error),
        Fault::Meaning { error, .. } => failure(&error),
    }
}

/// The help text is a courtesy: that nobody reads it is no further failure.
fn usage(text: &str) {
    let _ = stdout::write(text);
}
