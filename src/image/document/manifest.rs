//! Reads the documents of an image: index, manifest and configuration (image-spec). Each is read through its
//! descriptor: verified, limited in size, and of the one shape that its media type names.

use std::io::Read;

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::error::printable::counted;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::blob::digest::{VerifyingReader, short};
use crate::image::io_error::from_io_error;
use crate::image::limits;
use crate::spec::strict::{self, Spelling};
use crate::weak::{Defence, stands};

/// The two kinds of document that a descriptor in an index can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DocumentKind {
    Index,
    Manifest,
}

/// The kind of document that a media type names, in OCI's or Docker's words.
///
/// # Errors
///
/// `Kind::Unsupported` for every other media type.
pub(crate) fn document_kind(media_type: &MediaType) -> Result<DocumentKind> {
    match media_type {
        MediaType::ImageIndex => Ok(DocumentKind::Index),
        MediaType::ImageManifest => Ok(DocumentKind::Manifest),
        MediaType::Other(name) => match name.as_str() {
            "application/vnd.docker.distribution.manifest.list.v2+json" => Ok(DocumentKind::Index),
            "application/vnd.docker.distribution.manifest.v2+json" => Ok(DocumentKind::Manifest),
            name if name.starts_with("application/vnd.docker.distribution.manifest.v1") => {
                Err(fail!(Kind::Unsupported, "image manifests of schema 1 ({name}) are too old"))
            }
            name => {
                let error = fail!(Kind::Unsupported, "media type {name:?} is neither an image nor an index");
                Err(match name {
                    "text/html" => error.with_hint(
                        "a page for people has answered, as those of a proxy, of a login and of a web server do: \
                         is the host the registry?",
                    ),
                    _ => error,
                })
            }
        },
        other => Err(fail!(Kind::Unsupported, "media type \"{other}\" is neither an image nor an index")),
    }
}

/// A function that opens a blob; its bytes are not verified yet.
type OpenBlob<'a> = &'a dyn Fn(&Descriptor) -> Result<Box<dyn Read + Send>>;

/// An image, its documents read and checked against each other.
#[derive(Debug, Clone)]
pub struct Image {
    /// The descriptor that names the manifest.
    pub descriptor: Descriptor,
    pub manifest: ImageManifest,
    pub config: ImageConfiguration,
    /// The configuration, byte for byte as in the blob, unknown members included.
    pub config_bytes: Vec<u8>,
    /// The manifest, byte for byte as in the blob.
    pub manifest_bytes: Vec<u8>,
}

/// Reads and verifies an index.
pub(crate) fn read_index(open: OpenBlob<'_>, descriptor: &Descriptor) -> Result<ImageIndex> {
    read_index_bytes(open, descriptor).map(|(index, _)| index)
}

/// Reads like `read_index`, and also returns the bytes of the blob.
pub(crate) fn read_index_bytes(open: OpenBlob<'_>, descriptor: &Descriptor) -> Result<(ImageIndex, Vec<u8>)> {
    let bytes = read_blob(open, descriptor, limits::MAX_MANIFEST)?;
    let index = parse_index(&bytes, Some(descriptor.media_type()));
    let index = index.with_context(|| format!("index {}", short(descriptor.digest())))?;
    Ok((index, bytes))
}

/// Parses an index, such as a layout's `index.json`.
pub(crate) fn parse_index(bytes: &[u8], named: Option<&MediaType>) -> Result<ImageIndex> {
    check_shape(bytes, named, DocumentKind::Index)?;
    parse_json(bytes)
}

/// Reads and verifies a manifest, of an image or of any other artifact, and returns its bytes too.
pub(crate) fn read_manifest(open: OpenBlob<'_>, descriptor: &Descriptor) -> Result<(ImageManifest, Vec<u8>)> {
    let bytes = read_blob(open, descriptor, limits::MAX_MANIFEST)?;
    let parse = || {
        check_shape(&bytes, Some(descriptor.media_type()), DocumentKind::Manifest)?;
        parse_json(&bytes)
    };
    let manifest = parse().with_context(|| format!("manifest {}", short(descriptor.digest())))?;
    Ok((manifest, bytes))
}

/// Returns the kind of artifact that a manifest describes, if it is no image: a signature, an attestation, a
/// chart. buildx gives its attestations the configuration of an image, but their layers are no filesystem
/// layers.
pub(crate) fn artifact_type(manifest: &ImageManifest) -> Option<String> {
    let stated = || manifest.artifact_type().as_ref().map(ToString::to_string);
    let config = manifest.config().media_type();
    if check_config_type(config).is_err() {
        return Some(stated().unwrap_or_else(|| config.to_string()));
    }
    let first = manifest.layers().first()?;
    let has_none = !manifest.layers().iter().any(|layer| is_layer_type(layer.media_type()));
    has_none.then(|| stated().unwrap_or_else(|| first.media_type().to_string()))
}

/// Whether a blob is a layer of a root filesystem, whatever its compression.
fn is_layer_type(media_type: &MediaType) -> bool {
    let name = media_type.to_string();
    ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."]
        .iter()
        .any(|start| name.starts_with(start))
}

/// Reads and verifies a manifest and the configuration it names, and checks that they agree.
pub fn read_image(open: OpenBlob<'_>, descriptor: &Descriptor) -> Result<Image> {
    let (manifest, manifest_bytes) = read_manifest(open, descriptor)?;
    let place = || format!("manifest {}", short(descriptor.digest()));
    check_config_type(manifest.config().media_type()).with_context(place)?;
    let config_bytes = read_blob(open, manifest.config(), limits::MAX_CONFIG)?;
    let config: ImageConfiguration = parse_json(&config_bytes)
        .with_context(|| format!("configuration {}", short(manifest.config().digest())))?;
    check_layers(&manifest, &config).with_context(place)?;
    Ok(Image { descriptor: descriptor.clone(), manifest, config, config_bytes, manifest_bytes })
}

fn check_layers(manifest: &ImageManifest, config: &ImageConfiguration) -> Result<()> {
    let (layers, ids) = (manifest.layers().len(), config.rootfs().diff_ids().len());
    if layers != ids {
        let (layers, ids) = (counted(layers, "layer"), counted(ids, "diff id"));
        return Err(fail!(Kind::Spec, "has {layers}, its configuration has {ids}"));
    }
    if layers > limits::MAX_LAYERS {
        return Err(fail!(Kind::Unsupported, "has {layers} layers, more than {}", limits::MAX_LAYERS));
    }
    let volumes = config.config().as_ref().and_then(|config| config.volumes().as_ref()).map_or(0, Vec::len);
    if volumes > limits::MAX_VOLUMES {
        return Err(fail!(Kind::Unsupported, "has {volumes} volumes, more than {}", limits::MAX_VOLUMES));
    }
    Ok(())
}

fn check_config_type(media_type: &MediaType) -> Result<()> {
    match media_type {
        MediaType::ImageConfig => Ok(()),
        MediaType::Other(name) if name == "application/vnd.docker.container.image.v1+json" => Ok(()),
        other => Err(fail!(Kind::Unsupported, "is an artifact ({other}), not an image")),
    }
}

/// The members that tell the documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u32>,
    media_type: Option<String>,
    #[serde(default, deserialize_with = "member")]
    manifests: Member,
    #[serde(default, deserialize_with = "member")]
    layers: Member,
    #[serde(default, deserialize_with = "member")]
    config: Member,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Member {
    #[default]
    Absent,
    /// `null`, which Go writes for an empty list.
    Null,
    Value,
}

fn member<'a, D: Deserializer<'a>>(from: D) -> std::result::Result<Member, D::Error> {
    Ok(Option::<IgnoredAny>::deserialize(from)?.map_or(Member::Null, |_| Member::Value))
}

/// Refuses a document that could be read both as an index and as a manifest: it would be one image to us and
/// another to a scanner (CVE-2021-41190).
fn check_shape(bytes: &[u8], named: Option<&MediaType>, document: DocumentKind) -> Result<()> {
    if !stands(Defence::OneShape) {
        return Ok(());
    }
    let shape: Shape = parse_json(bytes)?;
    if shape.schema_version != Some(2) {
        return Err(fail!(Kind::Unsupported, "schemaVersion is not 2"));
    }
    if let (Some(named), Some(says)) = (named, &shape.media_type)
        && !named.as_ref().eq_ignore_ascii_case(says)
    {
        return Err(fail!(Kind::Spec, "its descriptor says {named}, the document itself {says}"));
    }
    let is_manifest = shape.layers == Member::Value || shape.config == Member::Value;
    let is_index = shape.manifests == Member::Value || shape.manifests == Member::Null && !is_manifest;
    if is_index && is_manifest {
        return Err(fail!(Kind::Spec, "is an index and a manifest at once"));
    }
    match document {
        DocumentKind::Index if !is_index => Err(fail!(Kind::Spec, "is no index: it has no manifests")),
        DocumentKind::Manifest if !is_manifest => Err(fail!(Kind::Spec, "is no manifest: it has no layers")),
        _ => Ok(()),
    }
}

/// Reads a document of at most `most` bytes, verified.
fn read_blob(open: OpenBlob<'_>, descriptor: &Descriptor, most: u64) -> Result<Vec<u8>> {
    let digest = descriptor.digest();
    if descriptor.size() > most {
        let size = descriptor.size();
        return Err(fail!(
            Kind::Spec,
            "blob {digest}: {size} bytes are too many for a document (at most {most})"
        ));
    }
    let mut bytes = Vec::new();
    VerifyingReader::new(open(descriptor)?, descriptor)?.read_to_end(&mut bytes).map_err(from_io_error)?;
    Ok(bytes)
}

/// Parses a JSON document, which all readers read as the same.
pub(crate) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    parse_spelled(bytes, Spelling::Exact)
}

/// Parses a JSON document whose members may be spelled in any case: one that only Go programs and we read.
pub(crate) fn parse_json_of_go<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    parse_spelled(bytes, Spelling::AnyCase)
}

fn parse_spelled<T: DeserializeOwned>(bytes: &[u8], spelling: Spelling) -> Result<T> {
    strict::from_slice(bytes, spelling)
        .or_else(|error| match error.contains("invalid type: null") {
            true => strict::from_value(without_null(strict::from_slice(bytes, spelling)?), spelling),
            false => Err(error),
        })
        .map_err(|error| fail!(Kind::Spec, "{error}"))
}

/// Removes the members that are `null`: Go writes `null` for an empty list or map, and reads it as empty.
fn without_null(mut value: Value) -> Value {
    let Value::Object(members) = &mut value else {
        if let Value::Array(items) = &mut value {
            items.iter_mut().for_each(|item| *item = without_null(item.take()));
        }
        return value;
    };
    for (name, member) in members.iter_mut() {
        *member = match (name.as_str(), member.take()) {
            ("manifests" | "layers" | "diff_ids" | "Layers", Value::Null) => json!([]),
            ("rootfs", Value::Null) => json!({ "type": "layers", "diff_ids": [] }),
            ("Volumes" | "ExposedPorts", Value::Object(sets)) => {
                sets.into_iter().map(|(name, value)| (name, or_if_null(value, json!({})))).collect()
            }
            ("Labels" | "annotations" | "credHelpers", Value::Object(words)) => {
                words.into_iter().map(|(name, value)| (name, or_if_null(value, json!("")))).collect()
            }
            (_, member) => without_null(member),
        };
    }
    members.retain(|_, member| !member.is_null());
    value
}

fn or_if_null(value: Value, instead: Value) -> Value {
    if value.is_null() { instead } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_what_go_means_by_it() {
        let index = parse_index(br#"{"schemaVersion":2,"manifests":null}"#, None).unwrap();
        assert_eq!(index.manifests().len(), 0);
        let config: ImageConfiguration = parse_json(
            br#"{"architecture":"amd64","os":"linux","rootfs":null,"history":null,
                "config":{"Volumes":{"/v":null},"ExposedPorts":{"80/tcp":null},"Labels":{"a":null},"Env":null}}"#,
        )
        .unwrap();
        assert_eq!(config.rootfs().diff_ids().len(), 0);
        let inner = config.config().as_ref().unwrap();
        assert_eq!(inner.labels().as_ref().unwrap()["a"], "");
        assert!(format!("{:?}", inner.volumes()).contains("/v"), "{inner:?}");
        assert!(parse_index(br#"{"schemaVersion":2,"manifests":null,"layers":[]}"#, None).is_err());
    }

    fn shape(json: &str, named: Option<&str>, document: DocumentKind) -> Result<()> {
        check_shape(json.as_bytes(), named.map(MediaType::from).as_ref(), document)
    }

    #[test]
    fn a_document_is_of_one_sort() {
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(shape(index, None, DocumentKind::Index).is_ok());
        assert!(shape(index, None, DocumentKind::Manifest).is_err());
        let both = r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#;
        let error = shape(both, None, DocumentKind::Index).unwrap_err().to_string();
        assert_eq!(error, "is an index and a manifest at once");
        assert!(shape(r#"{"manifests":[]}"#, None, DocumentKind::Index).is_err());
    }

    #[test]
    fn a_media_type_inside_agrees_with_the_descriptor() {
        let json =
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        assert!(shape(json, Some("application/vnd.oci.image.index.v1+json"), DocumentKind::Index).is_ok());
        assert!(
            shape(
                json,
                Some("application/vnd.docker.distribution.manifest.list.v2+json"),
                DocumentKind::Index
            )
            .is_err()
        );
    }
}
