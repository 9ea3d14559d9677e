//! `tare-image login REGISTRY`.

use std::io::{BufRead, IsTerminal, Read};

use clap::{Arg, ArgMatches, Command};

use super::arguments::{self, flag, option, text};
use crate::error::{Context, Kind, Result};
use crate::image::registry::login::login;
use crate::{fail, log};

pub fn command() -> Command {
    Command::new("login")
        .about("Check credentials with a registry and keep them where docker and podman look")
        .arg(Arg::new("registry").value_name("REGISTRY").required(true).help("HOST[:PORT], or docker.io"))
        .arg(option("username", "USER", "the user's name").short('u').required(true))
        .arg(
            option("password", "PASSWORD", "the password; others can see it in the list of processes")
                .short('p'),
        )
        .arg(flag("password-stdin", "read the password from standard input").conflicts_with("password"))
        .args(arguments::access().into_iter().filter(|arg| arg.get_id() != "creds"))
}

pub fn run(matches: &ArgMatches) -> Result<()> {
    let registry = text(matches, "registry").unwrap_or_default();
    let user = text(matches, "username").unwrap_or_default();
    let password = match text(matches, "password") {
        Some(password) => password.to_owned(),
        None => read_password(matches.get_flag("password-stdin"))?,
    };
    let place = login(registry, user, &password, &arguments::login_access_of(matches))?;
    log::plain(format_args!("logged in to {registry}; credentials are in {place}"));
    Ok(())
}

fn read_password(all: bool) -> Result<String> {
    let mut text = String::new();
    let mut stdin = std::io::stdin().lock();
    if !all && stdin.is_terminal() {
        return Err(fail!(Kind::Usage, "a password is not read from a terminal")
            .with_hint("pipe it: --password-stdin"));
    }
    let read =
        if all { (&mut stdin).take(1 << 16).read_to_string(&mut text) } else { stdin.read_line(&mut text) };
    read.context("read the password")?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
