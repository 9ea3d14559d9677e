//! `tare-image login REGISTRY`.

use std::io::{BufRead, IsTerminal, Read};

use clap::{Arg, ArgMatches, Command};

use super::arguments::{self, flag, option, text};
use super::prompt;
use crate::error::{Context, Kind, Result};
use crate::image::source::registry::login::login;
use crate::{fail, log};

pub(super) fn command() -> Command {
    Command::new("login")
        .about("Check credentials with a registry and keep them where docker and podman look")
        .arg(Arg::new("registry").value_name("REGISTRY").required(true).help("HOST[:PORT], or docker.io"))
        .arg(option("username", "USER", "the user's name [default: asked for]").short('u'))
        .arg(
            option("password", "PASSWORD", "the password; others can see it in the list of processes")
                .short('p'),
        )
        .arg(flag("password-stdin", "read the password from standard input").conflicts_with("password"))
        .args(arguments::access().into_iter().filter(|arg| arg.get_id() != "creds"))
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let registry = text(matches, "registry").unwrap_or_default();
    let all = matches.get_flag("password-stdin");
    let is_asked = !all && std::io::stdin().is_terminal();
    let user = match text(matches, "username") {
        Some(user) => user.to_owned(),
        None if is_asked => prompt::read_line("user: ")?,
        None => {
            return Err(fail!(Kind::Usage, "--username: must be given where standard input is no terminal"));
        }
    };
    let password = match text(matches, "password") {
        Some(password) => password.to_owned(),
        None if is_asked => prompt::read_password("password: ")?,
        None => read_password(all)?,
    };
    let auth_file = login(registry, &user, &password, &arguments::login_access_of(matches))?;
    log::plain(format_args!("logged in to {registry}; credentials are in {auth_file}"));
    Ok(())
}

/// Reads the password from standard input: all of it (--password-stdin), or one line.
fn read_password(all: bool) -> Result<String> {
    let mut text = String::new();
    // A file or device of any size may be there.
    let mut stdin = std::io::BufReader::new(std::io::stdin().lock().take(1 << 16));
    let read = if all { stdin.read_to_string(&mut text) } else { stdin.read_line(&mut text) };
    read.context("read the password")?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
