//! Pushes an image to a registry (distribution-spec, "Push"). Blobs that the repository has are not sent;
//! blobs of another repository of the same registry are mounted from there; the others are uploaded in one
//! request each. The manifest comes last, because registries check that its blobs are there.

use std::io::{Cursor, Read};

use oci_spec::image::{Descriptor, Digest};
use ureq::http::Method;

use super::access::Access;
use super::endpoint::{Endpoint, Request, RequestBody, Response, retry_delay};
use super::name::parse_name;
use super::registries_conf::RegistriesConf;
use super::url;
use crate::error::{Context, Error, Kind, Result};
use crate::image::blob::digest;
use crate::{fail, log};

/// The repository and reference that an image is pushed to.
#[derive(Debug)]
pub(crate) struct PushTarget {
    endpoint: Endpoint,
    /// The tag, or the digest that the manifest must have.
    reference: String,
    digest: Option<Digest>,
}

impl PushTarget {
    /// Finds the registry itself; nothing is sent to mirrors.
    pub(crate) fn open(name: &str, access: &Access) -> Result<Self> {
        let name = parse_name(name)?;
        let digest = name.digest().map(digest::parse).transpose()?;
        let missing = || fail!(Kind::NotFound, "no registry is left to ask");
        let location = RegistriesConf::load()?.locations(&name)?.pop().ok_or_else(missing)?;
        let reference = name.digest().or_else(|| name.tag()).unwrap_or("latest").to_owned();
        let access = access.for_host(&location.host, name.registry());
        Ok(Self { endpoint: Endpoint::new(location, &access)?, reference, digest })
    }

    /// Whether the repository has the blob.
    fn has_blob(&self, blob: &Descriptor) -> Result<bool> {
        let path = format!("blobs/{}", blob.digest());
        let request = Request { allow_not_found: true, ..Request::new(Method::HEAD, &path) };
        Ok(self.endpoint.send(&request)?.status() == 200)
    }

    /// Pushes a blob, unless the repository has it. `from` is the registry and repository that has it, `open`
    /// opens it.
    pub(crate) fn push_blob(
        &self,
        blob: &Descriptor,
        from: Option<(&str, &str)>,
        open: &dyn Fn() -> Result<Box<dyn Read + Send>>,
    ) -> Result<()> {
        if self.has_blob(blob)? {
            return Ok(());
        }
        let mut attempt = 0;
        loop {
            match self.try_upload(blob, from, open) {
                // The upload or the connection is gone: a new upload is started.
                Err(error) if attempt < self.endpoint.retries() && is_worth_retrying(&error) => {
                    attempt += 1;
                    log::debug(format_args!("{}: {error}; attempt {attempt}", blob.digest()));
                    std::thread::sleep(retry_delay(attempt));
                }
                done => return done,
            }
        }
    }

    fn try_upload(
        &self,
        blob: &Descriptor,
        from: Option<(&str, &str)>,
        open: &dyn Fn() -> Result<Box<dyn Read + Send>>,
    ) -> Result<()> {
        let digest = blob.digest();
        let mount = from.filter(|(host, repository)| {
            *host == self.endpoint.host() && *repository != self.endpoint.repository()
        });
        let response = self.begin_upload(digest, mount.map(|(_, repository)| repository))?;
        if response.status() == 201 {
            return Ok(());
        }
        let missing = || fail!(Kind::Spec, "the registry does not say where a blob goes");
        let location = response.location().ok_or_else(missing)?.context("where a blob goes")?;
        let separator = if location.query().is_some() { '&' } else { '?' };
        let location = url::parse(&format!("{location}{separator}digest={digest}"))?;
        let headers = [("content-type", "application/octet-stream")];
        let body = Some(RequestBody { size: blob.size(), open });
        let request = Request { headers: &headers, body, ..Request::to_url(Method::PUT, location) };
        // The location may contain a secret between the registry and us, which must not be in an error.
        self.endpoint.send_once(&request).map(drop).with_context(|| format!("upload blob {digest}"))
    }

    /// Starts an upload; the registry may answer 201 (mounted) if `repository` has the blob. A registry that
    /// refuses to mount is asked for a plain upload: the user may have no right to the other repository.
    fn begin_upload(&self, digest: &Digest, repository: Option<&str>) -> Result<Response> {
        let nothing: &dyn Fn() -> Result<Box<dyn Read + Send>> = &|| Ok(Box::new(std::io::empty()));
        let body = || Some(RequestBody { size: 0, open: nothing });
        if let Some(repository) = repository {
            let path = format!("blobs/uploads/?mount={digest}&from={repository}");
            match self.endpoint.send_once(&Request { body: body(), ..Request::new(Method::POST, &path) }) {
                Err(error) if !matches!(error.kind(), Kind::System(_)) => {
                    log::debug(format_args!("mount {digest} from {repository}: {error}: uploading it"));
                }
                answered => return answered.with_context(|| format!("mount blob from {repository}")),
            }
        }
        self.endpoint.send(&Request { body: body(), ..Request::new(Method::POST, "blobs/uploads/") })
    }

    /// Pushes the manifest, after all its blobs.
    pub(crate) fn push_manifest(&self, manifest: &Descriptor, bytes: &[u8]) -> Result<()> {
        let digest = manifest.digest();
        if let Some(expected) = self.digest.as_ref().filter(|expected| *expected != digest) {
            return Err(fail!(
                Kind::Usage,
                "the image has digest {digest}, it cannot be pushed as {expected}"
            ));
        }
        self.put_manifest(&self.reference, manifest, bytes)
    }

    /// Pushes a manifest that an index names, by its digest alone.
    pub(crate) fn push_unnamed(&self, manifest: &Descriptor, bytes: &[u8]) -> Result<()> {
        self.put_manifest(manifest.digest().as_ref(), manifest, bytes)
    }

    fn put_manifest(&self, reference: &str, manifest: &Descriptor, bytes: &[u8]) -> Result<()> {
        let digest = manifest.digest();
        let path = format!("manifests/{reference}");
        let headers = [("content-type", manifest.media_type().as_ref())];
        let open: &dyn Fn() -> Result<Box<dyn Read + Send>> = &|| Ok(Box::new(Cursor::new(bytes.to_vec())));
        let body = Some(RequestBody { size: bytes.len() as u64, open });
        let response =
            self.endpoint.send(&Request { headers: &headers, body, ..Request::new(Method::PUT, &path) })?;
        let claimed = response.header("docker-content-digest").map(digest::parse).transpose()?;
        match claimed.filter(|claimed| claimed != digest) {
            Some(claimed) => {
                Err(fail!(Kind::Spec, "the registry says that the manifest {digest} is {claimed}"))
            }
            None => Ok(()),
        }
    }
}

/// Whether another attempt to upload may succeed.
fn is_worth_retrying(error: &Error) -> bool {
    matches!(error.kind(), Kind::System(_) | Kind::Unsupported)
}
