//! `tare-image rm IMAGE`: removes a name from a layout or the store.

use std::path::Path;

use clap::{ArgMatches, Command};

use super::arguments::{self, text};
use super::tag::{Place, first_with, image, place_of};
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::copy::names;
use crate::image::source::reference::Selector;

pub(super) fn command() -> Command {
    Command::new("rm")
        .about("Remove the name of an image from a layout or the store")
        .after_help(
            "Nothing but the name goes. `prune` removes the layers of the store that nothing uses then; the blobs of a \
             layout stay, and `umoci gc --layout DIR` removes those. `remove` removes a bundle.",
        )
        .arg(image())
        .arg(arguments::store())
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let image = text(matches, "image").unwrap_or_default();
    let remove = || match place_of(matches)? {
        Place::Layout { select: Selector::Only, .. } => {
            Err(fail!(Kind::Usage, "it names no image in the layout")
                .with_hint(format!("name one: {image}:TAG")))
        }
        Place::Layout { path, select } => names::remove(&path, &select),
        Place::Stores(stores, reference) => first_with(&stores, |store| store.forget_image(&reference)),
    };
    remove().map_err(|error: Error| with_bundle_hint(error, image)).with_context(|| format!("remove {image}"))
}

/// Somebody may have meant the other command.
fn with_bundle_hint(error: Error, image: &str) -> Error {
    match Path::new(image).join("tare-image.json").exists() {
        true => error.with_hint(format!("a bundle is removed by: tare-image remove {image}")),
        false => error,
    }
}
