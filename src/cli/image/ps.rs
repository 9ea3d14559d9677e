//! `tare-image ps`: the containers of `tare-image run`.

use clap::{ArgMatches, Command};
use serde_json::{Value, json};

use super::arguments::{self, flag};
use crate::cli::print::columns::align;
use crate::cli::stdout;
use crate::error::Result;
use crate::image::run::finish;
use crate::image::run::listing::{self, Listed, Status};

pub(super) fn command() -> Command {
    Command::new("ps")
        .about("List the containers of `tare-image run`")
        .arg(flag("all", "list those that have ended too").short('a'))
        .arg(flag("quiet", "print names only").short('q'))
        .arg(flag("json", "print JSON").conflicts_with("quiet"))
        .arg(arguments::store())
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let mut all = Vec::new();
    if let Some(store) = arguments::named_store_of(matches)? {
        finish::recover(&store)?;
        all.extend(listing::list(&store)?);
    }
    if !matches.get_flag("all") {
        all.retain(|listed| listed.status == Status::Running);
    }
    if matches.get_flag("json") {
        return stdout::write(&format!("{}\n", json!(all.iter().map(document).collect::<Vec<_>>())));
    }
    if matches.get_flag("quiet") {
        return stdout::write(
            &all.iter().map(|listed| format!("{}\n", listed.record.id)).collect::<String>(),
        );
    }
    let mut rows = vec![["NAME", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS"].map(String::from)];
    rows.extend(all.iter().map(row));
    stdout::write(&align(&rows))
}

fn document(listed: &Listed) -> Value {
    let record = &listed.record;
    let (status, code) = match listed.status {
        Status::Running => ("running", None),
        Status::Exited(code) => ("exited", code),
    };
    json!({
        "name": record.id, "image": record.image, "command": record.command, "created": record.created,
        "status": status, "exitCode": code, "ports": ports(listed), "addresses": listed.addresses(),
    })
}

fn row(listed: &Listed) -> [String; 6] {
    let record = &listed.record;
    let status = match listed.status {
        Status::Running => "running".into(),
        Status::Exited(Some(code)) => format!("exited ({code})"),
        Status::Exited(None) => "exited (killed)".into(),
    };
    let command: String = record.command.join(" ").chars().take(30).collect();
    let id = record.id.to_string();
    [
        id,
        record.image.clone(),
        command,
        super::store::age_of(&record.created),
        status,
        ports(listed).join(", "),
    ]
}

fn ports(listed: &Listed) -> Vec<String> {
    let attachment = listed.record.attachment.iter();
    attachment.flat_map(|attachment| &attachment.ports).map(ToString::to_string).collect()
}
