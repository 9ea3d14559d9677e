//! Finds the image that a reference names: by tag or digest among those of a source, then through indexes by
//! platform.

use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor};

use super::interface::ImageSource;
use super::reference::{Reference, Selector};
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::document::manifest::{DocumentKind, Image, document_kind, read_image, read_index};
use crate::image::document::platform::{self, Platform};

/// The greatest depth to which indexes may name other indexes.
pub(crate) const MAX_INDEX_DEPTH: u32 = 4;

/// Finds the image that `reference` names, among several the one for `platform`, and reads its documents.
pub(crate) fn resolve_image(
    source: &dyn ImageSource,
    reference: &Reference,
    platform: &Platform,
) -> Result<Image> {
    let manifest = resolve_manifest(source, reference, platform)?;
    let open = |descriptor: &Descriptor| source.blob(descriptor);
    read_image(&open, &manifest).with_context(|| reference.to_string())
}

/// Resolves like `resolve_image`, for an image or any other artifact, but reads no manifest.
pub(crate) fn resolve_manifest(
    source: &dyn ImageSource,
    reference: &Reference,
    platform: &Platform,
) -> Result<Descriptor> {
    let find = || {
        let tops = source.manifests()?;
        follow_indexes(source, pick_entry(&tops, reference, platform)?, platform, MAX_INDEX_DEPTH)
    };
    find().with_context(|| reference.to_string())
}

/// Finds the manifest or index that `reference` names, without following an index. `platform` decides only
/// among several with the same tag.
pub(crate) fn resolve_entry(
    source: &dyn ImageSource,
    reference: &Reference,
    platform: &Platform,
) -> Result<Descriptor> {
    let find = || pick_entry(&source.manifests()?, reference, platform).cloned();
    find().with_context(|| reference.to_string())
}

fn follow_indexes(
    source: &dyn ImageSource,
    descriptor: &Descriptor,
    platform: &Platform,
    depth: u32,
) -> Result<Descriptor> {
    match document_kind(descriptor.media_type())? {
        DocumentKind::Manifest => Ok(descriptor.clone()),
        DocumentKind::Index if depth == 0 => {
            Err(fail!(Kind::Spec, "more than {MAX_INDEX_DEPTH} indexes name each other"))
        }
        DocumentKind::Index => {
            let index = read_index(&|descriptor| source.blob(descriptor), descriptor)?;
            let chosen = platform
                .select_manifest(index.manifests())
                .ok_or_else(|| no_platform(index.manifests(), platform))?;
            follow_indexes(source, chosen, platform, depth - 1)
        }
    }
}

/// Finds the manifest or index that is named. The platform decides among several with the same tag.
fn pick_entry<'a>(
    tops: &'a [Descriptor],
    reference: &Reference,
    platform: &Platform,
) -> Result<&'a Descriptor> {
    let named = manifests_named(tops, reference)?;
    match (selector_of(reference), &named[..]) {
        (Selector::Tag(_), _) => {
            platform.select_manifest(named.iter().copied()).ok_or_else(|| no_platform(named, platform))
        }
        (_, []) => Err(fail!(Kind::NotFound, "there is no image in it")),
        // One image may have several names.
        (_, [first, rest @ ..]) if rest.iter().all(|other| other.digest() == first.digest()) => Ok(first),
        _ => Err(with_names(fail!(Kind::Usage, "there are {} images in it", tops.len()), tops)),
    }
}

/// All manifests that a reference names: usually one; all of them if the reference has neither tag nor
/// digest.
pub(crate) fn manifests_named<'a>(
    tops: &'a [Descriptor],
    reference: &Reference,
) -> Result<Vec<&'a Descriptor>> {
    let docker_name = matches!(reference, Reference::DockerArchive { .. });
    let is = |top: &Descriptor, tag: &str| match ref_name(top) {
        Some(name) if docker_name => normalized(name) == normalized(tag),
        name => name.is_some_and(|name| name == tag),
    };
    let (named, missing): (Vec<_>, _) = match selector_of(reference) {
        Selector::Only => return Ok(tops.iter().collect()),
        Selector::Digest(digest) => {
            (tops.iter().filter(|top| top.digest() == digest).take(1).collect(), "digest")
        }
        Selector::Tag(tag) => (tops.iter().filter(|top| is(top, tag)).collect(), "tag"),
    };
    match named.is_empty() {
        true => Err(with_names(fail!(Kind::NotFound, "there is no image of this {missing}"), tops)),
        false => Ok(named),
    }
}

fn selector_of(reference: &Reference) -> &Selector {
    match reference {
        Reference::Layout { select, .. }
        | Reference::OciArchive { select, .. }
        | Reference::DockerArchive { select, .. } => select,
        Reference::Registry(_) => &Selector::Only,
    }
}

/// The name that a layout gives an image: its annotation `org.opencontainers.image.ref.name`.
pub fn ref_name(descriptor: &Descriptor) -> Option<&String> {
    descriptor.annotations().as_ref()?.get(ANNOTATION_REF_NAME)
}

/// Spells a Docker name out: `ubuntu` is `docker.io/library/ubuntu:latest`.
fn normalized(name: &str) -> String {
    super::registry::parse_name(name).map_or_else(|_| name.to_owned(), |name| name.whole())
}

fn with_names(error: Error, tops: &[Descriptor]) -> Error {
    let names: Vec<&str> = tops.iter().filter_map(ref_name).map(String::as_str).take(20).collect();
    match names[..] {
        [] => error.with_hint("none has a tag: name one by @sha256:…"),
        _ => error.with_hint(format!("the tags are: {}", names.join(", "))),
    }
}

fn no_platform<'a>(manifests: impl IntoIterator<Item = &'a Descriptor>, platform: &Platform) -> Error {
    let known = manifests.into_iter().filter_map(|manifest| manifest.platform().as_ref());
    let known: Vec<String> = known.map(platform::format_platform).collect();
    let error = fail!(Kind::NotFound, "there is no image for {platform}");
    if known.is_empty() { error } else { error.with_hint(format!("there are: {}", known.join(", "))) }
}
