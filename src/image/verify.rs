//! Checking everything an image holds, without unpacking it: each digest, size and diff id, each document's shape,
//! each layer's archive. Goes on after a fault, so that one run tells all.

use std::io::Read;

use oci_spec::image::{Descriptor, Digest};

use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::archive::path::clean;
use crate::image::archive::{Archive, Entry};
use crate::image::blob::digest::{self, short};
use crate::image::document::manifest::{Document, Image, document, read_image, read_index};
use crate::image::limits::{Limits, Used};
use crate::image::source::{DEPTH, Source};
use crate::image::unpack::layer_stream::LayerStream;
use crate::image::unpack::whiteout::mark;

/// One thing that was checked.
pub struct Finding {
    /// `manifest sha256:…`, `layer 2 of 5 (sha256:…)`.
    pub what: String,
    pub result: Result<()>,
}

/// Checks all that `top` leads to, every platform of it.
pub fn verify(source: &dyn Source, top: &Descriptor, limits: &Limits, tell: &mut dyn FnMut(Finding)) {
    descend(source, top, limits, tell, DEPTH);
}

fn descend(
    source: &dyn Source,
    top: &Descriptor,
    limits: &Limits,
    tell: &mut dyn FnMut(Finding),
    depth: u32,
) {
    let open = |descriptor: &Descriptor| source.blob(descriptor);
    let name = |sort: &str| format!("{sort} {}", top.digest());
    let sort = match document(top.media_type()) {
        Ok(sort) => sort,
        Err(error) => return tell(Finding { what: name("blob"), result: Err(error) }),
    };
    if depth == 0 {
        let error = fail!(Kind::Spec, "more than {DEPTH} indexes name each other");
        return tell(Finding { what: name("index"), result: Err(error) });
    }
    match sort {
        Document::Index => match read_index(&open, top) {
            Ok(index) => {
                tell(Finding { what: name("index"), result: Ok(()) });
                index.manifests().iter().for_each(|below| descend(source, below, limits, tell, depth - 1));
            }
            Err(error) => tell(Finding { what: name("index"), result: Err(error) }),
        },
        Document::Manifest => match read_image(&open, top) {
            Ok(image) => {
                tell(Finding { what: name("manifest"), result: Ok(()) });
                layers(source, &image, limits, tell);
            }
            // Other artifacts (signatures, attestations) may stand in an index beside images.
            Err(error) if error.kind() == Kind::Unsupported && depth < DEPTH => {}
            Err(error) => tell(Finding { what: name("manifest"), result: Err(error) }),
        },
    }
}

fn layers(source: &dyn Source, image: &Image, limits: &Limits, tell: &mut dyn FnMut(Finding)) {
    let used = Used::default();
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
            walk(source.blob(blob)?, blob, &diff_id, limits, &used, &mut |_, _| Ok(()))
        };
        tell(Finding { what, result: check() });
    }
}

/// Reads a layer to its verified end; `each` sees every entry with its clean path.
pub fn walk(
    blob: Box<dyn Read + Send>,
    descriptor: &Descriptor,
    diff_id: &Digest,
    limits: &Limits,
    used: &Used,
    each: &mut dyn FnMut(&Entry, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut archive = Archive::new(LayerStream::open(blob, descriptor, diff_id, limits, used)?);
    let mut entry = Entry::default();
    while archive.next(&mut entry)?.is_some() {
        used.entry(0, limits)?;
        let path = clean(&entry.name);
        let looked = mark(&path).and_then(|_| each(&entry, &path));
        looked.map_err(|e: Error| e.context(entry.name.escape_ascii().to_string()))?;
    }
    archive.into_inner().finish()
}

impl Finding {
    /// The fault with its place, if there is one.
    pub fn fault(self) -> Option<Error> {
        let what = self.what;
        self.result.with_context(|| what).err()
    }
}
