//! `tare-image diff BUNDLE` and `repack BUNDLE DEST`.

use clap::{Arg, ArgMatches, Command};
use serde_json::json;

use super::arguments::{self, flag, option, path, text};
use super::{progress, pull};
use crate::cli::stdout;
use crate::error::{Kind, Result};
use crate::fail;
use crate::image::bundle;
use crate::image::changes;
use crate::image::compression::Compression;
use crate::image::reference::Reference;
use crate::image::repack::{self, Options};

pub fn diff_command() -> Command {
    Command::new("diff")
        .about("List what has changed since the bundle was unpacked: A added, C changed, D deleted")
        .arg(arguments::bundle())
        .arg(arguments::mask())
        .arg(flag("json", "as JSON lines"))
}

pub fn diff(matches: &ArgMatches) -> Result<()> {
    let mut changes = bundle::changes(&path(matches, "bundle").unwrap_or_default())?;
    changes.mask(&arguments::inner_paths(matches, "mask"));
    let is_json = matches.get_flag("json");
    let line = |change: &changes::Change| {
        let path = format!("/{}", change.path.escape_ascii());
        let (letter, word) = match change.kind {
            changes::Kind::Added => ('A', "added"),
            changes::Kind::Changed => ('C', "changed"),
            changes::Kind::Deleted => ('D', "deleted"),
        };
        if is_json {
            format!("{}\n", json!({ "kind": word, "path": path }))
        } else {
            format!("{letter} {path}\n")
        }
    };
    stdout::write(&changes.list.iter().map(line).collect::<String>())
}

pub fn command() -> Command {
    Command::new("repack")
        .about("Make an image of a changed bundle: its image and one more layer")
        .arg(arguments::bundle())
        .arg(Arg::new("destination").value_name("DEST").required(true).help(pull::DESTINATIONS))
        .arg(option(
            "base",
            "SOURCE",
            "where the image is that the bundle was made of [default: where it was]",
        ))
        .arg(
            option("compress", "gzip|zstd|none", "of the new layer [default: as the image's last]")
                .value_parser(["gzip", "zstd", "none"]),
        )
        .arg(arguments::mask())
        .arg(option("created-by", "TEXT", "what the image's history says made the layer"))
        .arg(option("author", "TEXT", "the image's author"))
        .arg(option("comment", "TEXT", "a comment in the image's history"))
        .args(arguments::access())
        .arg(pull::destination_credentials())
        .args(progress::arguments())
        .after_help("SOURCE_DATE_EPOCH in the environment is the time of creation, if it is set.")
}

pub fn run(matches: &ArgMatches) -> Result<()> {
    let destination = Reference::parse(text(matches, "destination").unwrap_or_default())?;
    let access = arguments::access_of(matches)?;
    let bundle = path(matches, "bundle").unwrap_or_default();
    let base = match text(matches, "base") {
        Some(text) => Reference::parse(text)?,
        None => Reference::parse(&bundle::About::read(&bundle)?.reference)?,
    };
    let target = pull::target_of(matches, Some(&base))?;
    let owned = |name: &str| text(matches, name).map(str::to_owned);
    let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
        Err(std::env::VarError::NotUnicode(_)) => {
            return Err(fail!(Kind::Usage, "SOURCE_DATE_EPOCH is not text"));
        }
        epoch => epoch.ok(),
    };
    let options = Options {
        access: &access,
        target: &target,
        watch: progress::of(matches),
        base: text(matches, "base").map(Reference::parse).transpose()?,
        compression: text(matches, "compress").map(|name| match name {
            "zstd" => Compression::Zstd,
            "none" => Compression::Plain,
            _ => Compression::Gzip,
        }),
        masks: arguments::inner_paths(matches, "mask"),
        created: repack::created(epoch.as_deref())?,
        created_by: owned("created-by").unwrap_or_else(|| "tare-image repack".into()),
        author: owned("author"),
        comment: owned("comment"),
    };
    let image = repack::repack(&bundle, &destination, &options)?;
    pull::tell(matches, image.digest())
}
