//! `tare-image inspect SOURCE`: an image's manifest and configuration.

use std::collections::BTreeMap;

use clap::{ArgMatches, Command};
use oci_spec::image::{Descriptor, ImageConfiguration};
use serde_json::{Value, json};

use super::arguments::{self, flag};
use crate::cli::stdout;
use crate::error::{Kind, Result};
use crate::fail;
use crate::image::document::manifest::Image;
use crate::image::source::reference::Reference;
use crate::image::source::{self, ImageSource};

pub(super) fn command() -> Command {
    Command::new("inspect")
        .about("Show an image's manifest and configuration, as JSON")
        .arg(arguments::source())
        .arg(flag("raw", "print the bytes of the manifest"))
        .arg(flag("config", "print the bytes of the configuration").conflicts_with("raw"))
        .arg(arguments::platform())
        .args(arguments::access())
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let (reference, source) = open_source(matches)?;
    let image = arguments::image_of(matches, source.as_ref(), &reference, false)?;
    if matches.get_flag("raw") {
        return stdout::document(&image.manifest_bytes);
    }
    if matches.get_flag("config") {
        return stdout::document(&image.config_bytes);
    }
    let document =
        serde_json::to_string_pretty(&to_json(&reference, &image)).map_err(|e| fail!(Kind::Spec, "{e}"))?;
    stdout::write(&format!("{document}\n"))
}

/// Opens the source that the command line names.
pub(super) fn open_source(matches: &ArgMatches) -> Result<(Reference, Box<dyn ImageSource>)> {
    let reference = arguments::source_of(matches)?;
    let source = source::open(&reference, &arguments::access_of(matches)?)?;
    Ok((reference, source))
}

fn to_json(reference: &Reference, image: &Image) -> Value {
    let (config, manifest) = (&image.config, &image.manifest);
    let layer = |(blob, diff_id): (&Descriptor, &String)| json!({ "mediaType": blob.media_type(), "digest": blob.digest(), "size": blob.size(), "diffId": diff_id });
    let layers: Vec<Value> = manifest.layers().iter().zip(config.rootfs().diff_ids()).map(layer).collect();
    json!({
        "reference": reference.to_string(),
        "digest": image.descriptor.digest(),
        "mediaType": image.descriptor.media_type(),
        "platform": platform_text(config),
        "created": config.created(),
        "size": manifest.layers().iter().map(Descriptor::size).sum::<u64>(),
        "annotations": manifest.annotations().clone().map(|all| all.into_iter().collect::<BTreeMap<_, _>>()),
        "config": serde_json::from_slice::<Value>(&image.config_bytes).unwrap_or_default().get("config"),
        "layers": layers,
    })
}

/// Returns `OS/ARCH[/VARIANT]` of an image.
pub(super) fn platform_text(config: &ImageConfiguration) -> String {
    let variant = config.variant().as_ref().map_or_else(String::new, |variant| format!("/{variant}"));
    format!("{}/{}{variant}", config.os(), config.architecture())
}
