//! `GivenOut`: an image of a store as a source like any other. The store keeps the layers' archives, and not the
//! blobs that they came in. A layer that was not compressed is given out as it came. One that was is compressed
//! again, as its media type says; if that gives the same bytes, it has its first digest. Otherwise it is given out
//! as its archive, whose digest is the diff id, or compressed if that is asked for, and the image gets a manifest
//! that says so. The configuration stays in any case, and with it what engines call the id of the image.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use oci_spec::image::{Descriptor, Digest, MediaType};
use serde_json::{Value, json};

use super::blob::LayerBlob;
use super::oci_type::oci_type;
use crate::error::{Context, Kind, Result};
use crate::image::blob::compression::Compression;
use crate::image::blob::digest;
use crate::image::document::manifest::{self, Image};
use crate::image::source::ImageSource;
use crate::image::source::indexed_tar::RangeReader;
use crate::image::store::KeptImage;
use crate::{fail, log};

/// The image. While it lives the store keeps its layers.
#[derive(Debug)]
pub(crate) struct GivenOut {
    descriptor: Descriptor,
    documents: HashMap<Digest, Vec<u8>>,
    /// The files of the layers, by their digests.
    layers: HashMap<Digest, Arc<File>>,
    _kept: KeptImage,
}

impl GivenOut {
    /// Prepares the layers of an image. `compression` is that of layers whose first digest cannot be had; None
    /// leaves them uncompressed.
    pub(crate) fn new(kept: KeptImage, compression: Option<Compression>) -> Result<Self> {
        let (image, count) = (&kept.image, kept.archives.len());
        let mut given = Vec::new();
        for (number, archive) in kept.archives.iter().enumerate() {
            let (blob, diff_id) =
                (&image.manifest.layers()[number], &image.config.rootfs().diff_ids()[number]);
            let place = || format!("layer {} of {count}", number + 1);
            let layer = Layer { blob, diff_id: digest::parse(diff_id)?, archive };
            given.push(layer.give_out(kept.work(), compression).with_context(place)?);
        }
        let is_first =
            given.iter().zip(image.manifest.layers()).all(|((now, _), blob)| now.digest() == blob.digest());
        let config = image.manifest.config().digest().clone();
        let mut documents = HashMap::from([(config, image.config_bytes.clone())]);
        let (descriptor, bytes) = match is_first {
            true => (image.descriptor.clone(), image.manifest_bytes.clone()),
            false => {
                let bytes = new_manifest(image, given.iter().map(|(now, _)| now))?.to_string().into_bytes();
                let digest = digest::sha256_of(&bytes);
                (Descriptor::new(MediaType::ImageManifest, bytes.len() as u64, digest), bytes)
            }
        };
        documents.insert(descriptor.digest().clone(), bytes);
        let layers = given.into_iter().map(|(now, file)| (now.digest().clone(), file)).collect();
        Ok(Self { descriptor, documents, layers, _kept: kept })
    }

    /// The descriptor of the image's manifest: the first one, if all layers have their first digests.
    pub(crate) fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }
}

/// A layer of the store that is to be given out.
struct Layer<'a> {
    /// As it came.
    blob: &'a Descriptor,
    diff_id: Digest,
    archive: &'a Arc<File>,
}

impl Layer<'_> {
    /// What is given out, and the file with its bytes.
    fn give_out(&self, work: &Path, wanted: Option<Compression>) -> Result<(Descriptor, Arc<File>)> {
        let came = Compression::from_descriptor(self.blob)?;
        if came == Compression::Plain {
            return Ok((self.blob.clone(), Arc::clone(self.archive)));
        }
        let again = self.compress(work, came)?;
        if again.descriptor.digest() == self.blob.digest() {
            return Ok((self.blob.clone(), again.file));
        }
        let given = match wanted {
            Some(wanted) if wanted == came => (again.descriptor, again.file),
            Some(wanted) if wanted != Compression::Plain => {
                let other = self.compress(work, wanted)?;
                (other.descriptor, other.file)
            }
            _ => {
                let size = self.archive.metadata().context("look at its archive")?.len();
                (Descriptor::new(MediaType::ImageLayer, size, self.diff_id.clone()), Arc::clone(self.archive))
            }
        };
        log::warn(format_args!(
            "layer {}: the store keeps its archive, and compressing that gives other bytes than those it came in: it \
             is {} now",
            self.blob.digest(),
            given.0.digest()
        ));
        Ok(given)
    }

    /// Compresses the archive, and proves it on the way.
    fn compress(&self, work: &Path, compression: Compression) -> Result<LayerBlob> {
        let size = self.archive.metadata().context("look at its archive")?.len();
        let mut archive = RangeReader::whole(Arc::clone(self.archive), size);
        let made = LayerBlob::write(work, compression, |out| {
            std::io::copy(&mut archive, out).map(drop).context("compress its archive")
        })?;
        match made.diff_id == self.diff_id {
            true => Ok(made),
            false => Err(fail!(
                Kind::Spec,
                "its archive in the store is {}, and not {}",
                made.diff_id,
                self.diff_id
            )
            .with_hint("the store is damaged: `tare-image verify --store DIR` tells where")),
        }
    }
}

/// The image's manifest with these layers. Media types of Docker become their OCI equivalents. What annotations
/// tell of another blob goes with it.
fn new_manifest<'a>(image: &Image, layers: impl Iterator<Item = &'a Descriptor>) -> Result<Value> {
    let mut manifest: Value = manifest::parse_json(&image.manifest_bytes)?;
    manifest["mediaType"] = json!(MediaType::ImageManifest);
    manifest["config"]["mediaType"] = json!(MediaType::ImageConfig);
    if let Some(entries) = manifest["layers"].as_array_mut() {
        for ((entry, came), now) in entries.iter_mut().zip(image.manifest.layers()).zip(layers) {
            match came.digest() == now.digest() {
                true => entry["mediaType"] = json!(oci_type(came)?),
                false => *entry = json!(now),
            }
        }
    }
    if let Some(manifest) = manifest.as_object_mut() {
        // `subject` refers to the image as it came.
        manifest.remove("subject");
    }
    Ok(manifest)
}

impl ImageSource for GivenOut {
    fn manifests(&self) -> Result<Vec<Descriptor>> {
        Ok(vec![self.descriptor.clone()])
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        if let Some(document) = self.documents.get(descriptor.digest()) {
            return Ok(Box::new(Cursor::new(document.clone())));
        }
        let missing = || fail!(Kind::NotFound, "blob {}: the store has none", descriptor.digest());
        let file = self.layers.get(descriptor.digest()).ok_or_else(missing)?;
        Ok(Box::new(RangeReader::whole(Arc::clone(file), descriptor.size())))
    }
}
