//! Checks an image without unpacking it: each digest, size and diff id, each document, each layer's archive. It goes on
//! after a fault, so that one run reports all.

use std::io::Read;

use oci_spec::image::{Descriptor, Digest};

use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::archive::path::clean;
use crate::image::archive::{Archive, Entry};
use crate::image::blob::digest::{self, short};
use crate::image::document::manifest::{DocumentKind, Image, document_kind, read_image, read_index};
use crate::image::limits::{Limits, Usage};
use crate::image::source::{MAX_INDEX_DEPTH, Source};
use crate::image::unpack::layer_stream::LayerStream;
use crate::image::unpack::whiteout::classify;

/// The result of one check.
pub(crate) struct Finding {
    /// `manifest sha256:…`, `layer 2 of 5 (sha256:…)`.
    pub(crate) what: String,
    pub(crate) result: Result<()>,
}

/// Checks everything that `top` leads to, for every platform, and calls `report` for each document and layer.
pub(crate) fn verify(
    source: &dyn Source,
    top: &Descriptor,
    limits: &Limits,
    report: &mut dyn FnMut(Finding),
) {
    check(source, top, limits, report, MAX_INDEX_DEPTH);
}

/// Checks the index or manifest `top`. `depth` is how many more indexes may name each other.
fn check(
    source: &dyn Source,
    top: &Descriptor,
    limits: &Limits,
    report: &mut dyn FnMut(Finding),
    depth: u32,
) {
    let open = |descriptor: &Descriptor| source.blob(descriptor);
    let name = |kind: &str| format!("{kind} {}", top.digest());
    let kind = match document_kind(top.media_type()) {
        Ok(kind) => kind,
        Err(error) => return report(Finding { what: name("blob"), result: Err(error) }),
    };
    if depth == 0 {
        let error = fail!(Kind::Spec, "more than {MAX_INDEX_DEPTH} indexes name each other");
        return report(Finding { what: name("index"), result: Err(error) });
    }
    match kind {
        DocumentKind::Index => match read_index(&open, top) {
            Ok(index) => {
                report(Finding { what: name("index"), result: Ok(()) });
                index.manifests().iter().for_each(|below| check(source, below, limits, report, depth - 1));
            }
            Err(error) => report(Finding { what: name("index"), result: Err(error) }),
        },
        DocumentKind::Manifest => match read_image(&open, top) {
            Ok(image) => {
                report(Finding { what: name("manifest"), result: Ok(()) });
                check_layers(source, &image, limits, report);
            }
            // Other artifacts (signatures, attestations) may stand in an index beside images.
            Err(error) if error.kind() == Kind::Unsupported && depth < MAX_INDEX_DEPTH => {}
            Err(error) => report(Finding { what: name("manifest"), result: Err(error) }),
        },
    }
}

fn check_layers(source: &dyn Source, image: &Image, limits: &Limits, report: &mut dyn FnMut(Finding)) {
    let used = Usage::default();
    let all = image.manifest.layers();
    for (number, (blob, diff_id)) in all.iter().zip(image.config.rootfs().diff_ids()).enumerate() {
        let what = format!(
            "layer {} of {} ({}:{})",
            number + 1,
            all.len(),
            blob.digest().algorithm(),
            short(blob.digest())
        );
        let check = || {
            let diff_id = digest::parse(diff_id)?;
            for_each_entry(source.blob(blob)?, blob, &diff_id, limits, &used, &mut |_, _| Ok(()))
        };
        report(Finding { what, result: check() });
    }
}

/// Reads a layer to its verified end, and calls `visit` with every entry and its clean path.
///
/// # Errors
///
/// What is wrong with the blob or the archive, and what `visit` returns.
pub(super) fn for_each_entry(
    blob: Box<dyn Read + Send>,
    descriptor: &Descriptor,
    diff_id: &Digest,
    limits: &Limits,
    used: &Usage,
    visit: &mut dyn FnMut(&Entry, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut archive = Archive::new(LayerStream::open(blob, descriptor, diff_id, limits, used)?);
    let mut entry = Entry::default();
    while archive.next_entry(&mut entry)? {
        used.add_entries(0, limits)?;
        let path = clean(&entry.name);
        let visited = classify(&path).and_then(|_| visit(&entry, &path));
        visited.map_err(|e: Error| e.context(entry.name.escape_ascii().to_string()))?;
    }
    archive.into_inner().finish()
}

impl Finding {
    /// The error with what it is about; None where the check passed.
    pub(crate) fn fault(self) -> Option<Error> {
        let what = self.what;
        self.result.with_context(|| what).err()
    }
}
