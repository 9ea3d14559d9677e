//! `Endpoint`: one repository on one host. It sends requests with authorization and retries, and turns
//! failures into clear errors.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ureq::http::{Method, StatusCode, Uri};

use super::access::Access;
use super::auth::{Authorization, Challenge};
use super::client::{self, Attempt, Call, Client, Sent};
use super::registries_conf::Location;
use super::{auth_file, url};
use crate::error::{Error, Kind, Result};
use crate::{fail, log};

pub(super) use super::client::{RequestBody, retry_delay};

pub(crate) type Body = ureq::BodyReader<'static>;

/// How the hint begins that names the verb for tags.
pub(super) const LIST: &str = "`tare-image list ";

/// What is to be done where a repository does not have what was asked for.
pub(super) fn list_hint(host: &str, repository: &str) -> String {
    format!("{LIST}docker://{host}/{repository}` lists the tags that are there")
}

/// Where Docker's own registry is.
const DOCKER_HUB: &str = "registry-1.docker.io";

pub(super) struct Endpoint {
    /// `HOST[:PORT]`.
    host: String,
    repository: String,
    retries: u32,
    client: Client,
    access: Access,
    /// `https://HOST/` or `http://HOST/`, found out by the first request.
    base: OnceLock<Uri>,
    authorization: Mutex<Option<Authorization>>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)
    }
}

/// The target of a request.
pub(super) enum Target<'a> {
    /// Below the repository.
    Path(&'a str),
    /// A URL that a server's answer named.
    Url(Uri),
    /// `/v2/`, which shows whether the registry accepts the credentials.
    Version,
}

/// A request to the registry.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(super) target: Target<'a>,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: Option<RequestBody<'a>>,
    /// A 404 is returned as a response and not as an error.
    pub(super) allow_not_found: bool,
}

impl<'a> Request<'a> {
    /// A request for `path` below the repository.
    pub(crate) fn new(method: Method, path: &'a str) -> Self {
        Self { method, target: Target::Path(path), headers: &[], body: None, allow_not_found: false }
    }

    /// A request for the URL that a server named.
    pub(super) fn to_url(method: Method, url: Uri) -> Self {
        Self { target: Target::Url(url), ..Self::new(method, "") }
    }
}

/// A successful answer, and the URL that gave it.
pub(super) struct Response(ureq::http::Response<ureq::Body>, Uri);

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name)?.to_str().ok()
    }

    /// The URL in `Location`, which may be relative to the one that answered.
    pub(super) fn location(&self) -> Option<Result<Uri>> {
        self.header("location").map(|location| url::resolve(&self.1, location))
    }

    /// The first byte of a partial answer: `Content-Range: bytes 5-9/10`.
    pub(super) fn range_start(&self) -> Option<u64> {
        self.header("content-range")?.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
    }

    pub(super) fn into_reader(self) -> Body {
        self.0.into_body().into_reader()
    }
}

impl Endpoint {
    pub(crate) fn new(location: Location, access: &Access) -> Result<Self> {
        let insecure = access.tls_verify.map_or(location.insecure, |verify| !verify);
        // Docker's name for its registry is not where the registry is.
        let host = if location.host == "docker.io" { DOCKER_HUB.into() } else { location.host };
        let client = Client::new(&host, insecure, access)?;
        Ok(Self {
            host,
            repository: location.repository,
            retries: access.retries,
            client,
            access: access.clone(),
            base: OnceLock::new(),
            authorization: Mutex::new(None),
        })
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    pub(super) fn timeout(&self) -> Duration {
        self.client.timeout()
    }

    pub(crate) fn retries(&self) -> u32 {
        self.retries
    }

    /// Sends a GET for `path` below the repository, and retries temporary failures.
    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
        self.send(&Request { headers, ..Request::new(Method::GET, path) })
    }

    /// Sends a request, and retries temporary failures.
    pub(crate) fn send(&self, request: &Request<'_>) -> Result<Response> {
        self.send_with_retries(request, self.retries).map_err(|e| {
            let (verb, word) = match request.method {
                Method::GET => ("get", "from"),
                Method::HEAD => ("look for", "in"),
                _ => ("send", "to"),
            };
            let what = match &request.target {
                Target::Path(path) => (*path).to_owned(),
                Target::Url(url) => client::shown(url),
                Target::Version => "/v2/".to_owned(),
            };
            let proxy = self.client.proxy_text().map_or_else(String::new, |it| format!(" by proxy {it}"));
            self.with_login_hint(e).context(format!("{verb} {what} {word} {}{proxy}", self.host))
        })
    }

    /// Sends like `send`, without retries; the challenge of a 401 is answered.
    pub(super) fn send_once(&self, request: &Request<'_>) -> Result<Response> {
        self.send_with_retries(request, 0).map_err(|error| self.with_login_hint(error))
    }

    /// Adds to a refusal the hint to log in.
    fn with_login_hint(&self, error: Error) -> Error {
        if error.kind() != Kind::Denied || error.hint().is_some() {
            return error;
        }
        error.with_hint(format!(
            "log in with: tare-image login {}; registries also deny a repository that is not there",
            auth_file::canonical_host(&self.host)
        ))
    }

    fn url(&self, base: &Uri, target: &Target<'_>) -> Result<Uri> {
        match target {
            Target::Path(path) => url::parse(&format!("{base}v2/{}/{path}", self.repository)),
            Target::Version => url::parse(&format!("{base}v2/")),
            Target::Url(url) => Ok(url.clone()),
        }
    }

    fn send_with_retries(&self, request: &Request<'_>, retries: u32) -> Result<Response> {
        let mut authorized = false;
        client::with_retries(self, retries, || {
            let (response, url) = match self.send_attempt(request)? {
                Ok(answer) => answer,
                Err(error) => return Attempt::unanswered(&error),
            };
            let is_missing = response.status() == StatusCode::NOT_FOUND;
            if response.status().is_success() || request.allow_not_found && is_missing {
                return Ok(Attempt::Done(Response(response, url)));
            }
            // Only a challenge of the registry itself is answered: a host that it redirects to could name its
            // own token server.
            let is_question = response.status() == StatusCode::UNAUTHORIZED && self.is_registry(&url);
            if is_question && !authorized {
                authorized = true;
                return self.authorize(&response).map(|()| Attempt::Again);
            }
            Attempt::refused(response, |response| self.status_error(response, &url))
        })
    }

    fn send_attempt(&self, request: &Request<'_>) -> Result<Sent> {
        if let Some(sent) = self.send_plain_first(request)? {
            return Ok(sent);
        }
        let authorization = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let base = self.base_url()?;
        self.client.send(&Call {
            method: &request.method,
            url: self.url(base, &request.target)?,
            headers: request.headers,
            body: request.body.as_ref(),
            authorization: authorization.as_ref().map(|it| (it.header(), base)),
            same_origin_only: matches!(request.target, Target::Version),
        })
    }

    fn is_registry(&self, url: &Uri) -> bool {
        self.base.get().is_some_and(|base| url::is_same_origin(base, url))
    }

    /// Turns a failed response into an error. Only a refusal by the registry itself is `Kind::Denied`:
    /// logging in does not help against a refusal by another server.
    fn status_error(&self, response: ureq::http::Response<ureq::Body>, url: &Uri) -> Error {
        if self.is_registry(url) {
            let is_missing = response.status() == StatusCode::NOT_FOUND;
            let error = client::status_error("the registry", Kind::Denied, response, self.timeout());
            return match self.hint_for_missing(url.path()).filter(|_| is_missing) {
                Some(hint) => error.with_hint(hint),
                None => error,
            };
        }
        let who = format!("{}, where the registry leads,", url::host_and_port(url));
        client::status_error(&who, Kind::Unsupported, response, self.timeout())
    }

    /// What is to be done if the registry does not have what is at `path`.
    fn hint_for_missing(&self, path: &str) -> Option<String> {
        let (host, repository) = (self.name(), &self.repository);
        if path.contains("/manifests/") {
            return Some(list_hint(host, repository));
        }
        let is_about_it = path.contains("/tags/") || path.contains("/blobs/uploads/");
        is_about_it.then(|| {
            format!(
                "is {repository} its whole name at {host}? One that only some may see takes a login: \
                 tare-image login {host}"
            )
        })
    }

    /// The host as people name it.
    fn name(&self) -> &str {
        if self.host == DOCKER_HUB { "docker.io" } else { &self.host }
    }

    /// Answers the challenge of a 401 with the user's credentials.
    fn authorize(&self, response: &ureq::http::Response<ureq::Body>) -> Result<()> {
        let lines =
            response.headers().get_all("www-authenticate").iter().filter_map(|line| line.to_str().ok());
        let challenge = Challenge::strongest(lines)
            .ok_or_else(|| fail!(Kind::Denied, "the registry asks for an authorization of unknown sort"))?;
        let credentials = auth_file::find_credentials(&self.host, &self.repository, &self.access)?;
        let is_https = self.base.get().is_some_and(url::is_https);
        let authorization =
            challenge.answer(&self.client, &self.repository, credentials.as_ref(), is_https, self.retries)?;
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(authorization);
        Ok(())
    }

    /// Sends the first request in plain HTTP where that is allowed and nobody on the way can listen: a registry on
    /// this machine mostly speaks no other. None if it is to be asked in HTTPS first.
    fn send_plain_first(&self, request: &Request<'_>) -> Result<Option<Sent>> {
        let is_plain_question =
            request.body.is_none() && matches!(request.method, Method::GET | Method::HEAD);
        let may_be = self.client.insecure() && self.base.get().is_none() && is_plain_question;
        if !may_be || !url::is_loopback(&self.host) || self.client.proxy_text().is_some() {
            return Ok(None);
        }
        let base = url::parse(&format!("http://{}/", self.host))?;
        let sent = self.client.send(&Call {
            method: &request.method,
            url: self.url(&base, &request.target)?,
            headers: request.headers,
            body: None,
            authorization: None,
            same_origin_only: matches!(request.target, Target::Version),
        })?;
        Ok(match sent {
            // As servers of TLS answer this.
            Ok((response, _)) if matches!(response.status().as_u16(), 400 | 426) => None,
            // Or they lead to where they speak it.
            Ok((_, url)) if url::is_https(&url) => None,
            Ok(answer) => {
                self.base.get_or_init(|| base);
                Some(Ok(answer))
            }
            Err(error @ ureq::Error::Timeout(_)) => Some(Err(error)),
            // Or they hang up.
            Err(_) => None,
        })
    }

    /// Finds out whether the registry speaks HTTPS; plain HTTP is tried only if it is allowed.
    fn base_url(&self) -> Result<&Uri> {
        if let Some(base) = self.base.get() {
            return Ok(base);
        }
        let https = url::parse(&format!("https://{}/", self.host))?;
        let base = if self.client.insecure() { self.probe(https)? } else { https };
        Ok(self.base.get_or_init(|| base))
    }

    /// Returns `https`, or the same URL with plain HTTP if nothing answers HTTPS.
    fn probe(&self, https: Uri) -> Result<Uri> {
        let url = url::parse(&format!("{https}v2/"))?;
        let (method, headers) = (&Method::GET, &[]);
        let call = Call { method, url, headers, body: None, authorization: None, same_origin_only: false };
        match self.client.send_first(&call)? {
            Ok(_) => Ok(https),
            Err(error) => {
                log::debug(format_args!("{https}: {error}: trying plain HTTP"));
                url::parse(&format!("http://{}/", self.host))
            }
        }
    }

    /// Checks with GET /v2/ that the registry accepts the credentials.
    pub(super) fn check_credentials(&self) -> Result<()> {
        let request = Request { target: Target::Version, ..Request::new(Method::GET, "") };
        let answer = self.send_with_retries(&request, self.retries).map(drop);
        answer.map_err(|error| match error.kind() {
            Kind::Denied => error.with_hint("the registry does not accept this user with this password"),
            _ => error,
        })
    }
}
