//! An image explained without unpacking it: which layer each path comes from, what layers take away from or lay over
//! each other, what deserves a look (setuid, capabilities, devices), and why config.json will say what it says.

mod defaults;
mod merge;

use std::sync::Arc;

use crate::error::{Context, Result};
use crate::image::archive::Type;
use crate::image::blob::digest::{self, short};
use crate::image::document::manifest::Image;
use crate::image::limits::{Limits, Used};
use crate::image::progress::{Watch, Watched};
use crate::image::source::Source;
use crate::image::verify::walk;

pub use defaults::{Reason, reasons};
use merge::Merging;

/// What stands at a path when all layers are applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// From 0, the lowest.
    pub layer: usize,
    pub kind: Type,
    pub mode: u32,
    pub ids: (u32, u32),
    pub size: u64,
    /// A symlink's target; a hard link's, from the root.
    pub link: Vec<u8>,
    pub is_hard_link: bool,
    pub device: (u32, u32),
    /// The file's capabilities as the kernel stores them.
    pub capability: Option<Vec<u8>>,
    /// The directory has no entry: something was put into it.
    pub is_implied: bool,
}

/// What a layer does to those below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub layer: usize,
    pub path: Vec<u8>,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A whiteout; what it takes away is of these layers, none where there was nothing.
    Removes { layers: Vec<usize>, bytes: u64 },
    /// An opaque directory, likewise.
    Empties { layers: Vec<usize>, bytes: u64 },
    /// Something else stands there now.
    Replaces { layer: usize, bytes: u64 },
    /// A name that is kept for AUFS.
    Skipped,
}

/// One layer in figures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layer {
    pub entries: usize,
    /// Bytes of its files.
    pub bytes: u64,
    /// Of these, what later layers hide.
    pub hidden: u64,
}

#[derive(Debug)]
pub struct Explained {
    pub layers: Vec<Layer>,
    /// In the order of their bytes.
    pub paths: Vec<(Vec<u8>, Origin)>,
    pub events: Vec<Event>,
}

/// Reads all layers, verified as for unpacking.
pub fn explain(
    source: &dyn Source,
    image: &Image,
    limits: &Limits,
    watch: &Arc<dyn Watch>,
) -> Result<Explained> {
    let mut merging = Merging::default();
    let used = Used::default();
    let layers = image.manifest.layers();
    watch.plan(layers);
    for (number, (blob, diff_id)) in layers.iter().zip(image.config.rootfs().diff_ids()).enumerate() {
        let digest = blob.digest();
        let place =
            || format!("layer {} of {} ({}:{})", number + 1, layers.len(), digest.algorithm(), short(digest));
        merging.begin();
        let mut read = || {
            let diff_id = digest::parse(diff_id)?;
            let inner = source.blob(blob)?;
            let bytes = Watched { inner, blob: blob.clone(), watch: Arc::clone(watch) };
            let mut each = |entry: &crate::image::archive::Entry, path: &[u8]| merging.entry(entry, path);
            walk(Box::new(bytes), blob, &diff_id, limits, &used, &mut each)
        };
        read().with_context(place)?;
        watch.done(blob);
    }
    Ok(merging.finish())
}
