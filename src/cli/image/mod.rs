//! The command line of tare-image.

mod arguments;
mod bundle;
mod explain;
mod inspect;
mod login;
mod progress;
mod prompt;
mod pull;
mod repack;
mod unpack;

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

use crate::error::Result;
use crate::image::bundle::About;
use crate::image::namespace::{self, Ids, Place};
use crate::log;

/// The program: `argv` with its own name first. Returns the exit code.
pub fn main(argv: Vec<OsString>) -> i32 {
    let matches = match command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version are asked for, all else is a mistake.
            let _ = error.print();
            return i32::from(error.use_stderr());
        }
    };
    let level = matches.get_flag("debug").then_some(log::Level::Debug);
    let init = log::init(None, log::Format::Text, level);
    match init.and_then(|()| namespace::begin()).and_then(|()| within(&matches)) {
        Ok(code) => code,
        Err(error) => {
            log::plain(format_args!("tare-image: {error}"));
            if let Some(hint) = error.hint() {
                log::plain(format_args!("hint: {hint}"));
            }
            1
        }
    }
}

/// Runs the command, in a namespace of its own where a user without privileges needs one. Returns the exit code.
fn within(matches: &clap::ArgMatches) -> Result<i32> {
    if Place::find() != Place::User {
        return run(matches);
    }
    let Some((name, below)) = matches.subcommand() else { return Ok(0) };
    let wish = match name {
        "unpack" => match below.get_one::<String>("rootless").map(String::as_str) {
            Some("single") => Some(Ids::Single),
            Some("ranges") => Some(Ids::Ranges),
            _ => None,
        },
        "mount" | "umount" | "remove" | "diff" | "repack" => {
            About::read(&arguments::path(below, "bundle").unwrap_or_default())?.rootless
        }
        "pull" if !below.contains_id("destination") => None,
        "prune" => None,
        _ => return run(matches),
    };
    namespace::enter(wish)
}

fn run(matches: &clap::ArgMatches) -> Result<i32> {
    if let Some(("mount", matches)) = matches.subcommand() {
        return bundle::mount(matches);
    }
    verb(matches).map(|()| 0)
}

fn verb(matches: &clap::ArgMatches) -> Result<()> {
    match matches.subcommand() {
        Some(("pull", matches)) => pull::run(matches),
        Some(("unpack", matches)) => unpack::run(matches),
        Some(("diff", matches)) => repack::diff(matches),
        Some(("repack", matches)) => repack::run(matches),
        Some(("umount", matches)) => bundle::umount(matches),
        Some(("remove", matches)) => bundle::remove(matches),
        Some(("prune", matches)) => bundle::run_prune(matches),
        Some(("inspect", matches)) => inspect::run(matches),
        Some(("list", matches)) => inspect::list(matches),
        Some(("explain", matches)) => explain::run(matches),
        Some(("verify", matches)) => inspect::run_verify(matches),
        Some(("login", matches)) => login::run(matches),
        // clap lets nothing else through.
        _ => Ok(()),
    }
}

fn command() -> Command {
    Command::new("tare-image")
        .version(env!("CARGO_PKG_VERSION"))
        .about("From a container image to a bundle that an OCI runtime can run")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(
            Arg::new("debug")
                .long("debug")
                .global(true)
                .action(ArgAction::SetTrue)
                .help("say on stderr what is skipped and why"),
        )
        .subcommands([
            pull::command(),
            unpack::command(),
            repack::diff_command(),
            repack::command(),
            bundle::mount_command(),
            bundle::umount_command(),
            bundle::remove_command(),
            inspect::command(),
            inspect::list_command(),
            explain::command(),
            inspect::verify_command(),
            bundle::prune_command(),
            login::command(),
        ])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
