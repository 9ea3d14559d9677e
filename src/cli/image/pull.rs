//! `tare-image pull SOURCE DEST`.

use clap::{Arg, ArgMatches, Command};
use oci_spec::image::Digest;
use serde_json::json;

use super::{arguments, progress};
use crate::cli::out;
use crate::error::Result;
use crate::image::copy::copy;
use crate::image::reference::Reference;
use crate::image::source;

pub const DESTINATIONS: &str = "oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME]";

pub fn command() -> Command {
    Command::new("pull")
        .about("Copy an image, its digests unchanged, to a layout or an archive")
        .arg(arguments::source())
        .arg(Arg::new("destination").value_name("DEST").required(true).help(DESTINATIONS))
        .arg(arguments::platform())
        .args(arguments::access())
        .args(progress::arguments())
}

pub fn run(matches: &ArgMatches) -> Result<()> {
    let reference = arguments::source_of(matches)?;
    let destination = Reference::parse(arguments::text(matches, "destination").unwrap_or_default())?;
    let source = source::open(&reference, &arguments::access_of(matches)?)?;
    let image = source::image(source.as_ref(), &reference, &arguments::platform_of(matches)?)?;
    copy(source.as_ref(), &image, &destination, &progress::of(matches))?;
    tell(matches, image.descriptor.digest())
}

/// The result: the digest of what is there now.
pub fn tell(matches: &ArgMatches, digest: &Digest) -> Result<()> {
    match (matches.get_flag("json"), matches.get_flag("quiet")) {
        (true, _) => out::write(&format!("{}\n", json!({ "manifest": digest }))),
        (_, true) => Ok(()),
        _ => out::write(&format!("{digest}\n")),
    }
}
