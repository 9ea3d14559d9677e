//! The command line of tare-image: one file for each command, with its arguments and its output.

mod arguments;
mod convert;
mod diff;
mod explain;
mod inspect;
mod list;
mod login;
mod logout;
mod logs;
mod mount;
mod progress;
mod prompt;
mod prune;
mod ps;
mod pull;
mod remove;
mod repack;
mod rm;
mod run;
mod store;
mod tag;
mod unpack;
mod verify;

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

use crate::error::{Context, Result};
use crate::image::bundle::{self, Bundle};
use crate::image::run::runtime::NOT_RUN;
use crate::image::userns::namespace::{self, MappedIds, Privilege};
use crate::log;

/// Runs the program. `argv` begins with the program's name. Returns the exit code.
pub fn main(argv: Vec<OsString>) -> i32 {
    let is_run = argv
        .iter()
        .skip(1)
        .find(|word| !word.to_string_lossy().starts_with('-'))
        .is_some_and(|word| word == "run");
    // What docker and podman return for a container that did not begin.
    let failed = if is_run { NOT_RUN } else { 1 };
    let matches = match command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(error) => {
            // clap returns --help and --version as "errors" too: they go to standard output, with exit code
            // 0.
            let _ = error.print();
            if let Some(hint) = elsewhere(&error) {
                log::plain(format_args!("\nhint: {hint}"));
            }
            return if error.use_stderr() { failed } else { 0 };
        }
    };
    let level = matches.get_flag("debug").then_some(log::Level::Debug);
    let init = log::init(None, log::Format::Text, level);
    match init.and_then(|()| namespace::enter_if_second()).and_then(|()| run(&matches)) {
        Ok(code) => code,
        Err(error) => {
            log::plain(format_args!("tare-image: {error}"));
            if let Some(hint) = error.hint() {
                log::plain(format_args!("hint: {hint}"));
            }
            failed
        }
    }
}

/// What is the same here as a command of Docker or Podman that tare-image does not have.
fn elsewhere(error: &clap::Error) -> Option<&'static str> {
    let clap::error::ContextValue::String(verb) = error.get(clap::error::ContextKind::InvalidSubcommand)?
    else {
        return None;
    };
    Some(match verb.as_str() {
        "push" | "save" | "copy" | "cp" | "export" => {
            "`tare-image pull SOURCE DEST` copies between registries, layouts and archives"
        }
        "images" | "image" => "`tare-image store` lists what is in the store",
        "tags" | "search" => "`tare-image list docker://NAME` lists the tags of a repository",
        "load" | "import" => {
            "`tare-image pull docker-archive:FILE` or `oci-archive:FILE` gets the image of an archive"
        }
        "commit" => "`tare-image repack BUNDLE DEST` makes an image of a changed bundle",
        "rmi" => {
            "`tare-image rm` removes an image of a layout, `tare-image prune` what nobody uses of the store"
        }
        "build" => {
            "tare-image builds nothing from a Dockerfile; `tare-image repack` makes an image of a changed bundle"
        }
        "create" | "start" | "exec" | "kill" | "stop" | "pause" | "top" | "stats" | "attach" => {
            "containers are of the other program: `tare help`; those of `tare-image run` have the same names there"
        }
        _ => return None,
    })
}

/// Runs the command. An unprivileged user's commands that need other ids, mounts or the store run in a user
/// namespace of their own, in a second process. Returns the exit code.
fn run(matches: &clap::ArgMatches) -> Result<i32> {
    if Privilege::detect() != Privilege::User {
        return run_here(matches);
    }
    let Some((name, subcommand)) = matches.subcommand() else { return Ok(0) };
    let ids = match name {
        "unpack" => match subcommand.get_one::<String>("rootless").map(String::as_str) {
            Some("single") => Some(MappedIds::Single),
            Some("ranges") => Some(MappedIds::Ranges),
            _ => None,
        },
        // Containers, whose bundles this command makes and removes.
        "run" => return run::run_for_user(subcommand),
        "ps" | "logs" => None,
        "remove" if remove::names_container(subcommand) => {
            return namespace::run_in_namespace(None, || Ok(()));
        }
        "mount" | "umount" | "remove" | "diff" | "repack" => {
            Bundle::open(&arguments::path(subcommand, "bundle").unwrap_or_default())?.info().rootless
        }
        "pull" if !subcommand.contains_id("destination") => None,
        "prune" | "convert" => None,
        "verify" if subcommand.contains_id("store") => None,
        _ => return run_here(matches),
    };
    if name == "remove" {
        // Checked in this process, which can see the user's containers: they are not visible from another
        // namespace.
        let bundle = arguments::path(subcommand, "bundle").unwrap_or_default();
        let bundle = Bundle::open_to_change(&bundle)?;
        bundle::refuse_if_in_use(&bundle).with_context(|| format!("remove {}", bundle.shown().display()))?;
    }
    namespace::run_in_namespace(ids, || Ok(()))
}

/// Runs the command in this process. Returns the exit code.
fn run_here(matches: &clap::ArgMatches) -> Result<i32> {
    match matches.subcommand() {
        // `mount` may return the exit code of COMMAND.
        Some(("mount", matches)) => return mount::run(matches),
        Some(("run", matches)) => return run::run(matches),
        Some(("ps", matches)) => ps::run(matches),
        Some(("logs", matches)) => logs::run(matches),
        Some(("pull", matches)) => pull::run(matches),
        Some(("unpack", matches)) => unpack::run(matches),
        Some(("diff", matches)) => diff::run(matches),
        Some(("repack", matches)) => repack::run(matches),
        Some(("umount", matches)) => mount::run_umount(matches),
        Some(("remove", matches)) => remove::run(matches),
        Some(("prune", matches)) => prune::run(matches),
        Some(("convert", matches)) => convert::run(matches),
        Some(("inspect", matches)) => inspect::run(matches),
        Some(("list", matches)) => list::run(matches),
        Some(("explain", matches)) => explain::run(matches),
        Some(("verify", matches)) => verify::run(matches),
        Some(("login", matches)) => login::run(matches),
        Some(("logout", matches)) => logout::run(matches),
        Some(("store", matches)) => store::run(matches),
        Some(("tag", matches)) => tag::run(matches),
        Some(("rm", matches)) => rm::run(matches),
        // clap has refused every other name.
        _ => Ok(()),
    }
    .map(|()| 0)
}

pub(super) fn command() -> Command {
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
                .help("log what is skipped, and why, on standard error"),
        )
        .subcommands([
            run::command(),
            ps::command(),
            logs::command(),
            pull::command(),
            unpack::command(),
            diff::command(),
            repack::command(),
            mount::command(),
            mount::umount_command(),
            remove::command(),
            inspect::command(),
            list::command(),
            explain::command(),
            verify::command(),
            store::command(),
            tag::command(),
            rm::command(),
            prune::command(),
            convert::command(),
            login::command(),
            logout::command(),
        ])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
