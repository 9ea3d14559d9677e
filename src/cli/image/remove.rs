//! `tare-image remove BUNDLE|CONTAINER`.

use std::path::Path;

use clap::{ArgMatches, Command};

use super::arguments::{self, flag};
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::bundle::{self, Bundle};
use crate::image::run::finish;
use crate::image::store::Store;

pub(super) fn command() -> Command {
    Command::new("remove")
        .about("Unmount and remove a bundle, or remove a container of `tare-image run`")
        .arg(flag("force", "end the container first, if it runs").short('f'))
        .arg(arguments::store())
        .arg(
            arguments::bundle()
                .value_name("BUNDLE|CONTAINER")
                .help("the path of a bundle, or the name of a container"),
        )
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let path = arguments::path(matches, "bundle").unwrap_or_default();
    match store_with(matches, &path)? {
        Some((store, name)) => finish::remove_container(&store, &name, matches.get_flag("force")),
        None => bundle::remove(&Bundle::open_to_change(&path)?),
    }
}

/// Whether the word can only be the name of a container: no bundle is there.
pub(super) fn names_container(matches: &ArgMatches) -> bool {
    let path = arguments::path(matches, "bundle").unwrap_or_default();
    path.components().count() == 1 && matches!(path.join("tare-image.json").try_exists(), Ok(false))
}

/// The store that has a container of this name; None if a bundle is meant.
///
/// # Errors
///
/// `Kind::Usage` if there are both.
fn store_with(matches: &ArgMatches, path: &Path) -> Result<Option<(Store, String)>> {
    let Some(name) = path.to_str().filter(|name| !name.contains('/')) else { return Ok(None) };
    let Some(store) = arguments::named_store_of(matches)? else { return Ok(None) };
    if !finish::is_container(&store, name)? {
        return Ok(None);
    }
    let mark = path.join("tare-image.json");
    match mark.try_exists().with_context(|| format!("look for {}", mark.display()))? {
        true => Err(fail!(Kind::Usage, "{name} is a bundle here and a container: which one is meant?")
            .with_hint(format!("the bundle is ./{name}; the container is meant in any other directory"))),
        false => Ok(Some((store, name.to_owned()))),
    }
}
