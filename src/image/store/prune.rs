//! `prune`: removes the layers that nothing uses, neither a bundle, nor a pulled image, nor a running
//! process.

use std::collections::HashSet;
use std::os::fd::AsFd;

use super::{Store, names, records, session};
use crate::error::{Context, Result};
use crate::image::filesystem::remove;
use crate::inroot::c_string;

/// Removes the layers that nothing uses, and returns their names. With `all`, pulled images are forgotten
/// too, so that only bundles and running processes keep layers. With `dry_run`, nothing is removed.
pub(crate) fn prune(store: &Store, all: bool, dry_run: bool) -> Result<Vec<String>> {
    // Held until the end: sessions begin under this lock, so no session can begin to need a layer that is
    // being removed.
    let _lock = store.dirs.lock()?;
    let used = used_layers(store, all, dry_run)?;
    let mut layers = store.dirs.layers.names()?;
    layers.retain(|name| names::is_layer(name) && !used.contains(name));
    for name in layers.iter().filter(|_| !dry_run) {
        remove_layer(store, name).with_context(|| format!("remove layer {name}"))?;
    }
    Ok(layers)
}

fn used_layers(store: &Store, all: bool, dry_run: bool) -> Result<HashSet<String>> {
    let active = session::remove_dead_sessions(store)?;
    let needed = active.iter().flat_map(|session| &session.needed);
    let mut used: HashSet<String> =
        needed.flat_map(|ids| [ids.diff_id.clone(), ids.chain_id.clone()]).collect();
    used.extend(records::bundle_layers(store, &active, dry_run)?);
    used.extend(records::image_layers(store, &active, all, dry_run)?);
    Ok(used)
}

/// Moves the layer to `STORE/tmp` and removes it there: a kill in between leaves no partial layer in
/// `STORE/layers`.
fn remove_layer(store: &Store, name: &str) -> Result<()> {
    let (tmp, name) = (&store.dirs.tmp, c_string(name.as_bytes())?);
    nix::fcntl::renameat(&store.dirs.layers, name.as_c_str(), tmp, name.as_c_str())?;
    Ok(remove::tree(tmp.as_fd(), &name)?)
}
