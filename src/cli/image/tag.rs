//! `tare-image tag IMAGE NAME`: a further name for an image in a layout or in the store.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};

use super::arguments::{self, text};
use crate::error::{Context, Kind, Result};
use crate::image::copy::names;
use crate::image::source::reference::{Reference, Selector};
use crate::image::store::Store;
use crate::{fail, log};

pub(super) fn command() -> Command {
    Command::new("tag")
        .about("Give an image in a layout or in the store a further name")
        .arg(image())
        .arg(
            Arg::new("name")
                .value_name("NAME")
                .required(true)
                .help("the further name; another image loses it"),
        )
        .arg(arguments::store())
}

pub(super) fn image() -> Arg {
    Arg::new("image").value_name("IMAGE").required(true).help(
        "oci:DIR:TAG or oci:DIR@DIGEST in a layout; with --store, or in any other form, a name in the store",
    )
}

/// Where a name of an image is.
pub(super) enum Place {
    Layout {
        path: PathBuf,
        select: Selector,
    },
    /// In one of these stores, under this reference.
    Stores(Vec<Store>, String),
}

/// Finds out what IMAGE means: a layout only where no store is named.
pub(super) fn place_of(matches: &ArgMatches) -> Result<Place> {
    let image = text(matches, "image").unwrap_or_default();
    match Reference::parse(image) {
        Ok(Reference::Layout { path, select }) if arguments::path(matches, "store").is_none() => {
            Ok(Place::Layout { path, select })
        }
        Err(error) if is_reference(image) => Err(error),
        _ => Ok(Place::Stores(arguments::existing_stores_of(matches)?, name_in_store(image)?)),
    }
}

/// Whether a text begins as a reference, and so is no plain name.
fn is_reference(text: &str) -> bool {
    let forms = ["oci:", "oci-archive:", "docker-archive:", "docker:"];
    forms.iter().any(|form| text.starts_with(form))
}

/// The name under which the store has an image: the reference that it was pulled by, with an absolute path,
/// or the plain name that `tag` gave it.
fn name_in_store(text: &str) -> Result<String> {
    match is_reference(text) {
        true => Ok(Reference::parse(text)?.absolute()?.to_string()),
        false => names::check_name(text).map(|()| text.to_owned()),
    }
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let image = text(matches, "image").unwrap_or_default();
    let name = text(matches, "name").unwrap_or_default();
    let tag = || match place_of(matches)? {
        Place::Layout { path, select } => tag_in_layout(&path, &select, name),
        Place::Stores(stores, reference) => {
            let name = name_in_store(name)?;
            first_with(&stores, |store| store.tag_image(&reference, &name))
        }
    };
    tag().with_context(|| format!("tag {image}"))
}

fn tag_in_layout(path: &Path, select: &Selector, name: &str) -> Result<()> {
    let name = names::parse_name(path, name)?;
    if let Some(digest) = names::add(path, select, &name)? {
        log::plain(format_args!("{name} was the name of {digest}, which does not have it any more"));
    }
    Ok(())
}

/// Does something in the first store that has the image.
pub(super) fn first_with(stores: &[Store], act: impl Fn(&Store) -> Result<()>) -> Result<()> {
    let mut done = Err(fail!(Kind::NotFound, "there is no store"));
    for store in stores {
        done = act(store);
        if done.as_ref().is_ok() || done.as_ref().is_err_and(|error| error.kind() != Kind::NotFound) {
            break;
        }
    }
    done
}
