//! `docker-archive:FILE`: a file that `docker save` wrote. The file names layers by path and not by digest,
//! so a manifest is generated for each image: its layers are uncompressed, so their digests are the diff ids
//! of the configuration.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::path::Path;

use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor, Digest, ImageConfiguration, MediaType};
use serde::Deserialize;
use serde_json::json;

use super::indexed_tar::{FileRange, IndexedTar};
use super::interface::ImageSource;
use crate::error::printable::counted;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::blob::compression::Compression;
use crate::image::blob::digest::{self, Hasher};
use crate::image::document::manifest;
use crate::image::io_error::from_io_error;
use crate::image::limits;

#[derive(Debug)]
pub(crate) struct DockerArchive {
    tar: IndexedTar,
    manifests: Vec<Descriptor>,
    blobs: HashMap<Digest, Blob>,
}

#[derive(Debug)]
enum Blob {
    Generated(Vec<u8>),
    Stored(FileRange),
}

/// One image, as `manifest.json` lists it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestItem {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl DockerArchive {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let tar = IndexedTar::open(path)?;
        let mut archive = Self { tar, manifests: Vec::new(), blobs: HashMap::new() };
        archive.read_manifest().with_context(|| format!("archive {}", path.display()))?;
        Ok(archive)
    }

    fn read_manifest(&mut self) -> Result<()> {
        let missing = || fail!(Kind::Spec, "has no manifest.json: it is no Docker archive");
        let bytes = self.tar.read_small_file("manifest.json")?.ok_or_else(missing)?;
        let items: Vec<ManifestItem> = manifest::parse_json(&bytes).context("manifest.json")?;
        for item in items {
            self.add_image(&item).with_context(|| format!("image {}", item.config))?;
        }
        Ok(())
    }

    /// Generates the manifest of one image, and offers it under each of its tags.
    fn add_image(&mut self, item: &ManifestItem) -> Result<()> {
        let missing = || fail!(Kind::Spec, "the archive has no {}", item.config);
        let config = self.tar.read_small_file(&item.config)?.ok_or_else(missing)?;
        check_config_name(&item.config, &config)?;
        let parsed: ImageConfiguration = manifest::parse_json(&config)?;
        let diff_ids = parsed.rootfs().diff_ids();
        if diff_ids.len() != item.layers.len() {
            let (layers, ids) = (item.layers.len(), diff_ids.len());
            let (layers, ids) = (counted(layers, "layer"), counted(ids, "diff id"));
            return Err(fail!(Kind::Spec, "has {layers}, its configuration has {ids}"));
        }
        if diff_ids.len() > limits::MAX_LAYERS {
            return Err(fail!(
                Kind::Unsupported,
                "has {} layers, more than {}",
                diff_ids.len(),
                limits::MAX_LAYERS
            ));
        }
        let layers = item
            .layers
            .iter()
            .zip(diff_ids)
            .map(|(name, id)| self.add_layer(name, id).with_context(|| name.clone()));
        let layers: Vec<Descriptor> = layers.collect::<Result<_>>()?;
        let config = self.add_blob(MediaType::ImageConfig, config);
        let document = json!({ "schemaVersion": 2, "mediaType": MediaType::ImageManifest, "config": config, "layers": layers });
        let manifest = self.add_blob(MediaType::ImageManifest, document.to_string().into_bytes());
        match item.repo_tags.as_deref().unwrap_or_default() {
            [] => self.manifests.push(manifest),
            tags => self.manifests.extend(tags.iter().map(|tag| with_ref_name(&manifest, tag))),
        }
        Ok(())
    }

    fn add_blob(&mut self, media_type: MediaType, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::new(media_type, bytes.len() as u64, digest::sha256_of(&bytes));
        self.blobs.insert(descriptor.digest().clone(), Blob::Generated(bytes));
        descriptor
    }

    fn add_layer(&mut self, name: &str, diff_id: &str) -> Result<Descriptor> {
        let range = self.tar.find(name).ok_or_else(|| fail!(Kind::Spec, "the archive has no such file"))?;
        let mut start = Vec::new();
        self.tar.reader(range).take(4).read_to_end(&mut start)?;
        let (media_type, digest) = match Compression::from_magic(&start) {
            Compression::Plain => (MediaType::ImageLayer, digest::parse(diff_id)?),
            Compression::Gzip => (MediaType::ImageLayerGzip, self.digest_range(range)?),
            Compression::Zstd => (MediaType::ImageLayerZstd, self.digest_range(range)?),
        };
        self.blobs.insert(digest.clone(), Blob::Stored(range));
        Ok(Descriptor::new(media_type, range.size, digest))
    }

    fn digest_range(&self, range: FileRange) -> Result<Digest> {
        let mut hasher = Hasher::sha256();
        let mut reader = self.tar.reader(range);
        let mut buffer = vec![0; 128 << 10];
        loop {
            match reader.read(&mut buffer).map_err(from_io_error)? {
                0 => return Ok(hasher.finish()),
                count => hasher.update(&buffer[..count]),
            }
        }
    }
}

impl ImageSource for DockerArchive {
    fn manifests(&self) -> Result<Vec<Descriptor>> {
        Ok(self.manifests.clone())
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        let digest = descriptor.digest();
        match self.blobs.get(digest) {
            Some(Blob::Generated(bytes)) => Ok(Box::new(Cursor::new(bytes.clone()))),
            Some(Blob::Stored(range)) => Ok(Box::new(self.tar.reader(*range))),
            None => Err(fail!(Kind::NotFound, "the archive has no blob {digest}")),
        }
    }
}

/// Checks the digest in the name of the configuration's file, `HEX.json` or `blobs/sha256/HEX`: the archive
/// states no other digest.
fn check_config_name(name: &str, config: &[u8]) -> Result<()> {
    let stem = name.rsplit('/').next().unwrap_or(name).trim_end_matches(".json");
    let found = digest::sha256_of(config);
    let is_digest = stem.len() == 64 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_digest && stem != found.digest() {
        true => Err(fail!(Kind::Spec, "content has digest {found}")),
        false => Ok(()),
    }
}

fn with_ref_name(descriptor: &Descriptor, tag: &str) -> Descriptor {
    let mut named = descriptor.clone();
    named.set_annotations(Some([(ANNOTATION_REF_NAME.to_owned(), tag.to_owned())].into()));
    named
}
