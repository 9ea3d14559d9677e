//! What is in a store, for people who look: nothing is changed.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::sys::stat::FileStat;

use super::listed::{ListedBundle, ListedImage, time_of};
use super::records::{list_bundles, list_images};
use super::trees::has_index;
use super::{ARCHIVE, FILES, INDEX, Store, names};
use crate::error::{Context, Result};
use crate::image::filesystem::directory::Directory;
use crate::image::filesystem::walk::walk;

pub(crate) struct ListedLayer {
    pub(crate) name: String,
    /// The bytes on disk; None if not all of it may be read.
    pub(crate) size: Option<u64>,
    pub(crate) time: SystemTime,
}

pub(crate) struct Listing {
    pub(crate) images: Vec<ListedImage>,
    pub(crate) layers: Vec<ListedLayer>,
    pub(crate) bundles: Vec<ListedBundle>,
}

/// Looks at everything in the store. What another process removes meanwhile is left out.
pub(crate) fn list(store: &Store) -> Result<Listing> {
    let mut layers = Vec::new();
    for name in store.dirs.layers.names()?.into_iter().filter(|name| names::is_layer(name)) {
        let Some(found) = store.dirs.layers.stat_of(&name)? else { continue };
        let size = match size_of(&store.dirs.layers, &name) {
            Err(error) if error.errno() == Some(Errno::EACCES) => None,
            Err(_) if store.dirs.layers.stat_of(&name)?.is_none() => continue,
            size => Some(size.with_context(|| format!("look at layer {name}"))?),
        };
        layers.push(ListedLayer { name, size, time: time_of(&found) });
    }
    Ok(Listing { images: list_images(store)?, layers, bundles: list_bundles(store)? })
}

/// The bytes that the files of a layer take, those of several names once.
fn size_of(layers: &Directory, name: &str) -> Result<u64> {
    let layer = layers.below(name)?;
    if has_index(&layer)? {
        let files = [layer.stat_of(INDEX)?, layer.stat_of(ARCHIVE)?];
        return Ok(files.iter().flatten().map(on_disk).sum());
    }
    let root = layer.below(FILES)?.as_fd().try_clone_to_owned()?;
    let (mut size, mut seen) = (0, HashSet::new());
    walk(&root, &mut |found| {
        if found.stat.st_nlink < 2 || found.is_dir() || seen.insert((found.stat.st_dev, found.stat.st_ino)) {
            size += on_disk(&found.stat);
        }
        Ok(true)
    })?;
    Ok(size)
}

fn on_disk(file: &FileStat) -> u64 {
    u64::try_from(file.st_blocks).unwrap_or_default() * 512
}
