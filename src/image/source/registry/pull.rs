//! `Registry`: pulls images (distribution-spec, "Pull").

use std::collections::{HashMap, HashSet};
use std::io::{Cursor, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use oci_spec::image::{Descriptor, Digest, MediaType};

use super::access::Access;
use super::blob_reader::BlobReader;
use super::document;
use super::endpoint::{Endpoint, LIST, Response, list_hint};
use super::name::{ImageName, parse_name};
use super::registries_conf::RegistriesConf;
use crate::error::{Context, Kind, Result};
use crate::image::blob::digest;
use crate::image::document::manifest::document_kind;
use crate::image::io_error::from_io_error;
use crate::image::limits;
use crate::image::source::interface::ImageSource;
use crate::{fail, log};

/// The media types of what a manifest request may answer.
const MANIFEST_TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

#[derive(Debug)]
pub(crate) struct Registry {
    name: ImageName,
    /// The mirrors and the registry, in the order to try.
    endpoints: Vec<Arc<Endpoint>>,
    /// Manifests that were fetched to learn their digest.
    manifests: Mutex<HashMap<Digest, Vec<u8>>>,
}

impl Registry {
    /// Reads the settings; nothing is sent yet.
    pub(crate) fn open(name: &str, access: &Access) -> Result<Self> {
        let name = parse_name(name)?;
        let conf = RegistriesConf::load()?;
        let locations = conf.locations(&name)?;
        let endpoints = locations.into_iter().map(|location| {
            let access = access.for_host(&location.host, name.registry());
            Endpoint::new(location, &access).map(Arc::new)
        });
        let endpoints = endpoints.collect::<Result<_>>()?;
        Ok(Self { name, endpoints, manifests: Mutex::default() })
    }

    /// Calls `ask` for each endpoint in turn. If all fail, the error of the last one is returned.
    fn try_endpoints<T>(&self, ask: impl Fn(&Arc<Endpoint>) -> Result<T>) -> Result<T> {
        let mut last = fail!(Kind::NotFound, "no registry is left to ask");
        for (number, endpoint) in self.endpoints.iter().enumerate() {
            match ask(endpoint) {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    if number + 1 < self.endpoints.len() {
                        log::warn(format_args!("mirror {endpoint}: {error}"));
                    }
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// Fetches a manifest by tag or digest and remembers its bytes.
    fn fetch_manifest(&self, reference: &str, expected: Option<&Digest>) -> Result<Descriptor> {
        // A mirror that has something else is passed over, as one that has nothing.
        let answered = self.try_endpoints(|endpoint| request_manifest(endpoint, reference, expected));
        let (bytes, media_type, found) = answered.map_err(|error| match error.hint() {
            // By the name that the user knows: a mirror has another.
            Some(hint) if hint.starts_with(LIST) => {
                error.with_hint(list_hint(self.name.registry(), self.name.repository()))
            }
            _ => error,
        })?;
        let descriptor = Descriptor::new(media_type, bytes.len() as u64, found.clone());
        self.manifests.lock().unwrap_or_else(PoisonError::into_inner).insert(found, bytes);
        Ok(descriptor)
    }
}

/// The digest of a manifest's bytes, which must be the one that is expected.
fn check_digest(bytes: &[u8], expected: Option<&Digest>) -> Result<Digest> {
    let Some(expected) = expected else { return Ok(digest::sha256_of(bytes)) };
    let mut hasher = digest::Hasher::for_digest(expected)?;
    hasher.update(bytes);
    let found = hasher.finish();
    match found == *expected {
        true => Ok(found),
        false => Err(fail!(Kind::Spec, "manifest {expected}: content has digest {found}")),
    }
}

fn request_manifest(
    endpoint: &Arc<Endpoint>,
    reference: &str,
    expected: Option<&Digest>,
) -> Result<(Vec<u8>, MediaType, Digest)> {
    let response =
        endpoint.get(&format!("manifests/{reference}"), &[("accept", &MANIFEST_TYPES.join(", "))])?;
    let claimed = response.header("docker-content-digest").map(digest::parse).transpose()?;
    let named = response
        .header("content-type")
        // Media types are the same in any case (RFC 6838); the constants they are compared with have small
        // letters.
        .map(|name| name.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let bytes = read_manifest_body(response, endpoint.timeout())?;
    if let Some(claimed) = claimed {
        let mut hasher = digest::Hasher::for_digest(&claimed)?;
        hasher.update(&bytes);
        if hasher.finish() != claimed {
            return Err(fail!(
                Kind::Spec,
                "manifest {reference}: content has not the digest {claimed} that the registry says"
            ));
        }
    }
    let found = check_digest(&bytes, expected)?;
    decide_media_type(&bytes, named).map(|media_type| (bytes, media_type, found))
}

/// Returns the media type of the header, or of the document itself if the header is too general.
fn decide_media_type(bytes: &[u8], named: Option<String>) -> Result<MediaType> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        media_type: Option<String>,
    }
    let general = |name: &String| {
        matches!(name.as_str(), "" | "application/json" | "text/plain" | "application/octet-stream")
    };
    let name = match named.filter(|name| !general(name)) {
        Some(name) => name,
        None => crate::image::document::manifest::parse_json::<Typed>(bytes)?.media_type.unwrap_or_default(),
    };
    let media_type = MediaType::from(name.as_str());
    document_kind(&media_type)?;
    Ok(media_type)
}

fn read_manifest_body(response: Response, within: Duration) -> Result<Vec<u8>> {
    let bytes = document::read(response.into_reader(), limits::MAX_MANIFEST, within)
        .map_err(from_io_error)
        .context("read the manifest")?;
    if bytes.len() as u64 > limits::MAX_MANIFEST {
        return Err(fail!(Kind::Spec, "the manifest is larger than {} bytes", limits::MAX_MANIFEST));
    }
    Ok(bytes)
}

/// The most pages, tags and bytes of a list of tags: each tag takes some hundred bytes of memory, however short it is.
const MAX_TAG_PAGES: usize = 1000;
const MAX_TAGS: usize = 1 << 19;
const MAX_TAG_BYTES: usize = 64 << 20;
/// How many times as long as one document the whole list may take.
const MAX_TAG_TIME: u32 = 20;

const ONE_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads the list of tags, page by page. A server that never comes to its end is not followed.
fn request_all_tags(endpoint: &Arc<Endpoint>) -> Result<Vec<String>> {
    let (mut all, mut seen, mut bytes) = (Vec::new(), HashSet::new(), 0);
    let mut page = "tags/list".to_owned();
    let until = Instant::now() + endpoint.timeout().saturating_mul(MAX_TAG_TIME).min(ONE_DAY);
    for number in 0..MAX_TAG_PAGES {
        let (tags, next) = request_tags(endpoint, &page)?;
        let is_empty = tags.is_empty();
        let before = all.len();
        for tag in tags {
            bytes += tag.len();
            if seen.insert(tag.clone()) {
                all.push(tag);
            }
        }
        let Some(next) = next else { return Ok(all) };
        if next == page || (!is_empty && all.len() == before) {
            return Err(fail!(Kind::Spec, "the list of tags goes round in a circle: {page} leads to {next}"));
        }
        if all.len() > MAX_TAGS {
            return Err(fail!(Kind::Spec, "the list of tags has more than {MAX_TAGS}"));
        }
        if Instant::now() > until {
            let error = fail!(
                Kind::System(Errno::ETIMEDOUT),
                "the list of tags has no end after {} pages",
                number + 1
            );
            return Err(error.with_hint("--timeout gives it more time"));
        }
        if bytes > MAX_TAG_BYTES {
            return Err(fail!(Kind::Spec, "the list of tags has more than {MAX_TAG_BYTES} bytes"));
        }
        page = next;
    }
    Err(fail!(Kind::Spec, "the list of tags has more than {MAX_TAG_PAGES} pages"))
}

/// One page of tags, and where the next one is.
fn request_tags(endpoint: &Arc<Endpoint>, page: &str) -> Result<(Vec<String>, Option<String>)> {
    #[derive(serde::Deserialize)]
    struct Page {
        tags: Option<Vec<String>>,
    }
    let response = endpoint.get(page, &[])?;
    let next = response.header("link").and_then(next_page);
    let page: Page =
        crate::image::document::manifest::parse_json(&read_manifest_body(response, endpoint.timeout())?)?;
    Ok((page.tags.unwrap_or_default(), next))
}

/// The query of `</v2/NAME/tags/list?last=x&n=100>; rel="next"`.
fn next_page(link: &str) -> Option<String> {
    let (url, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = |it: &str| matches!(it.trim(), "rel=next" | "rel=\"next\"");
    let (_, query) = url.split_once('?')?;
    parameters.split([';', ',']).any(is_next).then(|| format!("tags/list?{query}"))
}

impl ImageSource for Registry {
    fn repository(&self) -> Option<(&str, &str)> {
        // The registry itself; mirrors hold copies only.
        self.endpoints.last().map(|endpoint| (endpoint.host(), endpoint.repository()))
    }

    fn tags(&self) -> Result<Option<Vec<String>>> {
        self.try_endpoints(request_all_tags).map(Some)
    }

    fn manifests(&self) -> Result<Vec<Descriptor>> {
        let expected = self.name.digest().map(digest::parse).transpose()?;
        let reference = self.name.digest().or_else(|| self.name.tag()).unwrap_or("latest");
        Ok(vec![self.fetch_manifest(reference, expected.as_ref())?])
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        let digest = descriptor.digest();
        if document_kind(descriptor.media_type()).is_ok() {
            let cached = |manifests: &Mutex<HashMap<Digest, Vec<u8>>>| {
                manifests.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
            };
            if cached(&self.manifests).is_none() {
                self.fetch_manifest(digest.as_ref(), Some(digest))?;
            }
            return Ok(Box::new(Cursor::new(cached(&self.manifests).unwrap_or_default())));
        }
        self.blob_from(descriptor, 0)
    }

    fn blob_from(&self, descriptor: &Descriptor, start: u64) -> Result<Box<dyn Read + Send>> {
        let reader = self.try_endpoints(|endpoint| BlobReader::open(endpoint, descriptor, start))?;
        Ok(Box::new(reader))
    }
}
