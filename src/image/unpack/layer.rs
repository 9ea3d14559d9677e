//! Applies one layer to the tree: its blob is verified, decompressed and unpacked entry by entry, in one pass
//! and bounded memory.

use std::io::Read;

use oci_spec::image::{Descriptor, Digest};

use super::create_entry;
use super::layer_stream::LayerStream;
use super::single_layer::SingleLayer;
use super::tree::Tree;
use super::whiteout::{EntryMeaning, classify};
use crate::error::{Context, Kind, Result};
use crate::image::archive::path::clean;
use crate::image::archive::{Archive, Entry, EntryKind, Input};
use crate::image::limits::{Limits, Usage};
use crate::inroot::c_string;
use crate::{fail, log};

/// Applies the layer that `blob` reads, and checks its digest, size and diff id at the end.
///
/// # Errors
///
/// Any fault of the blob, the archive or an entry. The tree then holds unverified files, and the caller
/// removes it.
pub(crate) fn apply(
    tree: &mut Tree,
    blob: Box<dyn Read + Send>,
    descriptor: &Descriptor,
    diff_id: &Digest,
    limits: &Limits,
    used: &Usage,
) -> Result<()> {
    let stream = LayerStream::open(blob, descriptor, diff_id, limits, used)?;
    // Layers of a store are already unpacked in parallel, each in its own thread; a small layer is not worth
    // another thread.
    if tree.single_layer.is_some() || descriptor.size() < READ_AHEAD_MIN_BYTES || cpu_count() == 1 {
        return apply_entries(tree, Archive::new(stream), limits, used);
    }
    std::thread::scope(|scope| apply_entries(tree, Archive::new(stream.read_ahead(scope)?), limits, used))
}

/// The smallest blob that is decompressed ahead.
const READ_AHEAD_MIN_BYTES: u64 = 1 << 20;

fn cpu_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn apply_entries(
    tree: &mut Tree,
    mut archive: Archive<LayerStream<'_>>,
    limits: &Limits,
    used: &Usage,
) -> Result<()> {
    let mut next = Entry::default();
    tree.begin_layer();
    while archive.next_entry(&mut next)? {
        if next.sparse.is_some() {
            used.add_bytes(next.size, limits)?;
        }
        apply_entry(tree, &mut archive, &mut next)
            .map_err(|e| e.context(next.name.escape_ascii().to_string()))?;
        used.add_entries(std::mem::take(&mut tree.implied_dirs), limits)?;
        tree.flush_times_if_many().context("set the times of directories")?;
        if tree.single_layer.as_ref().is_some_and(SingleLayer::is_over_limit) {
            return Err(fail!(Kind::Spec, "it takes too much for granted of the layers below"));
        }
    }
    used.add_attributes_left_out(std::mem::take(&mut tree.attributes_left_out));
    tree.end_layer().context("remove pseudo-links")?;
    archive.into_inner().finish()
}

fn apply_entry<R: Input>(tree: &mut Tree, archive: &mut Archive<R>, next: &mut Entry) -> Result<()> {
    let path = clean(&next.name);
    tree.adapter.adapt(next)?;
    match classify(&path)? {
        EntryMeaning::File => create_entry::apply(tree, archive, next, &path),
        // The file behind hard links, as AUFS stored it: links are made to it, and it is removed at the end
        // of the layer.
        EntryMeaning::Pseudolink if next.kind == EntryKind::Regular => {
            tree.has_pseudolinks = true;
            create_entry::apply(tree, archive, next, &path)
        }
        EntryMeaning::Reserved | EntryMeaning::Pseudolink => {
            log::debug(format_args!("{}: reserved name skipped", path.escape_ascii()));
            Ok(())
        }
        EntryMeaning::Opaque { dir } => match tree.whiteout_dir(dir)? {
            Some(dir) => tree.apply_opaque(&dir).context("opaque whiteout"),
            None => Ok(()),
        },
        EntryMeaning::Whiteout { dir: parent, name } => match tree.whiteout_dir(parent)? {
            Some(dir) => {
                let path = [parent, b"/", name].concat();
                let path = path.strip_prefix(b"/").unwrap_or(&path);
                tree.apply_whiteout(&dir, path, &c_string(name)?).context("whiteout")
            }
            None => Ok(()),
        },
    }
}
