//! `tare-image diff BUNDLE`.

use clap::{ArgMatches, Command};
use serde_json::json;

use super::arguments::{self, flag, path};
use crate::cli::stdout;
use crate::error::Result;
use crate::image::bundle::{self, Bundle};
use crate::image::changes::{Change, ChangeKind};

pub(super) fn command() -> Command {
    Command::new("diff")
        .about("List what has changed since the bundle was unpacked: A added, C changed, D deleted")
        .arg(arguments::bundle())
        .arg(arguments::mask())
        .arg(flag("json", "print JSON lines"))
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let mut changes = bundle::changes(&Bundle::open(&path(matches, "bundle").unwrap_or_default())?)?;
    changes.mask(&arguments::inner_paths(matches, "mask"));
    let is_json = matches.get_flag("json");
    stdout::write(&changes.list.iter().map(|change| change_line(change, is_json)).collect::<String>())
}

fn change_line(change: &Change, is_json: bool) -> String {
    let path = format!("/{}", change.path.escape_ascii());
    let (letter, word) = match change.kind {
        ChangeKind::Added => ('A', "added"),
        ChangeKind::Changed => ('C', "changed"),
        ChangeKind::Deleted => ('D', "deleted"),
    };
    match is_json {
        true => format!("{}\n", json!({ "kind": word, "path": path })),
        false => format!("{letter} {path}\n"),
    }
}
