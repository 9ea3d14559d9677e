//! Applies one layer to the tree: its blob is verified, decompressed and unpacked entry by entry, in one pass
//! and bounded memory.

use std::fs::File;
use std::io::Read;

use oci_spec::image::{Descriptor, Digest};

use super::create_entry;
use super::entry_adapter::EntryAdapter;
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

/// What the entries of a layer are applied to: a tree of files, or one in memory that an index is made of.
pub(crate) trait LayerTarget {
    /// Begins a layer.
    fn begin_layer(&mut self) {}
    /// What changes entries before they are applied.
    fn adapter(&self) -> &EntryAdapter;
    /// Applies an entry that is a file; the clean path of its name is `path`, and its data is the archive's.
    /// `is_pseudolink`: it is only there for hard links, and is removed at the end of the layer.
    fn apply_file<R: Input>(
        &mut self,
        archive: &mut Archive<R>,
        entry: &Entry,
        path: &[u8],
        is_pseudolink: bool,
    ) -> Result<()>;
    /// Hides what lower layers have in the directory `dir`.
    fn apply_opaque(&mut self, dir: &[u8]) -> Result<()>;
    /// Hides what lower layers have under `name` in the directory `dir`.
    fn apply_whiteout(&mut self, dir: &[u8], name: &[u8]) -> Result<()>;
    /// Is called after each entry; returns how many directories it has made that have no entry.
    fn end_entry(&mut self) -> Result<u64>;
    /// Ends the layer.
    fn end_layer(&mut self) -> Result<()>;
    /// How many attributes could not be set since the last call.
    fn take_attributes_left_out(&mut self) -> u64 {
        0
    }
    /// Whether the calls take time that another thread may use to decompress.
    fn is_slow(&self) -> bool {
        false
    }
}

/// Applies the layer that `blob` reads, and checks its digest, size and diff id at the end.
///
/// # Errors
///
/// Any fault of the blob, the archive or an entry. The target then holds unverified files, and the caller
/// removes it.
pub(crate) fn apply(
    target: &mut impl LayerTarget,
    blob: Box<dyn Read + Send>,
    descriptor: &Descriptor,
    diff_id: &Digest,
    limits: &Limits,
    used: &Usage,
) -> Result<()> {
    let stream = LayerStream::open(blob, descriptor, diff_id, limits, used)?;
    // Layers of a store are already unpacked in parallel, each in its own thread; a small layer is not worth
    // another thread.
    if !target.is_slow() || descriptor.size() < READ_AHEAD_MIN_BYTES || cpu_count() == 1 {
        return apply_entries(target, Archive::new(stream), limits, used);
    }
    std::thread::scope(|scope| apply_entries(target, Archive::new(stream.read_ahead(scope)?), limits, used))
}

/// Applies a layer like [`apply`], and keeps its archive, decompressed, in the empty file `copy`.
pub(crate) fn apply_and_keep(
    target: &mut impl LayerTarget,
    blob: Box<dyn Read + Send>,
    descriptor: &Descriptor,
    diff_id: &Digest,
    (limits, used): (&Limits, &Usage),
    copy: File,
) -> Result<()> {
    let stream = LayerStream::open(blob, descriptor, diff_id, limits, used)?.keep(copy);
    apply_entries(target, Archive::new(stream), limits, used)
}

/// The smallest blob that is decompressed ahead.
const READ_AHEAD_MIN_BYTES: u64 = 1 << 20;

fn cpu_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn apply_entries(
    target: &mut impl LayerTarget,
    mut archive: Archive<LayerStream<'_>>,
    limits: &Limits,
    used: &Usage,
) -> Result<()> {
    let mut next = Entry::default();
    target.begin_layer();
    while archive.next_entry(&mut next)? {
        if next.sparse.is_some() {
            used.add_bytes(next.size, limits)?;
        }
        apply_entry(target, &mut archive, &mut next)
            .map_err(|e| e.context(next.name.escape_ascii().to_string()))?;
        let implied = target.end_entry()?;
        used.add_entries(implied, limits)?;
    }
    used.add_attributes_left_out(target.take_attributes_left_out());
    target.end_layer()?;
    archive.into_inner().finish()
}

fn apply_entry<R: Input>(
    target: &mut impl LayerTarget,
    archive: &mut Archive<R>,
    next: &mut Entry,
) -> Result<()> {
    let path = clean(&next.name);
    target.adapter().adapt(next)?;
    match classify(&path)? {
        EntryMeaning::File => target.apply_file(archive, next, &path, false),
        // The file behind hard links, as AUFS stored it: links are made to it, and it is removed at the end
        // of the layer.
        EntryMeaning::Pseudolink if next.kind == EntryKind::Regular => {
            target.apply_file(archive, next, &path, true)
        }
        EntryMeaning::Reserved | EntryMeaning::Pseudolink => {
            log::debug(format_args!("{}: reserved name skipped", path.escape_ascii()));
            Ok(())
        }
        EntryMeaning::Opaque { dir } => target.apply_opaque(dir),
        EntryMeaning::Whiteout { dir, name } => target.apply_whiteout(dir, name),
    }
}

impl LayerTarget for Tree {
    fn begin_layer(&mut self) {
        Tree::begin_layer(self);
    }

    fn adapter(&self) -> &EntryAdapter {
        &self.adapter
    }

    fn apply_file<R: Input>(
        &mut self,
        archive: &mut Archive<R>,
        entry: &Entry,
        path: &[u8],
        is_pseudolink: bool,
    ) -> Result<()> {
        self.has_pseudolinks |= is_pseudolink;
        create_entry::apply(self, archive, entry, path)
    }

    fn apply_opaque(&mut self, dir: &[u8]) -> Result<()> {
        match self.whiteout_dir(dir)? {
            Some(dir) => Tree::apply_opaque(self, &dir).context("opaque whiteout"),
            None => Ok(()),
        }
    }

    fn apply_whiteout(&mut self, parent: &[u8], name: &[u8]) -> Result<()> {
        let Some(dir) = self.whiteout_dir(parent)? else { return Ok(()) };
        let path = [parent, b"/", name].concat();
        let path = path.strip_prefix(b"/").unwrap_or(&path);
        Tree::apply_whiteout(self, &dir, path, &c_string(name)?).context("whiteout")
    }

    fn end_entry(&mut self) -> Result<u64> {
        self.flush_times_if_many().context("set the times of directories")?;
        if self.single_layer.as_ref().is_some_and(SingleLayer::is_over_limit) {
            return Err(fail!(Kind::Spec, "it takes too much for granted of the layers below"));
        }
        Ok(std::mem::take(&mut self.implied_dirs))
    }

    fn end_layer(&mut self) -> Result<()> {
        Tree::end_layer(self).context("remove pseudo-links")
    }

    fn take_attributes_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.attributes_left_out)
    }

    fn is_slow(&self) -> bool {
        self.single_layer.is_none()
    }
}
