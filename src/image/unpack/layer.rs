//! One layer: its blob is verified, decompressed and applied entry by entry, in one pass and bounded memory.

use std::io::Read;

use oci_spec::image::{Descriptor, Digest};

use super::entry;
use super::layer_stream::LayerStream;
use super::single_layer::Alone;
use super::tree::Tree;
use super::whiteout::{Mark, mark};
use crate::error::{Context, Kind, Result};
use crate::image::archive::path::clean;
use crate::image::archive::{Archive, Entry, Input, Type};
use crate::image::limits::{Limits, Used};
use crate::{fail, log};

/// Applies the layer that `blob` reads, and checks its descriptor and diff id at the end.
///
/// Nothing of it may be used before that: the caller throws the tree away on an error.
pub fn apply(
    tree: &mut Tree,
    blob: Box<dyn Read + Send>,
    descriptor: &Descriptor,
    diff_id: &Digest,
    limits: &Limits,
    used: &Used,
) -> Result<()> {
    let stream = LayerStream::open(blob, descriptor, diff_id, limits, used)?;
    // Layers of a store are unpacked side by side, each in its thread already; a small one is not worth another.
    if tree.alone.is_some() || descriptor.size() < AHEAD_FROM || processors() == 1 {
        return entries(tree, Archive::new(stream), limits, used);
    }
    std::thread::scope(|scope| entries(tree, Archive::new(stream.ahead(scope)?), limits, used))
}

/// The smallest blob that is decompressed ahead.
const AHEAD_FROM: u64 = 1 << 20;

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn entries(
    tree: &mut Tree,
    mut archive: Archive<LayerStream<'_>>,
    limits: &Limits,
    used: &Used,
) -> Result<()> {
    let mut next = Entry::default();
    tree.begin_layer();
    while archive.next(&mut next)?.is_some() {
        if next.sparse.is_some() {
            used.bytes(next.size, limits)?;
        }
        one(tree, &mut archive, &mut next).map_err(|e| e.context(next.name.escape_ascii().to_string()))?;
        used.entry(std::mem::take(&mut tree.implied), limits)?;
        tree.relieve().context("set the times of directories")?;
        if tree.alone.as_ref().is_some_and(Alone::is_too_much) {
            return Err(fail!(Kind::Spec, "it takes too much for granted of the layers below"));
        }
    }
    tree.end_layer().context("remove pseudo-links")?;
    archive.into_inner().finish()
}

fn one<R: Input>(tree: &mut Tree, archive: &mut Archive<R>, next: &mut Entry) -> Result<()> {
    let path = clean(&next.name);
    tree.adapter.adapt(next)?;
    match mark(&path)? {
        Mark::None => entry::apply(tree, archive, next, &path),
        // The inode behind hard links, as AUFS kept it: links are made to it, and it goes with the layer's end.
        Mark::Pseudolink if next.kind == Type::Regular => {
            tree.pseudolinks = true;
            entry::apply(tree, archive, next, &path)
        }
        Mark::Reserved | Mark::Pseudolink => {
            log::debug(format_args!("{}: reserved name skipped", path.escape_ascii()));
            Ok(())
        }
        Mark::Opaque { dir } => match tree.marked(dir)? {
            Some(dir) => tree.make_opaque(&dir).context("opaque whiteout"),
            None => Ok(()),
        },
        Mark::Whiteout { dir, name } => match tree.marked(dir)? {
            Some(dir) => {
                tree.white_out(&dir, &crate::image::filesystem::dir::c_string(name)?).context("whiteout")
            }
            None => Ok(()),
        },
    }
}
