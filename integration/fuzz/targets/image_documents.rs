//! Indexes, manifests and configurations of images.

use oci_spec::image::{Descriptor, MediaType};

use crate::image::blob::digest::sha256_of;
use crate::image::document::manifest::{parse_index, read_image};

/// The manifest and the configuration that it names, with the size and digest of both as they are: everything behind
/// the verification is reached.
pub(super) fn image_document(input: &[u8]) {
    let (manifest, config) = super::halves(input);
    let _ = parse_index(manifest, None);
    let named = |kind: MediaType, bytes: &[u8]| Descriptor::new(kind, bytes.len() as u64, sha256_of(bytes));
    let config_of = named(MediaType::ImageConfig, config);
    let manifest = String::from_utf8_lossy(manifest)
        .replace("SIZE", &config.len().to_string())
        .replace("DIGEST", config_of.digest().as_ref())
        .into_bytes();
    let open = |blob: &Descriptor| -> crate::error::Result<Box<dyn std::io::Read + Send>> {
        let bytes = if blob.digest() == config_of.digest() { config } else { &manifest };
        Ok(Box::new(std::io::Cursor::new(bytes.to_vec())))
    };
    if let Ok(image) = read_image(&open, &named(MediaType::ImageManifest, &manifest)) {
        assert_eq!(image.manifest.layers().len(), image.config.rootfs().diff_ids().len());
    }
}
