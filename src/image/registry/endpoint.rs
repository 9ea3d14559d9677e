//! One place that serves one repository: requests with authorization, retries and clear errors.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ureq::Agent;
use ureq::http::StatusCode;

use super::auth::{Authorization, Challenge};
use super::settings::Place;
use super::{Access, credentials, proxy, trust};
use crate::error::{Error, Kind, Result};
use crate::{fail, log};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(20);
/// The longest wait that a server's Retry-After is followed for.
const LONGEST: Duration = Duration::from_secs(60);
/// Errors of a registry are short documents.
const ERROR_BODY: u64 = 64 << 10;

pub type Body = ureq::BodyReader<'static>;

/// The pause before attempt number `attempt` (1 is the first retry): 200 ms, doubling to 6.4 s.
pub fn pause(attempt: u32) -> Duration {
    Duration::from_millis(100 << attempt.min(6))
}

pub struct Endpoint {
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

/// A successful answer.
pub struct Response(ureq::http::Response<ureq::Body>);

impl Response {
    pub fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name)?.to_str().ok()
    }

    /// The first byte of a partial answer: `Content-Range: bytes 5-9/10`.
    pub fn range_start(&self) -> Option<u64> {
        self.header("content-range")?.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
    }

    pub fn into_reader(self) -> Body {
        self.0.into_body().into_reader()
    }
}

impl Endpoint {
    pub fn new(place: Place, access: &Access) -> Result<Self> {
        let insecure = access.tls_verify.map_or(place.insecure, |verify| !verify);
        // Docker's name for its registry is not where the registry is.
        let host = if place.host == "docker.io" { "registry-1.docker.io".into() } else { place.host };
        let agent = agent(&host, insecure, access)?;
        Ok(Self {
            host,
            repository: place.repository,
            insecure,
            retries: access.retries,
            agent,
            access: access.clone(),
            base: OnceLock::new(),
            authorization: Mutex::new(None),
        })
    }

    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// Gets `path` below the repository. What fails for the moment is tried again.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
        let base = self.base()?;
        let url = format!("{base}/v2/{}/{path}", self.repository);
        self.patiently(&url, headers).map_err(|e| e.context(format!("get {path} from {}", self.host)))
    }

    fn patiently(&self, url: &str, headers: &[(&str, &str)]) -> Result<Response> {
        let mut attempt = 0;
        let mut authorized = false;
        loop {
            let answer = self.once(url, headers);
            let (error, wait) = match answer {
                Ok(response) if response.status().is_success() => return Ok(Response(response)),
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED && !authorized => {
                    authorized = true;
                    self.authorize(&response)?;
                    continue;
                }
                Ok(response) => {
                    let wait = retry_after(&response);
                    let passing = is_passing(response.status());
                    let error = refused(response);
                    if !passing {
                        return Err(error);
                    }
                    (error, wait)
                }
                Err(error) if is_final(&error) => return Err(sentence(&error)),
                Err(error) => (sentence(&error), None),
            };
            attempt += 1;
            if attempt > self.retries {
                return Err(error);
            }
            log::debug(format_args!("{url}: {error}; attempt {attempt} of {}", self.retries));
            std::thread::sleep(wait.unwrap_or_else(|| pause(attempt)).min(LONGEST));
        }
    }

    fn once(
        &self,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let mut request = self.agent.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let authorization = self.authorization.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(authorization) = authorization.as_ref() {
            request = request.header("authorization", authorization.header());
        }
        drop(authorization);
        request.call()
    }

    /// Answers the challenge of a 401 with the user's credentials.
    fn authorize(&self, response: &ureq::http::Response<ureq::Body>) -> Result<()> {
        let lines =
            response.headers().get_all("www-authenticate").iter().filter_map(|line| line.to_str().ok());
        let challenge = Challenge::strongest(lines)
            .ok_or_else(|| fail!(Kind::Denied, "the registry asks for an authorization of unknown sort"))?;
        let credentials = credentials::find(&self.host, &self.repository, &self.access)?;
        let authorization =
            challenge.answer(&self.agent, &self.repository, credentials.as_ref(), self.insecure)?;
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(authorization);
        Ok(())
    }

    /// Finds out how the registry is spoken to. Plain HTTP only where that was allowed.
    fn base(&self) -> Result<&str> {
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

    /// Whether the registry accepts the credentials at all.
    pub fn check_credentials(&self) -> Result<()> {
        let base = self.base()?;
        self.patiently(&format!("{base}/v2/"), &[]).map(drop)
    }
}

fn agent(host: &str, insecure: bool, access: &Access) -> Result<Agent> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .https_only(!insecure)
        .user_agent(concat!("tare-image/", env!("CARGO_PKG_VERSION")))
        .proxy(proxy::for_host(host, |name| std::env::var(name).ok())?)
        .timeout_connect(Some(CONNECT.min(access.patience)))
        .timeout_recv_response(Some(access.patience))
        .timeout_per_read(Some(access.patience))
        .timeout_per_write(Some(access.patience))
        .tls_config(trust::config(host, insecure, access.cert_dir.as_deref())?)
        .build();
    Ok(config.new_agent())
}

/// What a server says when it may go better the next time.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// What does not get better by trying again.
fn is_final(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => error.to_string().contains("certificate"),
        ureq::Error::Timeout(_)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Protocol(_) => false,
        _ => true,
    }
}

fn sentence(error: &ureq::Error) -> Error {
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
            let error = fail!(Kind::Denied, "{text}");
            if text.contains("certificate") {
                error.with_hint(
                    "name the registry's authority with --cert-dir, or trust any with --tls-verify=false",
                )
            } else {
                error
            }
        }
    }
}

/// Retry-After in seconds; its other form, a date, is rare and left out.
fn retry_after(response: &ureq::http::Response<ureq::Body>) -> Option<Duration> {
    response.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// A refusal, with the registry's own words where it has some.
fn refused(response: ureq::http::Response<ureq::Body>) -> Error {
    let status = response.status();
    let kind = match status.as_u16() {
        401 | 403 => Kind::Denied,
        404 => Kind::NotFound,
        _ => Kind::Unsupported,
    };
    let mut body = Vec::new();
    let _ = response.into_body().into_reader().take(ERROR_BODY).read_to_end(&mut body);
    let words = words(&body).map_or_else(String::new, |words| format!(": {words}"));
    let reason = status.canonical_reason().unwrap_or("unknown status").to_lowercase();
    let error = fail!(kind, "the registry answers {} ({reason}){words}", status.as_u16());
    if status == StatusCode::UNAUTHORIZED {
        return error.with_hint("log in with: tare-image login REGISTRY");
    }
    error
}

fn words(body: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(body).ok()?;
    let first = document.get("errors")?.get(0)?;
    let text = first.get("message").or_else(|| first.get("code"))?.as_str()?;
    Some(text.chars().filter(|c| !c.is_control()).take(200).collect())
}
