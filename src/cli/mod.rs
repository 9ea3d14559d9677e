//! The command line: reads the words, prints the results, chooses the exit code. Nothing else writes standard
//! output.
//!
//! [`go_flags`] turns runc's grammar into one plain form, [`flag_values`] types the values, and
//! [`command_line`] makes a [`command::Command`] of them, which is exactly what was given. [`dispatch`]
//! passes it to its verb in `lifecycle`.

pub mod command;
pub mod command_line;
pub mod command_table;
mod dispatch;
pub mod flag;
mod flag_values;
mod globals;
mod go_flags;
mod help;
pub mod image;
pub mod manual;
pub mod shim;
mod keyboard;
mod options;
mod print;
mod report;
mod stdout;
mod timeline;
mod top;
mod value_parsers;

use std::ffi::OsString;

use command_line::CommandLine;
use globals::Environment;

/// Runs the program. `argv` begins with the program's own name. Returns the exit code.
#[expect(clippy::needless_pass_by_value, reason = "the program owns its arguments")]
pub fn main(argv: Vec<OsString>) -> i32 {
    let (name, arguments) = match argv.split_first() {
        Some((name, arguments)) => (name.to_string_lossy().into_owned(), arguments),
        None => (String::from("tare"), &[][..]),
    };
    let CommandLine { globals, command } = CommandLine::parse(arguments);
    if let Err(error) = globals::start_log(&globals).and_then(|()| globals::start_timeline(&globals)) {
        return report::report(&error);
    }
    let command = match command {
        Ok(command) => command,
        Err(error) => return report::usage_error(&name, error),
    };
    let exit_code = Environment::read()
        .and_then(|environment| globals::resolve(&globals, &environment))
        .and_then(|globals| dispatch::dispatch(&globals, &command));
    let exit_code = exit_code.unwrap_or_else(|error| report::command_failed(&command, error));
    match timeline::write(&globals) {
        Ok(()) => exit_code,
        Err(error) => report::report(&error),
    }
}
