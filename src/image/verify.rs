//! Checks an image without unpacking it: each digest, size and diff id, each document, each layer's archive.
//! Checking continues after a fault, so that one run reports all faults.

use std::collections::HashSet;

use oci_spec::image::{Descriptor, Digest};

use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::archive::Entry;
use crate::image::blob::digest::{self, VerifyingReader, short};
use crate::image::document::manifest::{
    DocumentKind, Image, artifact_type, document_kind, read_image, read_index, read_manifest,
};
use crate::image::explain::MergedTree;
use crate::image::io_error::from_io_error;
use crate::image::limits::{Limits, Usage};
use crate::image::source::{ImageSource, MAX_INDEX_DEPTH};
use crate::image::unpack::entries::for_each_entry;

/// The result of one check.
pub(crate) struct Finding {
    /// `manifest sha256:…`, `layer 2 of 5 (sha256:…)`.
    pub(crate) what: String,
    pub(crate) result: Result<()>,
}

/// Checks everything that `top` leads to, for every platform, and calls `report` for each document and layer.
pub(crate) fn verify(
    source: &dyn ImageSource,
    top: &Descriptor,
    limits: &Limits,
    report: &mut dyn FnMut(Finding),
) {
    check(source, top, limits, report, MAX_INDEX_DEPTH, &mut HashSet::new());
}

/// Checks the index or manifest `top`. `depth` is how many more indexes may name each other; documents in
/// `seen` are checked already: without this, a few indexes that name each other a thousand times would take
/// forever.
fn check(
    source: &dyn ImageSource,
    top: &Descriptor,
    limits: &Limits,
    report: &mut dyn FnMut(Finding),
    depth: u32,
    seen: &mut HashSet<Digest>,
) {
    if !seen.insert(top.digest().clone()) {
        return;
    }
    let open = |descriptor: &Descriptor| source.blob(descriptor);
    let name = |kind: &str| format!("{kind} {}", top.digest());
    let Ok(kind) = document_kind(top.media_type()) else {
        // Indexes may name what only others understand: it is verified by its digest.
        return report(Finding { what: name("blob"), result: check_blob(source, top) });
    };
    if depth == 0 {
        let error = fail!(Kind::Spec, "more than {MAX_INDEX_DEPTH} indexes name each other");
        return report(Finding { what: name("index"), result: Err(error) });
    }
    match kind {
        DocumentKind::Index => match read_index(&open, top) {
            Ok(index) => {
                report(Finding { what: name("index"), result: Ok(()) });
                index
                    .manifests()
                    .iter()
                    .for_each(|below| check(source, below, limits, report, depth - 1, seen));
            }
            Err(error) => report(Finding { what: name("index"), result: Err(error) }),
        },
        DocumentKind::Manifest => check_manifest(source, top, limits, report),
    }
}

/// Checks an image with its layers. Signatures, attestations and other artifacts have no layers to look into:
/// their blobs are checked by size and digest.
fn check_manifest(
    source: &dyn ImageSource,
    top: &Descriptor,
    limits: &Limits,
    report: &mut dyn FnMut(Finding),
) {
    let open = |descriptor: &Descriptor| source.blob(descriptor);
    let manifest = read_manifest(&open, top);
    if let Ok((manifest, _)) = &manifest
        && let Some(kind) = artifact_type(manifest)
    {
        report(Finding { what: format!("artifact {} ({kind})", top.digest()), result: Ok(()) });
        for blob in [manifest.config()].into_iter().chain(manifest.layers()) {
            report(Finding { what: format!("blob {}", blob.digest()), result: check_blob(source, blob) });
        }
        return;
    }
    let what = format!("manifest {}", top.digest());
    match manifest.and_then(|_| read_image(&open, top)) {
        Ok(image) => {
            report(Finding { what, result: Ok(()) });
            check_layers(source, &image, limits, report);
        }
        Err(error) => report(Finding { what, result: Err(error) }),
    }
}

fn check_blob(source: &dyn ImageSource, blob: &Descriptor) -> Result<()> {
    let mut verified = VerifyingReader::new(source.blob(blob)?, blob)?;
    std::io::copy(&mut verified, &mut std::io::sink()).map(drop).map_err(from_io_error)
}

fn check_layers(source: &dyn ImageSource, image: &Image, limits: &Limits, report: &mut dyn FnMut(Finding)) {
    let used = Usage::default();
    let all = image.manifest.layers();
    // The merged tree of the layers: a hard link is valid only if its target is there. `None` after a bad
    // layer.
    let mut tree = Some(MergedTree::default());
    for (number, (blob, diff_id)) in all.iter().zip(image.config.rootfs().diff_ids()).enumerate() {
        let what = format!(
            "layer {} of {} ({}:{})",
            number + 1,
            all.len(),
            blob.digest().algorithm(),
            short(blob.digest())
        );
        tree.iter_mut().for_each(MergedTree::begin_layer);
        let mut check = || {
            let diff_id = digest::parse(diff_id)?;
            let mut apply = |entry: &Entry, path: &[u8]| match &mut tree {
                Some(tree) => tree.apply(entry, path),
                None => Ok(()),
            };
            for_each_entry(source.blob(blob)?, blob, &diff_id, limits, &used, &mut apply)
        };
        let result = check();
        if result.is_err() {
            tree = None;
        }
        report(Finding { what, result });
    }
}

impl Finding {
    /// Returns the error with the name of the checked object; None if the check passed.
    pub(crate) fn fault(self) -> Option<Error> {
        let what = self.what;
        self.result.with_context(|| what).err()
    }
}
