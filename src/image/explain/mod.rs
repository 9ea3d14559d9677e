//! Explains an image without unpacking it: which layer each path comes from, what layers hide of those below,
//! which files need attention (setuid, capabilities, devices), and why each member of config.json has its
//! value.

mod lookup;
mod merge;
mod reasons;

use std::sync::Arc;

use crate::error::{Context, Result};
use crate::image::archive::EntryKind;
use crate::image::archive::path::split;
use crate::image::blob::digest::{self, short};
use crate::image::document::manifest::Image;
use crate::image::limits::{Limits, Usage};
use crate::image::progress::{Progress, ProgressReader};
use crate::image::source::ImageSource;
use crate::image::unpack::entries::for_each_entry;

use lookup::follow;
pub(crate) use merge::MergedTree;
pub(crate) use reasons::{Reason, reasons};

/// The file at a path when all layers are applied, and the layer it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// From 0, the lowest.
    pub(crate) layer: usize,
    pub(crate) kind: EntryKind,
    pub(crate) mode: u32,
    pub(crate) ids: (u32, u32),
    pub(crate) size: u64,
    /// The target of a symlink as it is written, or of a hard link from the root.
    pub(crate) link: Vec<u8>,
    pub(crate) is_hard_link: bool,
    pub(crate) device: (u32, u32),
    /// The file's capabilities as the kernel stores them.
    pub(crate) capability: Option<Vec<u8>>,
    /// A directory that no layer has an entry for: a path below it implies it.
    pub(crate) is_implied: bool,
}

/// Something that a layer hides of those below it, or that is skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) layer: usize,
    pub(crate) path: Vec<u8>,
    pub(crate) effect: Effect,
}

/// The effect of an entry on the layers below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A whiteout that hides files of these layers; none if there was nothing to hide. `bytes` is their size.
    Removes { layers: Vec<usize>, bytes: u64 },
    /// An opaque whiteout that hides what these layers have in the directory.
    Empties { layers: Vec<usize>, bytes: u64 },
    /// An entry that takes the place of a file of that layer.
    Replaces { layer: usize, bytes: u64 },
    /// An entry with a name that is reserved for AUFS: it is not unpacked.
    Skipped,
}

/// One layer in figures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) entries: usize,
    /// The size of its files.
    pub(crate) bytes: u64,
    /// The part of `size` that layers above hide.
    pub(crate) hidden: u64,
}

#[derive(Debug)]
pub(crate) struct Explained {
    pub(crate) layers: Vec<Layer>,
    /// In the order of the paths' bytes.
    pub(crate) paths: Vec<(Vec<u8>, Origin)>,
    pub(crate) events: Vec<Event>,
}

impl Explained {
    /// The places that a path leads to: with the symlinks of its directories followed, and with its last one
    /// too.
    pub(crate) fn places(&self, path: &[u8]) -> Result<Vec<Vec<u8>>> {
        let find = |path: &[u8]| {
            let at = self.paths.binary_search_by(|(other, _)| other[..].cmp(path)).ok()?;
            Some(&self.paths[at].1)
        };
        let (above, name) = split(path);
        let above = follow(above, &find)?;
        let itself = if above.is_empty() { name.to_vec() } else { [&above, name].join(&b'/') };
        Ok(vec![follow(&itself, &find)?, itself])
    }
}

/// Reads all layers, with the same checks as unpacking, and applies them in memory.
pub(crate) fn explain(
    source: &dyn ImageSource,
    image: &Image,
    limits: &Limits,
    progress: &Arc<dyn Progress>,
) -> Result<Explained> {
    let mut tree = MergedTree::default();
    let used = Usage::default();
    let layers = image.manifest.layers();
    progress.plan(layers);
    for (number, (blob, diff_id)) in layers.iter().zip(image.config.rootfs().diff_ids()).enumerate() {
        let digest = blob.digest();
        let place =
            || format!("layer {} of {} ({}:{})", number + 1, layers.len(), digest.algorithm(), short(digest));
        tree.begin_layer();
        let mut read = || {
            let diff_id = digest::parse(diff_id)?;
            let inner = source.blob(blob)?;
            let bytes = ProgressReader { inner, blob: blob.clone(), progress: Arc::clone(progress) };
            let mut apply = |entry: &crate::image::archive::Entry, path: &[u8]| tree.apply(entry, path);
            for_each_entry(Box::new(bytes), blob, &diff_id, limits, &used, &mut apply)
        };
        read().with_context(place)?;
        progress.done(blob);
    }
    Ok(tree.finish())
}
