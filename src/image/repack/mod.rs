//! Makes an image of a changed bundle: the image that the bundle was unpacked from, and one more layer with
//! the changes.
//!
//! The new image is an `ImageSource` like any other, so `copy` writes it to any destination. The other layers
//! are copied from where the bundle came from, or are at the destination already.

mod blob;
mod given_out;
mod layer;
mod oci_type;
mod tar_writer;

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::sync::Arc;

use oci_spec::image::{Descriptor, Digest, MediaType};
use serde_json::{Value, json};

use crate::error::{Context, Kind, Result};
use crate::image::blob::compression::Compression;
use crate::image::blob::digest;
use crate::image::bundle::{self, Bundle, BundleInfo};
use crate::image::copy::{Contents, copy};
use crate::image::document::manifest::{self, Image, read_image};
use crate::image::limits::Limits;
use crate::image::progress::Progress;
use crate::image::source::indexed_tar::RangeReader;
use crate::image::source::reference::Reference;
use crate::image::source::registry::{self, Access};
use crate::image::source::{self, ImageSource};
use crate::{fail, log};
use blob::LayerBlob;
pub(crate) use given_out::GivenOut;
use oci_type::oci_type;

/// The options of `repack`.
pub(crate) struct RepackOptions<'a> {
    /// How the image of the bundle is reached, if it is in a registry.
    pub(crate) base_access: &'a Access,
    /// How the destination is reached, if it is a registry.
    pub(crate) target: &'a Access,
    pub(crate) progress: Arc<dyn Progress>,
    /// The present location of the image that the bundle was unpacked from; None if it has not moved.
    pub(crate) base: Option<Reference>,
    /// Take the image's layers from the bundle's store, and not from where the image came.
    pub(crate) from_store: bool,
    /// The compression of the new layer; None for the compression of the image's topmost layer.
    pub(crate) compression: Option<Compression>,
    /// Clean paths whose changes are left out of the new layer, with everything below them.
    pub(crate) excluded_paths: Vec<Vec<u8>>,
    /// The time of creation, in RFC 3339.
    pub(crate) created: String,
    pub(crate) created_by: String,
    pub(crate) author: Option<String>,
    pub(crate) comment: Option<String>,
}

/// Writes the bundle as an image to `destination`. Returns the descriptor of its manifest.
pub(crate) fn repack(
    bundle: &Bundle,
    destination: &Reference,
    options: &RepackOptions<'_>,
) -> Result<Descriptor> {
    let path = bundle.shown();
    let place = || format!("repack {}", path.display());
    let (base, image) = match options.from_store {
        true => base_of_store(bundle, options).with_context(place)?,
        false => find_base(bundle.info(), destination, options).with_context(place)?,
    };
    let mut changes = bundle::changes(bundle)?;
    changes.mask(&options.excluded_paths);
    if changes.list.is_empty() {
        log::warn(format_args!("{}: nothing has changed: the image gets no new layer", path.display()));
        copy(
            base.as_ref(),
            &Contents::of_image(&image),
            destination,
            options.target,
            &Limits::NONE,
            &options.progress,
        )?;
        return Ok(image.descriptor);
    }
    let compression = options.compression.map_or_else(|| topmost_compression(&image), Ok)?;
    let pack = |compression| {
        LayerBlob::write(&bundle.fd_path(), compression, |out| layer::write(&changes, out).map(drop))
            .with_context(place)
    };
    let mut blob = pack(compression)?;
    if !blob.is_acceptable(&Limits { size: u64::MAX, ..Limits::default() })? {
        log::debug(format_args!(
            "the layer compresses so well that its ratio would be refused: it is not compressed"
        ));
        blob = pack(Compression::Plain)?;
    }
    let repacked = RepackedImage::new(base, &image, blob, options)?;
    let image = read_image(&|blob| repacked.blob(blob), &repacked.descriptor).with_context(place)?;
    copy(
        &repacked,
        &Contents::of_image(&image),
        destination,
        options.target,
        &Limits::NONE,
        &options.progress,
    )?;
    Ok(image.descriptor)
}

fn topmost_compression(image: &Image) -> Result<Compression> {
    match image.manifest.layers().last().map(Compression::from_descriptor).transpose()? {
        Some(compression) => Ok(compression),
        None => Ok(Compression::Gzip),
    }
}

/// Takes the image that the bundle was unpacked from out of the bundle's store.
fn base_of_store(bundle: &Bundle, options: &RepackOptions<'_>) -> Result<(Box<dyn ImageSource>, Image)> {
    let alone = || {
        fail!(Kind::Unsupported, "--from-store: the bundle has a tree of its own, and no store")
            .with_hint("`unpack --overlay` makes bundles whose layers are in a store")
    };
    let store = bundle::store_of(bundle)?.ok_or_else(alone)?;
    let kept = store.kept_image_of(bundle.info().manifest.digest())?;
    let given = GivenOut::new(kept, options.compression)?;
    let image = read_image(&|blob| given.blob(blob), given.descriptor())?;
    Ok((Box::new(given), image))
}

/// Opens the image that the bundle was unpacked from: at `--base`, at the destination if it has the image, or
/// at the original location.
fn find_base(
    info: &BundleInfo,
    destination: &Reference,
    options: &RepackOptions<'_>,
) -> Result<(Box<dyn ImageSource>, Image)> {
    let open = |reference: &Reference| -> Result<(Box<dyn ImageSource>, Image)> {
        let source = source::open(reference, options.base_access)?;
        let image = read_image(&|blob| source.blob(blob), &info.manifest)?;
        Ok((source, image))
    };
    if let Some(base) = &options.base {
        return open(&with_digest(base, info)?).with_context(|| format!("base {base}"));
    }
    if let Reference::Layout { .. } = destination
        && let Ok(found) = open(destination)
        && found.1.manifest.layers().iter().all(|layer| found.0.blob(layer).is_ok())
    {
        return Ok(found);
    }
    let origin = with_digest(&Reference::parse(&info.reference)?, info)?;
    let found = open(&origin).with_context(|| format!("image {origin}"));
    // What the registry's refusal asks for (plain HTTP, a login) comes first.
    found.map_err(|error| {
        let moved = "say with --base where the image is now";
        match error.hint().map(str::to_owned) {
            Some(hint) => error.with_hint(format!("{hint}; if it is elsewhere, {moved}")),
            None => error.with_hint(moved),
        }
    })
}

/// Replaces a registry's tag by the bundle's digest, because the tag may name another image by now. Other
/// references are unchanged.
fn with_digest(reference: &Reference, info: &BundleInfo) -> Result<Reference> {
    let Reference::Registry(name) = reference else { return Ok(reference.clone()) };
    let name = registry::parse_name(name)?;
    let digest = info.manifest.digest();
    Ok(Reference::Registry(format!("{}/{}@{digest}", name.registry(), name.repository())))
}

/// The new image.
struct RepackedImage {
    base: Box<dyn ImageSource>,
    descriptor: Descriptor,
    /// The new configuration and manifest, by their digests.
    documents: HashMap<Digest, Vec<u8>>,
    layer: LayerBlob,
}

impl RepackedImage {
    fn new(
        base: Box<dyn ImageSource>,
        image: &Image,
        layer: LayerBlob,
        options: &RepackOptions<'_>,
    ) -> Result<Self> {
        let mut documents = HashMap::new();
        let mut add_document = |media_type: MediaType, document: &Value| {
            let bytes = document.to_string().into_bytes();
            let descriptor = Descriptor::new(media_type, bytes.len() as u64, digest::sha256_of(&bytes));
            documents.insert(descriptor.digest().clone(), bytes);
            descriptor
        };
        let config = add_document(MediaType::ImageConfig, &new_config(image, &layer, options)?);
        let descriptor = add_document(MediaType::ImageManifest, &new_manifest(image, &config, &layer)?);
        Ok(Self { base, descriptor, documents, layer })
    }
}

/// The image's configuration with the new layer added. Members that we do not know stay.
fn new_config(image: &Image, layer: &LayerBlob, options: &RepackOptions<'_>) -> Result<Value> {
    let mut config: Value = manifest::parse_json(&image.config_bytes)?;
    config["created"] = json!(options.created);
    if let Some(author) = &options.author {
        config["author"] = json!(author);
    }
    push_to(&mut config["rootfs"]["diff_ids"], json!(layer.diff_id));
    let mut entry = json!({ "created": options.created, "created_by": options.created_by });
    for (key, value) in [("author", &options.author), ("comment", &options.comment)] {
        if let Some(value) = value {
            entry[key] = json!(value);
        }
    }
    push_to(&mut config["history"], entry);
    Ok(config)
}

/// Adds to a JSON array, which is made if it is missing.
fn push_to(array: &mut Value, value: Value) {
    match array {
        Value::Array(array) => array.push(value),
        other => *other = json!([value]),
    }
}

/// The image's manifest with the new layer added. Media types of Docker become their OCI equivalents.
fn new_manifest(image: &Image, config: &Descriptor, layer: &LayerBlob) -> Result<Value> {
    let mut manifest: Value = manifest::parse_json(&image.manifest_bytes)?;
    manifest["mediaType"] = json!(MediaType::ImageManifest);
    manifest["config"] = json!(config);
    if let Some(layers) = manifest["layers"].as_array_mut() {
        for (layer, blob) in layers.iter_mut().zip(image.manifest.layers()) {
            layer["mediaType"] = json!(oci_type(blob)?);
        }
    }
    push_to(&mut manifest["layers"], json!(layer.descriptor));
    if let Some(manifest) = manifest.as_object_mut() {
        // `subject` refers to the old image.
        manifest.remove("subject");
    }
    Ok(manifest)
}

impl ImageSource for RepackedImage {
    fn repository(&self) -> Option<(&str, &str)> {
        self.base.repository()
    }

    fn manifests(&self) -> Result<Vec<Descriptor>> {
        Ok(vec![self.descriptor.clone()])
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        let digest = descriptor.digest();
        if let Some(document) = self.documents.get(digest) {
            return Ok(Box::new(Cursor::new(document.clone())));
        }
        if digest == self.layer.descriptor.digest() {
            return Ok(Box::new(RangeReader::whole(Arc::clone(&self.layer.file), descriptor.size())));
        }
        self.base.blob(descriptor)
    }

    fn blob_from(&self, descriptor: &Descriptor, start: u64) -> Result<Box<dyn Read + Send>> {
        let digest = descriptor.digest();
        if !self.documents.contains_key(digest) && digest != self.layer.descriptor.digest() {
            return self.base.blob_from(descriptor, start);
        }
        let mut blob = self.blob(descriptor)?;
        std::io::copy(&mut (&mut blob).take(start), &mut std::io::sink())?;
        Ok(blob)
    }
}

/// The time of creation in RFC 3339: that of SOURCE_DATE_EPOCH (`epoch`, in seconds), or now.
pub(crate) fn created(epoch: Option<&str>) -> Result<String> {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};
    let time = match epoch {
        None => SystemTime::now(),
        Some(text) => {
            let seconds = text.parse().ok().filter(|&seconds| seconds <= MAX_EPOCH);
            let bad = || fail!(Kind::Usage, "SOURCE_DATE_EPOCH {text:?}: is not a time in seconds");
            UNIX_EPOCH + Duration::from_secs(seconds.ok_or_else(bad)?)
        }
    };
    Ok(humantime::format_rfc3339_seconds(time).to_string())
}

/// The last second of the year 9999, the latest time of RFC 3339.
const MAX_EPOCH: u64 = 253_402_300_799;
