//! Reports the failure of a command: in the log, on standard output for wrong usage, and by the exit code.

use super::command::Command;
use super::command_line::UsageError;
use super::go_flags::UNDEFINED;
use super::{command_table, help, stdout};
use crate::error::{Error, matched};
use crate::log;
use crate::spec::spelling::nearest;

/// Any failure.
const FAILED: i32 = 1;
/// There is no such command.
const UNKNOWN_VERB: i32 = 3;
/// `exec` failed before the process ran. The number differs from the others, so that a failure of ours is not
/// taken for the process's.
const EXEC_FAILED: i32 = 255;

/// Writes the error to the log. Its hint goes only to a person.
pub(super) fn report(error: &Error) -> i32 {
    log::error(format_args!("{error}"));
    if let Some(hint) = error.hint() {
        log::hint(hint);
    }
    FAILED
}

/// Reports that a verb failed, with runc's name for the failure.
pub(super) fn command_failed(command: &Command, error: Error) -> i32 {
    let verb = match command {
        Command::Create(..) => "create",
        Command::Run(..) => "run",
        Command::Exec(..) => "exec",
        Command::Debug(..) => "debug",
        _ => return report(&error),
    };
    verb_failed(verb, error)
}

fn verb_failed(verb: &str, error: Error) -> i32 {
    match verb {
        "create" => report(&error.context("tare create failed")),
        "run" => report(&error.context("tare run failed")),
        "exec" => {
            report(&error.context(matched::EXEC_FAILED));
            EXEC_FAILED
        }
        "debug" => {
            report(&error);
            EXEC_FAILED
        }
        _ => report(&error),
    }
}

/// Reports a wrong command line. `program` is the name under which the program was called.
pub(super) fn usage_error(program: &str, error: UsageError) -> i32 {
    match error {
        UsageError::Flag { verb, message } => {
            let (mark, help) = match verb {
                Some(verb) => (":", help::verb(verb)),
                None => (".", help::program()),
            };
            print_help(&format!("Incorrect Usage{mark} {message}\n\n{help}"));
            log::error(format_args!("{message}"));
            // The sentence is runc's, word for word, so the suggestion is separate.
            let known = verb.map_or(command_table::GLOBAL, |verb| verb.flags);
            let names = known.iter().filter(|flag| !flag.hidden).map(|flag| flag.long);
            let typed = message.strip_prefix(UNDEFINED);
            if let Some(meant) = typed.and_then(|name| nearest(name, names)) {
                log::hint(&format!("did you mean --{meant}?"));
            } else if typed.is_some() && verb.is_some_and(|verb| matches!(verb.name, "create" | "run")) {
                log::hint(OF_AN_ENGINE);
            }
            FAILED
        }
        UsageError::ArgumentCount { verb, message } => {
            print_help(&format!("Incorrect Usage.\n\n{}", help::verb(verb)));
            log::error(format_args!("{program}: {message}"));
            log::hint(&format!("usage: tare {} [options] {}", verb.name, verb.usage));
            if matches!(verb.name, "run" | "create") {
                log::hint(NO_COMMAND);
            }
            FAILED
        }
        UsageError::UnknownVerb(verb) => {
            log::error(format_args!("No help topic for '{verb}'"));
            let known = command_table::VERBS.iter().map(|known| known.name);
            if let Some(instead) = of_engines(&verb) {
                log::hint(instead);
            } else if let Some(meant) = nearest(&verb, known) {
                log::hint(&format!("did you mean {meant:?}?"));
            }
            UNKNOWN_VERB
        }
        UsageError::Value { verb, error } => verb_failed(verb.map_or("", |verb| verb.name), error),
    }
}

/// Said of an unknown flag of `run` or `create`: Docker and Podman have many more.
const OF_AN_ENGINE: &str = "terminal, environment, mounts, user and limits are no options here: config.json of the \
                            bundle has them, and `tare-image unpack --help` lists those that it writes there";

/// Said of a wrong number of words of `run` or `create`: engines take the image and the command there.
const NO_COMMAND: &str = "the one word is the container's new id; the command stands in config.json, where \
                          `tare-image unpack --cmd` writes it, and `tare exec ID COMMAND` runs another";

/// What is the same here as a command of Docker or Podman.
fn of_engines(verb: &str) -> Option<&'static str> {
    Some(match verb {
        "stop" => "`tare kill ID` asks a container to end, `tare kill ID KILL` ends it",
        "rm" | "remove" => "`tare delete ID` removes a container, with --force one that runs",
        "logs" => "tare keeps no output: it goes where the standard streams of `run` or `create` go",
        "images" | "pull" | "push" | "build" | "rmi" | "login" | "unpack" => {
            "images are of the other program: `tare-image --help`"
        }
        "unpause" => "`tare resume ID`",
        "attach" => {
            "`tare exec ID COMMAND` runs another process in a container; there is nothing to attach to"
        }
        "stats" => "`tare events --stats ID`",
        _ => return None,
    })
}

/// Prints a help text. A failure is ignored: then nobody reads it.
fn print_help(text: &str) {
    let _ = stdout::write(text);
}
