//! The command line of containerd-shim-tare-v2, and what it prints.

use std::ffi::OsString;
use std::io::Write;

use crate::error::{Context, Result};
use crate::log;
use crate::shim::bootstrap::{delete, info, start};
use crate::shim::{command_line, id, serve};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the program. `argv` begins with the program's name. Returns the exit code.
pub fn main(argv: Vec<OsString>) -> i32 {
    let _ = log::init(None, log::Format::Text, None);
    let name = argv.first().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    match run(&name, argv) {
        Ok(()) => 0,
        Err(error) => {
            log::plain(format_args!("containerd-shim-tare-v2: {error}"));
            if let Some(hint) = error.hint() {
                log::plain(format_args!("hint: {hint}"));
            }
            1
        }
    }
}

fn run(name: &str, argv: Vec<OsString>) -> Result<()> {
    let line = command_line::parse(argv.into_iter().skip(1))?;
    if line.version {
        return print(version(name).as_bytes());
    }
    if line.info {
        return print(&info::run(VERSION, std::io::stdin())?);
    }
    if line.action == "pause" {
        crate::shim::pause::run();
    }
    id::check_namespace(&line.namespace)?;
    match line.action.as_str() {
        "start" => {
            let (said, new) = start::run(&line, std::io::stdin())?;
            print(&said)?;
            if let Some(new) = new {
                new.watch();
            }
            Ok(())
        }
        "delete" => print(&delete::run(&line, &mut |message| log::plain(format_args!("{message}")))?),
        _ => serve::run(line),
    }
}

/// In the form of containerd's own shim: the name as it was called, what it is made of, an empty line.
fn version(name: &str) -> String {
    let commit = option_env!("TARE_COMMIT").unwrap_or_default();
    format!("{name}:\n  Version:  {VERSION}\n  Revision: {commit}\n\n")
}

fn print(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).context("writing to standard output")
}
