//! The command line of tare-image.

mod arguments;
mod bundle;
mod explain;
mod inspect;
mod login;
mod progress;
mod pull;
mod repack;
mod unpack;

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

use crate::error::Result;
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
    match log::init(None, log::Format::Text, matches.get_flag("debug").then_some(log::Level::Debug))
        .and_then(|()| run(&matches))
    {
        Ok(()) => 0,
        Err(error) => {
            log::plain(format_args!("tare-image: {error}"));
            if let Some(hint) = error.hint() {
                log::plain(format_args!("hint: {hint}"));
            }
            1
        }
    }
}

fn run(matches: &clap::ArgMatches) -> Result<()> {
    match matches.subcommand() {
        Some(("pull", matches)) => pull::run(matches),
        Some(("unpack", matches)) => unpack::run(matches),
        Some(("diff", matches)) => repack::diff(matches),
        Some(("repack", matches)) => repack::run(matches),
        Some(("mount", matches)) => bundle::mount(matches),
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
