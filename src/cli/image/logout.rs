//! `tare-image logout REGISTRY`.

use clap::{Arg, ArgMatches, Command, value_parser};

use super::arguments::{self, option, text};
use crate::error::Result;
use crate::image::source::registry::logout::logout;
use crate::log;

pub(super) fn command() -> Command {
    Command::new("logout")
        .about("Remove a registry's credentials from where tare-image, docker and podman look")
        .arg(
            Arg::new("registry")
                .value_name("REGISTRY")
                .required(true)
                .help("HOST[:PORT], docker.io, or HOST[:PORT]/PATH for credentials of that part alone"),
        )
        .args(arguments::access().into_iter().filter(|arg| arg.get_id() == "authfile"))
        .arg(
            option(
                "timeout",
                "SECONDS",
                "give up when a credential helper has not answered for this long [default: 60]",
            )
            .value_parser(value_parser!(u64)),
        )
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let registry = text(matches, "registry").unwrap_or_default();
    let found =
        logout(registry, arguments::path(matches, "authfile").as_deref(), arguments::timeout_of(matches))?;
    log::plain(format_args!("logged out of {registry}; credentials were in {}", found.places.join(", ")));
    for (name, path) in &found.others {
        log::plain(format_args!(
            "credentials for {name} stay in {}: tare-image logout {name}",
            path.display()
        ));
    }
    Ok(())
}
