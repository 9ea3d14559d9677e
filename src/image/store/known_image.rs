//! `KnownImage`: an image that was pulled to the store, so that a container is made from it without its source.

use std::io::{Cursor, Read};

use oci_spec::image::{Descriptor, ImageManifest};
use serde::{Deserialize, Serialize};

use crate::error::{Kind, Result};
use crate::fail;
use crate::image::document::manifest::{self, Image};
use crate::image::source::ImageSource;

/// The most bytes of documents that the record of a pulled image keeps.
pub(super) const MAX_DOCUMENTS: usize = 256 << 10;
/// The same for that of a bundle, of which an image may have many.
pub(super) const MAX_DOCUMENTS_OF_BUNDLE: usize = 32 << 10;

/// The documents of an image, byte for byte: their digests are verified whenever they are read.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Documents {
    manifest: String,
    config: String,
}

impl Documents {
    /// The documents of `image`; None if they have more bytes than `most`, or are no text.
    pub(super) fn of(image: &Image, most: usize) -> Option<Self> {
        let size = image.manifest_bytes.len() + image.config_bytes.len();
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        (size <= most).then_some(())?;
        Some(Self { manifest: text(&image.manifest_bytes)?, config: text(&image.config_bytes)? })
    }
}

/// A source with the documents of one image, and without its layers, which are in the store.
#[derive(Debug)]
pub(crate) struct KnownImage {
    pub(super) manifest: Descriptor,
    pub(super) documents: Documents,
}

impl KnownImage {
    /// Whether the blob is one of the two documents.
    pub(super) fn has(&self, blob: &Descriptor) -> bool {
        let is_config = || {
            let manifest = manifest::parse_json::<ImageManifest>(self.documents.manifest.as_bytes());
            manifest.is_ok_and(|manifest| manifest.config() == blob)
        };
        blob.digest() == self.manifest.digest() || is_config()
    }

    /// The descriptor of the image's manifest.
    pub(crate) fn manifest(&self) -> &Descriptor {
        &self.manifest
    }
}

impl ImageSource for KnownImage {
    fn manifests(&self) -> Result<Vec<Descriptor>> {
        Ok(vec![self.manifest.clone()])
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        let is_manifest = descriptor.digest() == self.manifest.digest();
        let documents = [(is_manifest, &self.documents.manifest), (!is_manifest, &self.documents.config)];
        let of_size = |text: &&String| text.len() as u64 == descriptor.size();
        let found = documents.into_iter().filter(|(is_it, _)| *is_it).map(|(_, text)| text).find(of_size);
        match found {
            Some(text) => Ok(Box::new(Cursor::new(text.clone().into_bytes()))),
            None => Err(fail!(
                Kind::NotFound,
                "blob {}: it was removed from the store meanwhile",
                descriptor.digest()
            )
            .with_hint("--pull always gets it again")),
        }
    }
}
