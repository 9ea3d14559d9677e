//! Limits the resources that one image may use. An image is untrusted input: without limits it decides how
//! much disk, memory and time unpacking takes.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Kind, Result};
use crate::weak::{Defence, stands};
use crate::{fail, log};

/// The largest manifest or index in bytes (distribution spec, "Pushing Manifests": 4 MiB).
pub(super) const MAX_MANIFEST: u64 = 4 << 20;
/// The largest image configuration in bytes.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;
/// The largest file of settings in bytes: credentials, certificates, registries.conf.
pub(super) const MAX_SETTINGS: u64 = 16 << 20;
/// The most bytes of all pax headers of one archive entry; an xattr alone may hold 64 KiB.
pub(super) const MAX_PAX_HEADER: u64 = 1 << 20;
/// The most extended attributes of one entry; the kernel lists at most 64 KiB of names.
pub(super) const MAX_XATTRS: usize = 1024;
/// The most data ranges of one sparse file.
pub(super) const MAX_SPARSE_RANGES: usize = 1 << 16;
/// The most bytes of the paths that one layer may need of the layers below it (see `unpack::single_layer`).
pub(super) const MAX_MISSING_PATH_BYTES: usize = 64 << 20;
/// The most bytes of memory that the tree of a layer takes before its index is written (see `erofs::tree`):
/// more than a million files.
pub(super) const MAX_INDEX_MEMORY: usize = 256 << 20;
/// The most bytes of the paths of directories whose times are set at the end of unpacking.
pub(super) const MAX_DIRECTORY_TIMES: usize = 4 << 20;
/// The most layers an image may have; the kernel's overlay takes 500.
pub(crate) const MAX_LAYERS: usize = 500;
/// The most volumes an image may have: the kernel makes and removes the mounts of all containers one after the other.
pub(crate) const MAX_VOLUMES: usize = 1000;
/// The largest window of a zstd frame, as a power of two: 128 MiB.
pub(super) const MAX_ZSTD_WINDOW_LOG: u32 = 27;

/// The limits that the command line can raise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of all layers together, decompressed; sparse files count in full.
    pub(crate) size: u64,
    /// Entries of all layers together.
    pub(crate) entries: u64,
    /// Decompressed bytes for one compressed byte, blocks of zeros aside.
    pub(crate) ratio: u64,
    /// The decompressed size below which the ratio of a layer is not checked.
    pub(crate) ratio_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { size: 64 << 30, entries: 8_000_000, ratio: 200, ratio_from: 256 << 20 }
    }
}

impl Limits {
    /// None, for what was unpacked within others before.
    pub(crate) const NONE: Self =
        Self { size: u64::MAX, entries: u64::MAX, ratio: u64::MAX, ratio_from: u64::MAX };
}

/// What an image has used of its limits so far. Layers that are unpacked in parallel share one `Usage`.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    size: AtomicU64,
    entries: AtomicU64,
    attributes_left_out: AtomicU64,
}

impl Usage {
    /// Counts extended attributes that could not be set for want of privileges.
    pub(super) fn add_attributes_left_out(&self, count: u64) {
        self.attributes_left_out.fetch_add(count, Ordering::Relaxed);
    }

    /// Warns of the attributes that are missing from the unpacked image, once for all of them.
    pub(super) fn warn_of_attributes_left_out(&self) {
        match self.attributes_left_out.load(Ordering::Relaxed) {
            0 => {}
            count => log::warn(format_args!(
                "{count} extended attributes are left out, for want of privileges (--debug lists them)"
            )),
        }
    }

    pub(super) fn add_bytes(&self, count: u64, limits: &Limits) -> Result<()> {
        let before = self.size.fetch_add(count.min(u64::MAX >> 2), Ordering::Relaxed);
        if before.saturating_add(count) > limits.size && stands(Defence::Limits) {
            let error = fail!(Kind::Spec, "the image is larger than {} bytes unpacked", limits.size);
            return Err(error.with_hint("raise the limit with --max-size"));
        }
        Ok(())
    }

    /// Counts one entry, and `implied` directories above it that had no entry of their own.
    ///
    /// # Errors
    ///
    /// `Kind::Spec` when the image has more than `limits.entries`.
    pub(super) fn add_entries(&self, implied: u64, limits: &Limits) -> Result<()> {
        let before = self.entries.fetch_add(1 + implied, Ordering::Relaxed);
        if before.saturating_add(1 + implied) > limits.entries && stands(Defence::Limits) {
            let error = fail!(Kind::Spec, "the image has more than {} entries", limits.entries);
            return Err(error.with_hint("raise the limit with --max-entries"));
        }
        Ok(())
    }
}

/// Refuses a layer that looks like a decompression bomb: `packed` compressed bytes have become `unpacked`.
///
/// # Errors
///
/// `Kind::Spec` above `limits.ratio`.
pub(super) fn check_ratio(packed: u64, unpacked: u64, limits: &Limits) -> Result<()> {
    if stands(Defence::Limits) && unpacked > limits.ratio_from && unpacked / packed.max(1) > limits.ratio {
        let error =
            fail!(Kind::Spec, "{packed} bytes have grown to {unpacked}, more than {} times", limits.ratio);
        return Err(error.with_hint("raise the limit with --max-ratio"));
    }
    Ok(())
}
