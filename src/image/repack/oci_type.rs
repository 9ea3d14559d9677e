//! The OCI media types of layers.

use oci_spec::image::{Descriptor, MediaType};

use crate::error::Result;
use crate::image::blob::compression::Compression;

/// The OCI media type of a layer.
pub(super) fn oci_type(blob: &Descriptor) -> Result<MediaType> {
    Ok(match blob.media_type() {
        MediaType::Other(_) => match Compression::from_descriptor(blob)? {
            Compression::Plain => MediaType::ImageLayer,
            Compression::Gzip => MediaType::ImageLayerGzip,
            Compression::Zstd => MediaType::ImageLayerZstd,
        },
        known => known.clone(),
    })
}
