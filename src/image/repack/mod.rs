//! A changed bundle as an image: the image it was made of, and one more layer with the changes.
//!
//! The new image is a source like any other, so it goes wherever images can be copied to. Layers that are unchanged
//! are copied from where the bundle came from, or are at the destination already.

mod blob;
mod layer;
mod writer;

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use oci_spec::image::{Descriptor, Digest, MediaType};
use serde_json::{Value, json};

use crate::error::{Context, Kind, Result};
use crate::image::blob::compression::Compression;
use crate::image::blob::digest;
use crate::image::bundle::{self, About};
use crate::image::copy::copy;
use crate::image::document::manifest::{self, Image, read_image};
use crate::image::limits::Limits;
use crate::image::progress::Watch;
use crate::image::source::reference::Reference;
use crate::image::source::registry::{self, Access};
use crate::image::source::tarball::Section;
use crate::image::source::{self, Source};
use crate::{fail, log};
use blob::Blob;

/// How to repack.
pub struct Options<'a> {
    pub access: &'a Access,
    /// How the destination is reached, if it is a registry.
    pub target: &'a Access,
    pub watch: Arc<dyn Watch>,
    /// Where the image is now that the bundle was made of; None for where it was.
    pub base: Option<Reference>,
    /// None for that of the image's topmost layer.
    pub compression: Option<Compression>,
    /// Paths whose changes stay out of the new layer.
    pub masks: Vec<Vec<u8>>,
    /// RFC 3339.
    pub created: String,
    pub created_by: String,
    pub author: Option<String>,
    pub comment: Option<String>,
}

/// Writes the image that the bundle at `path` is now to `destination`. Returns what names it.
pub fn repack(path: &Path, destination: &Reference, options: &Options<'_>) -> Result<Descriptor> {
    let place = || format!("repack {}", path.display());
    let about = About::read(path)?;
    let (base, image) = base(&about, destination, options).with_context(place)?;
    let mut changes = bundle::changes(path)?;
    changes.mask(&options.masks);
    if changes.list.is_empty() {
        log::warn(format_args!("{}: nothing has changed: the image gets no new layer", path.display()));
        copy(base.as_ref(), &image, destination, options.target, &options.watch)?;
        return Ok(image.descriptor);
    }
    let compression = options.compression.map_or_else(|| topmost(&image), Ok)?;
    let pack = |compression| {
        blob::make(path, compression, |out| layer::write(&changes, out).map(drop)).with_context(place)
    };
    let mut blob = pack(compression)?;
    if !blob.is_acceptable(&Limits { size: u64::MAX, ..Limits::default() })? {
        log::debug(format_args!(
            "the layer compresses so well that it looks like a bomb: it is not compressed"
        ));
        blob = pack(Compression::Plain)?;
    }
    let repacked = Repacked::new(base, &image, blob, options)?;
    let image = read_image(&|blob| repacked.blob(blob), &repacked.descriptor).with_context(place)?;
    copy(&repacked, &image, destination, options.target, &options.watch)?;
    Ok(image.descriptor)
}

fn topmost(image: &Image) -> Result<Compression> {
    match image.manifest.layers().last().map(Compression::of).transpose()? {
        Some(compression) => Ok(compression),
        None => Ok(Compression::Gzip),
    }
}

/// The image that the bundle was made of: at the destination already, or where it came from.
fn base(about: &About, destination: &Reference, options: &Options<'_>) -> Result<(Box<dyn Source>, Image)> {
    let look = |reference: &Reference| -> Result<(Box<dyn Source>, Image)> {
        let source = source::open(reference, options.access)?;
        let image = read_image(&|blob| source.blob(blob), &about.manifest)?;
        Ok((source, image))
    };
    if let Some(base) = &options.base {
        return look(&exact(base, about)?).with_context(|| format!("base {base}"));
    }
    if let Reference::Layout { .. } = destination
        && let Ok(found) = look(destination)
        && found.1.manifest.layers().iter().all(|layer| found.0.blob(layer).is_ok())
    {
        return Ok(found);
    }
    let origin = exact(&Reference::parse(&about.reference)?, about)?;
    let found = look(&origin).with_context(|| format!("image {origin}"));
    found.map_err(|error| error.with_hint("say with --base where the image is now"))
}

/// In a registry the tag may name another image by now.
fn exact(reference: &Reference, about: &About) -> Result<Reference> {
    let Reference::Registry(name) = reference else { return Ok(reference.clone()) };
    let name = registry::parse(name)?;
    let digest = about.manifest.digest();
    Ok(Reference::Registry(format!("{}/{}@{digest}", name.registry(), name.repository())))
}

/// The image with one more layer.
struct Repacked {
    base: Box<dyn Source>,
    descriptor: Descriptor,
    documents: HashMap<Digest, Vec<u8>>,
    layer: Blob,
}

impl Repacked {
    fn new(base: Box<dyn Source>, image: &Image, layer: Blob, options: &Options<'_>) -> Result<Self> {
        let mut documents = HashMap::new();
        let mut keep = |media_type: MediaType, document: &Value| {
            let bytes = document.to_string().into_bytes();
            let descriptor = Descriptor::new(media_type, bytes.len() as u64, digest::of(&bytes));
            documents.insert(descriptor.digest().clone(), bytes);
            descriptor
        };
        let config = keep(MediaType::ImageConfig, &config(image, &layer, options)?);
        let descriptor = keep(MediaType::ImageManifest, &manifest(image, &config, &layer)?);
        Ok(Self { base, descriptor, documents, layer })
    }
}

/// The configuration as it was, unknown members included, with the new layer in it.
fn config(image: &Image, layer: &Blob, options: &Options<'_>) -> Result<Value> {
    let mut config: Value = manifest::parse(&image.config_bytes)?;
    config["created"] = json!(options.created);
    if let Some(author) = &options.author {
        config["author"] = json!(author);
    }
    push(&mut config["rootfs"]["diff_ids"], json!(layer.diff_id));
    let mut entry = json!({ "created": options.created, "created_by": options.created_by });
    for (key, value) in [("author", &options.author), ("comment", &options.comment)] {
        if let Some(value) = value {
            entry[key] = json!(value);
        }
    }
    push(&mut config["history"], entry);
    Ok(config)
}

fn push(array: &mut Value, value: Value) {
    match array {
        Value::Array(array) => array.push(value),
        other => *other = json!([value]),
    }
}

/// An OCI manifest, also where the image had Docker's: media types that mean the same are put into its words.
fn manifest(image: &Image, config: &Descriptor, layer: &Blob) -> Result<Value> {
    let mut manifest: Value = manifest::parse(&image.manifest_bytes)?;
    manifest["mediaType"] = json!(MediaType::ImageManifest);
    manifest["config"] = json!(config);
    if let Some(layers) = manifest["layers"].as_array_mut() {
        for (layer, blob) in layers.iter_mut().zip(image.manifest.layers()) {
            layer["mediaType"] = json!(oci_type(blob)?);
        }
    }
    push(&mut manifest["layers"], json!(layer.descriptor));
    if let Some(manifest) = manifest.as_object_mut() {
        // It is about the image as it was.
        manifest.remove("subject");
    }
    Ok(manifest)
}

fn oci_type(blob: &Descriptor) -> Result<MediaType> {
    Ok(match blob.media_type() {
        MediaType::Other(_) => match Compression::of(blob)? {
            Compression::Plain => MediaType::ImageLayer,
            Compression::Gzip => MediaType::ImageLayerGzip,
            Compression::Zstd => MediaType::ImageLayerZstd,
        },
        known => known.clone(),
    })
}

impl Source for Repacked {
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
            return Ok(Box::new(Section::whole(Arc::clone(&self.layer.file), descriptor.size())));
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

/// The time that SOURCE_DATE_EPOCH says, else now.
pub fn created(epoch: Option<&str>) -> Result<String> {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};
    let time = match epoch {
        None => SystemTime::now(),
        Some(text) => {
            let seconds = text.parse().ok().filter(|&seconds| seconds <= LATEST);
            let bad = || fail!(Kind::Usage, "SOURCE_DATE_EPOCH {text:?}: is not a time in seconds");
            UNIX_EPOCH + Duration::from_secs(seconds.ok_or_else(bad)?)
        }
    };
    Ok(humantime::format_rfc3339_seconds(time).to_string())
}

/// The end of the year 9999, where RFC 3339 ends.
const LATEST: u64 = 253_402_300_799;
