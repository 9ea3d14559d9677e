//! A registry whose documents the store may have: they are named by their digests, so nobody is asked for them twice.

use std::io::Read;
use std::sync::{Mutex, PoisonError};

use oci_spec::image::Descriptor;

use super::Store;
use super::known_image::KnownImage;
use crate::error::Result;
use crate::image::document::manifest::{DocumentKind, document_kind, read_image};
use crate::image::source::ImageSource;
use crate::log;

/// Takes the manifest and the configuration of an image that the store has from there, and everything else, what
/// a tag names above all, from `source`.
pub(crate) struct KnownFirst {
    source: Box<dyn ImageSource>,
    store: Store,
    known: Mutex<Option<KnownImage>>,
}

impl KnownFirst {
    pub(crate) fn new(source: Box<dyn ImageSource>, store: &Store) -> Self {
        Self { source, store: store.clone(), known: Mutex::default() }
    }

    /// Opens the blob in the store, if it is a document that is there.
    fn find(&self, descriptor: &Descriptor) -> Option<Box<dyn Read + Send>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(document_kind(descriptor.media_type()), Ok(DocumentKind::Manifest)) {
            *known = self.look_up(descriptor);
        }
        let known = known.as_ref().filter(|known| known.has(descriptor))?;
        known.blob(descriptor).ok()
    }

    /// The image of this manifest in the store, if its documents are what their digests say.
    fn look_up(&self, manifest: &Descriptor) -> Option<KnownImage> {
        let found = self.store.known_manifest(manifest).and_then(|known| match known {
            Some(known) => read_image(&|blob| known.blob(blob), manifest).map(|_| Some(known)),
            None => Ok(None),
        });
        found.unwrap_or_else(|error| {
            log::debug(format_args!("{}: not taken from the store: {error}", manifest.digest()));
            None
        })
    }
}

impl ImageSource for KnownFirst {
    fn manifests(&self) -> Result<Vec<Descriptor>> {
        self.source.manifests()
    }

    fn tags(&self) -> Result<Option<Vec<String>>> {
        self.source.tags()
    }

    fn repository(&self) -> Option<(&str, &str)> {
        self.source.repository()
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        self.find(descriptor).map_or_else(|| self.source.blob(descriptor), Ok)
    }

    fn blob_from(&self, descriptor: &Descriptor, start: u64) -> Result<Box<dyn Read + Send>> {
        self.source.blob_from(descriptor, start)
    }
}
