//! `Contents`: the documents and blobs that a copy has, of one image or artifact, or of an index with all
//! that it names.

use std::collections::HashSet;

use oci_spec::image::{Descriptor, Digest, ImageManifest};

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::document::manifest::{DocumentKind, Image, document_kind, read_index_bytes, read_manifest};
use crate::image::source::{ImageSource, MAX_INDEX_DEPTH};

/// The largest size of all documents together, in bytes: they are held in memory.
const MAX_DOCUMENT_BYTES: usize = 256 << 20;

/// The contents of a copy.
#[derive(Debug)]
pub(crate) struct Contents {
    /// The descriptor that the destination's tag will point to.
    pub(super) top: Descriptor,
    /// Indexes and manifests, byte for byte as in their blobs, each after the documents that it names: `top`
    /// is the last.
    pub(super) documents: Vec<(Descriptor, Vec<u8>)>,
    /// Configurations, layers and other blobs; each once.
    pub(super) blobs: Vec<Descriptor>,
    /// The image, if a single image is copied; None for an artifact or an index.
    pub(super) image: Option<Image>,
}

impl Contents {
    pub(crate) fn of_image(image: &Image) -> Self {
        let mut found = Collector::default();
        found.add_blobs(&image.manifest);
        let top = image.descriptor.clone();
        let documents = vec![(top.clone(), image.manifest_bytes.clone())];
        Self { top, documents, blobs: found.blobs, image: Some(image.clone()) }
    }

    /// Reads everything that `top` names. An index is copied unchanged, so digests stay.
    ///
    /// # Errors
    /// A document that cannot be read or is of an unknown kind; indexes that name each other too deeply.
    pub(crate) fn read_all(source: &dyn ImageSource, top: &Descriptor) -> Result<Self> {
        let mut found = Collector::default();
        found.add_document(source, top, MAX_INDEX_DEPTH)?;
        Ok(Self { top: top.clone(), documents: found.documents, blobs: found.blobs, image: None })
    }

    pub(crate) fn digest(&self) -> &Digest {
        self.top.digest()
    }
}

#[derive(Default)]
struct Collector {
    documents: Vec<(Descriptor, Vec<u8>)>,
    bytes: usize,
    blobs: Vec<Descriptor>,
    seen_documents: HashSet<Digest>,
    seen_blobs: HashSet<Digest>,
}

impl Collector {
    fn add_document(&mut self, source: &dyn ImageSource, descriptor: &Descriptor, depth: u32) -> Result<()> {
        // A document that an index names several times is read once.
        if !self.seen_documents.insert(descriptor.digest().clone()) {
            return Ok(());
        }
        let open = |descriptor: &Descriptor| source.blob(descriptor);
        let place = || format!("manifest {}", descriptor.digest());
        let bytes = match document_kind(descriptor.media_type()).with_context(place)? {
            DocumentKind::Index if depth == 0 => {
                return Err(fail!(Kind::Spec, "more than {MAX_INDEX_DEPTH} indexes name each other"));
            }
            DocumentKind::Index => {
                let (index, bytes) = read_index_bytes(&open, descriptor)?;
                for below in index.manifests() {
                    self.add_document(source, below, depth - 1)?;
                }
                bytes
            }
            DocumentKind::Manifest => {
                let (manifest, bytes) = read_manifest(&open, descriptor)?;
                self.add_blobs(&manifest);
                bytes
            }
        };
        self.bytes += bytes.len();
        if self.bytes > MAX_DOCUMENT_BYTES {
            return Err(fail!(Kind::Spec, "the manifests have more than {MAX_DOCUMENT_BYTES} bytes"));
        }
        self.documents.push((descriptor.clone(), bytes));
        Ok(())
    }

    /// The configuration and the layers, in their order.
    fn add_blobs(&mut self, manifest: &ImageManifest) {
        for blob in [manifest.config()].into_iter().chain(manifest.layers()) {
            if self.seen_blobs.insert(blob.digest().clone()) {
                self.blobs.push(blob.clone());
            }
        }
    }
}
