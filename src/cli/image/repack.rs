//! `tare-image repack BUNDLE DEST`.

use clap::{Arg, ArgMatches, Command};

use super::arguments::{self, flag, option, path, text};
use super::{progress, pull};
use crate::error::{Kind, Result};
use crate::fail;
use crate::image::bundle::Bundle;
use crate::image::repack::{self, RepackOptions};
use crate::image::source::reference::Reference;

pub(super) fn command() -> Command {
    Command::new("repack")
        .about("Make an image of a changed bundle: the image it was unpacked from, with one more layer")
        .arg(arguments::bundle())
        .arg(Arg::new("destination").value_name("DEST").required(true).help(pull::DESTINATIONS))
        .arg(option(
            "base",
            "SOURCE",
            "where to find the image that the bundle was unpacked from [default: where it was then]",
        ))
        .arg(
            flag(
                "from-store",
                "take the image's layers from the bundle's store, and not from where the image came",
            )
            .conflicts_with("base"),
        )
        .arg(
            option(
                "compress",
                "gzip|zstd|none",
                "compression of the new layer [default: that of the image's topmost layer]",
            )
            .value_parser(["gzip", "zstd", "none"]),
        )
        .arg(arguments::mask())
        .arg(option("created-by", "TEXT", "`created_by` of the new layer in the image's history"))
        .arg(option("author", "TEXT", "the image's author"))
        .arg(option("comment", "TEXT", "a comment in the image's history"))
        .args(arguments::access())
        .arg(pull::destination_credentials())
        .args(progress::arguments())
        .after_help("The environment variable SOURCE_DATE_EPOCH (seconds) sets the time of creation.")
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let destination = Reference::parse(text(matches, "destination").unwrap_or_default())?;
    let access = arguments::access_of(matches)?;
    let bundle = Bundle::open(&path(matches, "bundle").unwrap_or_default())?;
    let base = match text(matches, "base") {
        Some(text) => Reference::parse(text)?,
        None => Reference::parse(&bundle.info().reference)?,
    };
    let target = pull::target_of(matches, Some(&base))?;
    let owned = |name: &str| text(matches, name).map(str::to_owned);
    let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
        Err(std::env::VarError::NotUnicode(_)) => {
            return Err(fail!(Kind::Usage, "SOURCE_DATE_EPOCH is not text"));
        }
        epoch => epoch.ok(),
    };
    let options = RepackOptions {
        base_access: &access,
        target: &target,
        progress: progress::progress_of(matches),
        base: text(matches, "base").map(Reference::parse).transpose()?,
        from_store: matches.get_flag("from-store"),
        compression: pull::compression_of(matches),
        excluded_paths: arguments::inner_paths(matches, "mask"),
        created: repack::created(epoch.as_deref())?,
        created_by: owned("created-by").unwrap_or_else(|| "tare-image repack".into()),
        author: owned("author"),
        comment: owned("comment"),
    };
    let image = repack::repack(&bundle, &destination, &options)?;
    pull::print_digest(matches, image.digest())
}
