//! How much one image may ask for. An image is input from outside: without limits it decides how much disk,
//! memory and time it takes.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Kind, Result};
use crate::fail;

/// The largest manifest or index, as registries hold it (distribution spec: 4 MiB).
pub(super) const MANIFEST: u64 = 4 << 20;
/// The largest image configuration.
pub(crate) const CONFIG: u64 = 8 << 20;
/// Extended headers of one archive entry together; an xattr alone may hold 64 KiB.
pub(super) const PAX_HEADER: u64 = 1 << 20;
/// Extended attributes of one entry; the kernel lists 64 KiB of names.
pub(super) const XATTRS: usize = 1024;
/// Pieces of one sparse file.
pub(super) const SPARSE_RANGES: usize = 1 << 16;
/// Bytes of paths that a layer may leave for the layers below to explain (see `alone`).
pub(super) const MISSING_PATHS: usize = 64 << 20;
/// Bytes of paths of directories whose times are still to be set.
pub(super) const DIRECTORY_TIMES: usize = 4 << 20;
/// The most layers an image may have; the kernel's overlay takes 500.
pub(crate) const LAYERS: usize = 500;
/// The window of a zstd frame, as a power of two: 128 MiB.
pub(super) const ZSTD_WINDOW_LOG: u32 = 27;
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of all layers together, decompressed; sparse files count in full.
    pub(crate) size: u64,
    /// Entries of all layers together.
    pub(crate) entries: u64,
    /// Decompressed bytes for one compressed byte, blocks of zeros aside.
    pub(crate) ratio: u64,
    /// The decompressed size below which the ratio of a layer is not looked at.
    pub(crate) ratio_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { size: 64 << 30, entries: 8_000_000, ratio: 200, ratio_from: 256 << 20 }
    }
}

/// What an image has used of its limits so far; shared by layers that are unpacked side by side.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    size: AtomicU64,
    entries: AtomicU64,
}

impl Usage {
    pub(super) fn add_bytes(&self, count: u64, limits: &Limits) -> Result<()> {
        let before = self.size.fetch_add(count.min(u64::MAX >> 2), Ordering::Relaxed);
        if before.saturating_add(count) > limits.size {
            let error = fail!(Kind::Spec, "the image is larger than {} bytes unpacked", limits.size);
            return Err(error.with_hint("raise the limit with --max-size"));
        }
        Ok(())
    }

    /// One entry, and the directories above it that it had no entries for.
    pub(super) fn add_entries(&self, implied: u64, limits: &Limits) -> Result<()> {
        let before = self.entries.fetch_add(1 + implied, Ordering::Relaxed);
        if before.saturating_add(1 + implied) > limits.entries {
            let error = fail!(Kind::Spec, "the image has more than {} entries", limits.entries);
            return Err(error.with_hint("raise the limit with --max-entries"));
        }
        Ok(())
    }
}

/// Whether a layer that grew from `packed` to `unpacked` bytes looks like a bomb.
pub(super) fn check_ratio(packed: u64, unpacked: u64, limits: &Limits) -> Result<()> {
    if unpacked > limits.ratio_from && unpacked / packed.max(1) > limits.ratio {
        let error =
            fail!(Kind::Spec, "{packed} bytes have grown to {unpacked}, more than {} times", limits.ratio);
        return Err(error.with_hint("raise the limit with --max-ratio"));
    }
    Ok(())
}
