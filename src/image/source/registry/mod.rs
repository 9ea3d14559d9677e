//! `docker://NAME`: a registry, by the OCI distribution specification 1.1, which is Docker's protocol too.
//!
//! A name leads through registries.conf (`settings`) to one or more places (`endpoint`): mirrors first, the registry
//! itself last. Requests carry what `auth` found in the user's `credentials` and trust what `trust` says; a blob that
//! breaks off goes on where it was (`blob`).

mod auth;
mod blob;
mod credentials;
mod endpoint;
pub mod login;
mod proxy;
mod push;
mod settings;
mod trust;

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oci_spec::distribution::Reference as Name;
use oci_spec::image::{Descriptor, Digest, MediaType};

use super::interface::Source;
use crate::error::{Context, Kind, Result};
use crate::image::blob::digest;
use crate::image::document::manifest::document;
use crate::image::limits;
use crate::{fail, log};

pub use credentials::Credentials;
use endpoint::{Endpoint, Response};
pub use push::Target;

/// What the person said about reaching registries.
#[derive(Debug, Clone)]
pub struct Access {
    /// Whether certificates are checked and plain HTTP is refused; None leaves it to registries.conf.
    pub tls_verify: Option<bool>,
    /// A directory with `*.crt` (authorities), `*.cert` and `*.key` (ours).
    pub cert_dir: Option<PathBuf>,
    /// The one file of credentials to look at.
    pub auth_file: Option<PathBuf>,
    pub credentials: Option<Credentials>,
    /// How often a request that failed for the moment is made again.
    pub retries: u32,
    /// How long a server may be silent.
    pub patience: Duration,
}

/// The media types of what a manifest request may answer.
const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

#[derive(Debug)]
pub struct Registry {
    name: Name,
    /// Where it may be had, in the order to try.
    endpoints: Vec<Arc<Endpoint>>,
    /// Manifests that were fetched to learn their digest.
    fetched: Mutex<HashMap<Digest, Vec<u8>>>,
}

impl Registry {
    /// Reads the settings; nothing is sent yet.
    pub fn open(name: &str, access: &Access) -> Result<Self> {
        let name = parse(name)?;
        let settings = settings::Settings::load()?;
        let places = settings.places(&name)?;
        let endpoints = places.into_iter().map(|place| Endpoint::new(place, access).map(Arc::new));
        Ok(Self { name, endpoints: endpoints.collect::<Result<_>>()?, fetched: Mutex::default() })
    }

    /// Asks each place in turn; the answer of the last one counts if all fail.
    fn ask<T>(&self, ask: impl Fn(&Arc<Endpoint>) -> Result<T>) -> Result<T> {
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
    fn fetch(&self, reference: &str, wanted: Option<&Digest>) -> Result<Descriptor> {
        let (bytes, media_type) = self.ask(|endpoint| manifest(endpoint, reference))?;
        let found = match wanted {
            Some(wanted) => {
                let mut hasher = digest::Hasher::like(wanted)?;
                hasher.update(&bytes);
                hasher.finish()
            }
            None => digest::of(&bytes),
        };
        if let Some(wanted) = wanted.filter(|wanted| **wanted != found) {
            return Err(fail!(Kind::Spec, "manifest {wanted}: content has digest {found}"));
        }
        let descriptor = Descriptor::new(media_type, bytes.len() as u64, found.clone());
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner).insert(found, bytes);
        Ok(descriptor)
    }
}

/// Parses a name as Docker does: `ubuntu` is `docker.io/library/ubuntu:latest`.
pub fn parse(name: &str) -> Result<Name> {
    name.parse().map_err(|e| fail!(Kind::Usage, "image name {name:?}: {e}"))
}

fn manifest(endpoint: &Arc<Endpoint>, reference: &str) -> Result<(Vec<u8>, MediaType)> {
    let response = endpoint.get(&format!("manifests/{reference}"), &[("accept", &MANIFESTS.join(", "))])?;
    let said = response.header("docker-content-digest").map(digest::parse).transpose()?;
    let named = response
        .header("content-type")
        .map(|name| name.split(';').next().unwrap_or_default().trim().to_owned());
    let bytes = read(response)?;
    if let Some(said) = said {
        let mut hasher = digest::Hasher::like(&said)?;
        hasher.update(&bytes);
        if hasher.finish() != said {
            return Err(fail!(
                Kind::Spec,
                "manifest {reference}: content has not the digest {said} that the registry says"
            ));
        }
    }
    media_type(&bytes, named).map(|media_type| (bytes, media_type))
}

/// The header's media type, or what the document itself says where the header is too general.
fn media_type(bytes: &[u8], named: Option<String>) -> Result<MediaType> {
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
        None => crate::image::document::manifest::parse::<Typed>(bytes)?.media_type.unwrap_or_default(),
    };
    let media_type = MediaType::from(name.as_str());
    document(&media_type)?;
    Ok(media_type)
}

fn read(response: Response) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    response.into_reader().take(limits::MANIFEST + 1).read_to_end(&mut bytes).context("read the manifest")?;
    if bytes.len() as u64 > limits::MANIFEST {
        return Err(fail!(Kind::Spec, "the manifest is larger than {} bytes", limits::MANIFEST));
    }
    Ok(bytes)
}

/// The largest list of tags that is read; a longer one comes in pages.
const PAGES: usize = 1000;

/// One page of tags, and where the next one is.
fn tags(endpoint: &Arc<Endpoint>, page: &str) -> Result<(Vec<String>, Option<String>)> {
    #[derive(serde::Deserialize)]
    struct Page {
        tags: Option<Vec<String>>,
    }
    let response = endpoint.get(page, &[])?;
    let next = response.header("link").and_then(next_page);
    let page: Page = crate::image::document::manifest::parse(&read(response)?)?;
    Ok((page.tags.unwrap_or_default(), next))
}

/// The query of `</v2/NAME/tags/list?last=x&n=100>; rel="next"`.
fn next_page(link: &str) -> Option<String> {
    let url = link.split(';').next()?.trim().strip_prefix('<')?.strip_suffix('>')?;
    let (_, query) = url.split_once('?')?;
    link.contains("next").then(|| format!("tags/list?{query}"))
}

impl Source for Registry {
    fn repository(&self) -> Option<(&str, &str)> {
        // The registry itself; mirrors hold copies only.
        self.endpoints.last().map(|endpoint| (endpoint.host(), endpoint.repository()))
    }

    fn tags(&self) -> Result<Option<Vec<String>>> {
        self.ask(|endpoint| {
            let mut all = Vec::new();
            let mut page = Some("tags/list".to_owned());
            for _ in 0..PAGES {
                let Some(query) = page.take() else { break };
                let (mut tags, next) = tags(endpoint, &query)?;
                all.append(&mut tags);
                page = next;
            }
            Ok(Some(all))
        })
    }

    fn manifests(&self) -> Result<Vec<Descriptor>> {
        let wanted = self.name.digest().map(digest::parse).transpose()?;
        let reference = self.name.digest().or_else(|| self.name.tag()).unwrap_or("latest");
        Ok(vec![self.fetch(reference, wanted.as_ref())?])
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        let digest = descriptor.digest();
        if document(descriptor.media_type()).is_ok() {
            let known = |fetched: &Mutex<HashMap<Digest, Vec<u8>>>| {
                fetched.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
            };
            if known(&self.fetched).is_none() {
                self.fetch(digest.as_ref(), Some(digest))?;
            }
            return Ok(Box::new(Cursor::new(known(&self.fetched).unwrap_or_default())));
        }
        self.blob_from(descriptor, 0)
    }

    fn blob_from(&self, descriptor: &Descriptor, start: u64) -> Result<Box<dyn Read + Send>> {
        let reader = self.ask(|endpoint| blob::Reader::open(endpoint, descriptor, start))?;
        Ok(Box::new(reader))
    }
}
