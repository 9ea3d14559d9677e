//! `Endpoint`: one repository on one host. It sends requests with authorization and retries, and turns failures into clear
//! errors.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ureq::http::{Method, StatusCode};
use ureq::{Agent, SendBody};

use super::access::Access;
use super::auth::{Authorization, Challenge};
use super::registries_conf::Location;
use super::{auth_file, proxy, tls};
use crate::error::{Error, Kind, Result};
use crate::{fail, log};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest wait that a server's Retry-After is followed for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Errors of a registry are short documents.
const ERROR_BODY_BYTES: u64 = 64 << 10;

pub(crate) type Body = ureq::BodyReader<'static>;

/// The pause before attempt number `attempt` (1 is the first retry): 200 ms, doubling to 6.4 s.
pub(super) fn retry_delay(attempt: u32) -> Duration {
    Duration::from_millis(100 << attempt.min(6))
}

pub(super) struct Endpoint {
    /// `HOST[:PORT]`.
    host: String,
    repository: String,
    /// Plain HTTP and unknown certificates are accepted.
    insecure: bool,
    retries: u32,
    agent: Agent,
    access: Access,
    /// `https://HOST` or `http://HOST`, found out by the first request.
    base: OnceLock<String>,
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

/// A request to the registry.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    /// Below the repository, or a path or URL that a server's answer named.
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: Option<RequestBody<'a>>,
    /// A 404 is returned as a response and not as an error.
    pub(super) allow_not_found: bool,
}

/// The body of a request, opened anew for each attempt.
pub(super) struct RequestBody<'a> {
    pub(crate) size: u64,
    pub(crate) open: &'a dyn Fn() -> Result<Box<dyn Read + Send>>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, headers: &[], body: None, allow_not_found: false }
    }
}

/// A successful answer.
pub(super) struct Response(ureq::http::Response<ureq::Body>);

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name)?.to_str().ok()
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
        let host = if location.host == "docker.io" { "registry-1.docker.io".into() } else { location.host };
        let agent = new_agent(&host, insecure, access)?;
        Ok(Self {
            host,
            repository: location.repository,
            insecure,
            retries: access.retries,
            agent,
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

    pub(crate) fn retries(&self) -> u32 {
        self.retries
    }

    /// Sends a GET for `path` below the repository, and retries temporary failures.
    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
        self.send(&Request { headers, ..Request::new(Method::GET, path) })
    }

    /// Sends a request for `path` below the repository, and retries temporary failures.
    pub(crate) fn send(&self, request: &Request<'_>) -> Result<Response> {
        let url = self.url(request.path)?;
        self.send_with_retries(&url, request, self.retries).map_err(|e| {
            let (verb, word) = match request.method {
                Method::GET => ("get", "from"),
                Method::HEAD => ("look for", "in"),
                _ => ("send", "to"),
            };
            let proxy = self.agent.config().proxy();
            let proxy = proxy.map_or_else(String::new, |it| format!(" by proxy {}:{}", it.host(), it.port()));
            self.with_login_hint(e).context(format!("{verb} {} {word} {}{proxy}", request.path, self.host))
        })
    }

    /// As `send`, without retries; the challenge of a 401 is answered.
    pub(super) fn send_once(&self, request: &Request<'_>) -> Result<Response> {
        let url = self.url(request.path)?;
        self.send_with_retries(&url, request, 0).map_err(|error| self.with_login_hint(error))
    }

    /// Adds to a refusal the hint to log in.
    fn with_login_hint(&self, error: Error) -> Error {
        if error.kind() != Kind::Denied || error.hint().is_some() {
            return error;
        }
        error.with_hint(format!("log in with: tare-image login {}", auth_file::canonical_host(&self.host)))
    }

    /// The URL of `path` below the repository. A whole URL, from a server's answer, is returned as it is.
    fn url(&self, path: &str) -> Result<String> {
        let base = self.base_url()?;
        Ok(match path {
            whole if whole.contains("://") => whole.to_owned(),
            rooted if rooted.starts_with('/') => format!("{base}{rooted}"),
            path => format!("{base}/v2/{}/{path}", self.repository),
        })
    }

    fn send_with_retries(&self, url: &str, request: &Request<'_>, retries: u32) -> Result<Response> {
        let mut attempt = 0;
        let mut authorized = false;
        loop {
            let answer = self.send_attempt(url, request)?;
            let (error, wait) = match answer {
                Ok(response) if response.status().is_success() => return Ok(Response(response)),
                Ok(response) if request.allow_not_found && response.status() == StatusCode::NOT_FOUND => {
                    return Ok(Response(response));
                }
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED && !authorized => {
                    authorized = true;
                    self.authorize(&response)?;
                    continue;
                }
                Ok(response) => {
                    let wait = retry_after(&response);
                    let transient = is_transient(response.status());
                    let error = status_error(response);
                    if !transient {
                        return Err(error);
                    }
                    (error, wait)
                }
                Err(error) if is_permanent(&error) => return Err(to_error(&error)),
                Err(error) => (to_error(&error), None),
            };
            attempt += 1;
            if attempt > retries {
                return Err(error);
            }
            log::debug(format_args!("{url}: {error}; attempt {attempt} of {retries}"));
            std::thread::sleep(wait.unwrap_or_else(|| retry_delay(attempt)).min(MAX_RETRY_AFTER));
        }
    }

    /// Sends the request once. The outer error is about the request or its body, the inner one about the answer.
    fn send_attempt(
        &self,
        url: &str,
        request: &Request<'_>,
    ) -> Result<Result<ureq::http::Response<ureq::Body>, ureq::Error>> {
        let mut builder = ureq::http::Request::builder().method(request.method.clone()).uri(url);
        for (name, value) in request.headers {
            builder = builder.header(*name, *value);
        }
        let authorization = self.authorization.lock().unwrap_or_else(PoisonError::into_inner);
        // Credentials go to the registry alone, wherever it says that uploads go.
        if let Some(authorization) = authorization.as_ref().filter(|_| self.is_registry_url(url)) {
            builder = builder.header("authorization", authorization.header());
        }
        drop(authorization);
        let bad = |error: ureq::http::Error| fail!(Kind::Spec, "{url}: {error}");
        let Some(body) = &request.body else {
            return Ok(self.agent.run(builder.body(()).map_err(bad)?));
        };
        let content = SendBody::from_owned_reader((body.open)()?);
        let sent = builder.header("content-length", body.size).body(content).map_err(bad)?;
        Ok(self.agent.run(sent))
    }

    fn is_registry_url(&self, url: &str) -> bool {
        let own = self.base.get().and_then(|base| url.strip_prefix(base.as_str()));
        own.is_some_and(|rest| rest.starts_with('/'))
    }

    /// Answers the challenge of a 401 with the user's credentials.
    fn authorize(&self, response: &ureq::http::Response<ureq::Body>) -> Result<()> {
        let lines =
            response.headers().get_all("www-authenticate").iter().filter_map(|line| line.to_str().ok());
        let challenge = Challenge::strongest(lines)
            .ok_or_else(|| fail!(Kind::Denied, "the registry asks for an authorization of unknown sort"))?;
        let credentials = auth_file::find_credentials(&self.host, &self.repository, &self.access)?;
        let authorization =
            challenge.answer(&self.agent, &self.repository, credentials.as_ref(), self.insecure)?;
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(authorization);
        Ok(())
    }

    /// Finds out whether the registry speaks HTTPS; plain HTTP is tried only where it is allowed.
    fn base_url(&self) -> Result<&str> {
        if let Some(base) = self.base.get() {
            return Ok(base);
        }
        let https = format!("https://{}", self.host);
        let base = match self.insecure {
            false => https,
            true => match self.agent.get(format!("{https}/v2/")).call() {
                Ok(_) => https,
                Err(error) => {
                    log::debug(format_args!("{https}: {error}: trying plain HTTP"));
                    format!("http://{}", self.host)
                }
            },
        };
        Ok(self.base.get_or_init(|| base))
    }

    /// Checks with GET /v2/ that the registry accepts the credentials.
    pub(super) fn check_credentials(&self) -> Result<()> {
        let base = self.base_url()?;
        self.send_with_retries(&format!("{base}/v2/"), &Request::new(Method::GET, ""), self.retries).map(drop)
    }
}

fn new_agent(host: &str, insecure: bool, access: &Access) -> Result<Agent> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .https_only(!insecure)
        .user_agent(concat!("tare-image/", env!("CARGO_PKG_VERSION")))
        .proxy(proxy::for_host(host, |name| std::env::var(name).ok())?)
        .timeout_connect(Some(CONNECT_TIMEOUT.min(access.timeout)))
        .timeout_recv_response(Some(access.timeout))
        .timeout_per_read(Some(access.timeout))
        .timeout_per_write(Some(access.timeout))
        .tls_config(tls::tls_config(host, insecure, access.cert_dir.as_deref())?)
        .build();
    Ok(config.new_agent())
}

/// Whether a status says that a retry may succeed.
fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Whether a retry cannot help.
fn is_permanent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => own_error(error).is_some() || error.to_string().contains("certificate"),
        ureq::Error::Timeout(_)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Protocol(_) => false,
        _ => true,
    }
}

/// Our own error in an `io::Error`, which comes from the request's body.
fn own_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn to_error(error: &ureq::Error) -> Error {
    if let ureq::Error::Io(error) = error
        && let Some(own) = own_error(error)
    {
        return own.clone();
    }
    match error {
        ureq::Error::Io(error) if error.raw_os_error().is_some() => {
            io::Error::from_raw_os_error(error.raw_os_error().unwrap_or_default()).into()
        }
        // The library's words for a resolver that found nothing.
        ureq::Error::Io(error) if error.to_string().contains("failed to lookup address") => {
            fail!(Kind::NotFound, "there is no such host")
        }
        ureq::Error::HostNotFound => fail!(Kind::NotFound, "there is no such host"),
        ureq::Error::Timeout(_) => {
            fail!(Kind::System(nix::errno::Errno::ETIMEDOUT), "the registry does not answer")
        }
        other => {
            let text = match other {
                ureq::Error::Io(error) => error.to_string(),
                other => other.to_string(),
            };
            if text.contains("certificate") {
                fail!(Kind::Denied, "{text}").with_hint(
                    "name the registry's authority with --cert-dir, or trust any with --tls-verify=false",
                )
            } else {
                fail!(Kind::System(nix::errno::Errno::EIO), "{text}")
            }
        }
    }
}

/// Retry-After in seconds; its other form, a date, is rare and left out.
fn retry_after(response: &ureq::http::Response<ureq::Body>) -> Option<Duration> {
    response.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// Turns a failed response into an error, with the registry's own message where it has one (distribution-spec, "Error
/// Codes").
fn status_error(response: ureq::http::Response<ureq::Body>) -> Error {
    let status = response.status();
    let kind = match status.as_u16() {
        401 | 403 => Kind::Denied,
        404 => Kind::NotFound,
        _ => Kind::Unsupported,
    };
    let mut body = Vec::new();
    let _ = response.into_body().into_reader().take(ERROR_BODY_BYTES).read_to_end(&mut body);
    let message = error_message(&body).map_or_else(String::new, |message| format!(": {message}"));
    let reason = status.canonical_reason().unwrap_or("unknown status").to_lowercase();
    fail!(kind, "the registry answers {} ({reason}){message}", status.as_u16())
}

fn error_message(body: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(body).ok()?;
    let first = document.get("errors")?.get(0)?;
    let text = first.get("message").or_else(|| first.get("code"))?.as_str()?;
    Some(text.chars().filter(|c| !c.is_control()).take(200).collect())
}
