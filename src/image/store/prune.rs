//! Taking away the layers that nothing uses: no bundle that still exists, no process at work.

use std::collections::HashSet;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use super::{ABOUT, Claim, Store, images, session};
use crate::error::{Context, Result};
use crate::image::filesystem::dir::c_string;
use crate::image::filesystem::remove;

/// What was taken away.
#[derive(Debug, Default)]
pub struct Pruned {
    pub layers: Vec<String>,
}

/// Takes away what nothing uses; with `all`, pulled images too that no bundle uses; with `dry`, only tells it.
pub fn prune(store: &Store, all: bool, dry: bool) -> Result<Pruned> {
    // No process can come to want a layer in the meantime; those that want some have said so.
    let _lock = store.lock()?;
    let mut used: HashSet<String> = HashSet::new();
    let living = session::clean(store)?;
    used.extend(
        living.iter().flat_map(|one| &one.wanted).flat_map(|keys| [keys.alone.clone(), keys.chained.clone()]),
    );
    used.extend(claimed(store, &living)?);
    used.extend(images::layers(store, &living, all, dry)?);
    let layers = store.path.join("layers");
    let place = || format!("{}", layers.display());
    let dir = OwnedFd::from(fs::File::open(&layers).with_context(place)?);
    let mut pruned = Pruned::default();
    for entry in fs::read_dir(&layers).with_context(place)? {
        let name = entry.with_context(place)?.file_name();
        if used.contains(&*name.to_string_lossy()) {
            continue;
        }
        if !dry {
            drop_layer(&dir, store, &name).with_context(|| format!("remove layer {}", name.display()))?;
        }
        pruned.layers.push(name.to_string_lossy().into_owned());
    }
    pruned.layers.sort();
    Ok(pruned)
}

/// Out of its place first, so that a kill in between leaves no half layer.
fn drop_layer(layers: &OwnedFd, store: &Store, name: &std::ffi::OsStr) -> Result<()> {
    let tmp = OwnedFd::from(fs::File::open(store.path.join("tmp"))?);
    let name = c_string(name.as_bytes())?;
    nix::fcntl::renameat(layers, name.as_c_str(), &tmp, name.as_c_str())?;
    Ok(remove::tree(tmp.as_fd(), &name)?)
}

/// The layers of bundles; a claim goes whose bundle is gone, and not just being made.
fn claimed(store: &Store, living: &[session::Living]) -> Result<Vec<String>> {
    let bundles = store.path.join("bundles");
    let place = || format!("{}", bundles.display());
    let mut layers = Vec::new();
    for entry in fs::read_dir(&bundles).with_context(place)? {
        let path = entry.with_context(place)?.path();
        let Ok(text) = fs::read(&path) else { continue };
        let claim: Claim =
            crate::image::document::manifest::parse(&text).with_context(|| format!("{}", path.display()))?;
        if claim.bundle.join(ABOUT).exists() || living.iter().any(|one| one.name == claim.session) {
            layers.extend(claim.layers);
        } else {
            super::take_away(&path)?;
        }
    }
    Ok(layers)
}
