//! `Client`: sends requests and follows redirects. Each host has an agent of its own: its proxy, and no
//! certificate of ours that is meant for another. An `Authorization` goes to the one origin that it is for,
//! whatever redirects say.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ureq::http::header::LOCATION;
use ureq::http::{Method, Response, StatusCode, Uri};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, TcpConnector};
use ureq::{Agent, Body, SendBody};

use super::access::Access;
use super::tls_connector::{self, TlsConnector};
use super::{document, proxy, tls, url};
use crate::error::{Error, Kind, Result};
use crate::weak::{Defence, stands};
use crate::{fail, log};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest wait that a server's Retry-After is followed for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Errors of a registry are short documents.
const ERROR_BODY_BYTES: u64 = 64 << 10;
/// How many redirects one request may take.
const MAX_REDIRECTS: u32 = 10;

/// The pause before attempt number `attempt` (1 is the first retry): 200 ms, doubling to 6.4 s.
pub(super) fn retry_delay(attempt: u32) -> Duration {
    Duration::from_millis(100 << attempt.min(6))
}

/// Sends requests for one registry.
pub(super) struct Client {
    /// `HOST[:PORT]` of the registry.
    registry: String,
    /// Plain HTTP and unknown certificates are accepted.
    insecure: bool,
    access: Access,
    agents: Mutex<HashMap<String, Agent>>,
}

/// A request with its whole URL.
pub(super) struct Call<'a> {
    pub(super) method: &'a Method,
    pub(super) url: Uri,
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: Option<&'a RequestBody<'a>>,
    /// The value of `Authorization`, and a URL of the origin that it is for.
    pub(super) authorization: Option<(&'a str, &'a Uri)>,
    /// A redirect to another origin is an error: the body is a secret, or another server's answer proves
    /// nothing.
    pub(super) same_origin_only: bool,
}

/// The body of a request, opened anew for each attempt.
pub(super) struct RequestBody<'a> {
    pub(crate) size: u64,
    pub(crate) open: &'a dyn Fn() -> Result<Box<dyn Read + Send>>,
}

/// The result of a request: an answer with the URL that gave it, or a failure of the connection.
pub(super) type Sent = std::result::Result<(Response<Body>, Uri), ureq::Error>;

impl Client {
    /// Reads the settings for the registry's own host; nothing is sent yet.
    pub(super) fn new(registry: &str, insecure: bool, access: &Access) -> Result<Self> {
        let agents = Mutex::default();
        let client =
            Self { registry: registry.to_ascii_lowercase(), insecure, access: access.clone(), agents };
        client.agent(&client.registry)?;
        Ok(client)
    }

    /// How long a server may be silent, and take for a document.
    pub(super) fn timeout(&self) -> Duration {
        self.access.timeout
    }

    pub(super) fn insecure(&self) -> bool {
        self.insecure
    }

    /// The proxy on the way to the registry, for messages.
    pub(super) fn proxy_text(&self) -> Option<String> {
        let agent = self.agent(&self.registry).ok()?;
        agent.config().proxy().map(|it| format!("{}:{}", it.host(), it.port()))
    }

    fn agent(&self, host: &str) -> Result<Agent> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(host) {
            return Ok(agent.clone());
        }
        let agent = self.new_agent(host)?;
        agents.insert(host.to_owned(), agent.clone());
        Ok(agent)
    }

    /// The host of a URL, with the registry's own as the user spells it: certificates are kept under that
    /// name.
    fn host_of(&self, url: &Uri) -> String {
        let scheme = url.scheme_str().unwrap_or("https");
        let registry = url::parse(&format!("{scheme}://{}/", self.registry));
        match registry.is_ok_and(|registry| url::is_same_origin(&registry, url)) {
            true => self.registry.clone(),
            false => url::host_and_port(url),
        }
    }

    fn new_agent(&self, host: &str) -> Result<Agent> {
        let access = &self.access;
        let proxy = proxy::for_host(host, |name| std::env::var(name).ok())?;
        let connect_timeout = CONNECT_TIMEOUT.min(access.timeout);
        let deadline = proxy::Deadline(proxy.is_some().then_some(connect_timeout));
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(!self.insecure)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("tare-image/", env!("CARGO_PKG_VERSION")))
            .proxy(proxy)
            .timeout_connect(Some(connect_timeout))
            .timeout_recv_response(Some(access.timeout))
            .timeout_per_read(Some(access.timeout))
            .timeout_per_write(Some(access.timeout))
            .build();
        let tls = tls::client_config(host, &self.registry, self.insecure, access.cert_dir.as_deref())?;
        let connector = ().chain(ConnectProxyConnector::default()).chain(TcpConnector::default());
        let connector = connector.chain(TlsConnector(Arc::new(tls))).chain(deadline);
        Ok(Agent::with_parts(config, connector, DefaultResolver::default()))
    }

    /// Sends the request once and follows redirects. The outer error is about the request, its body or a
    /// redirect, the inner one about the connection.
    pub(super) fn send(&self, call: &Call<'_>) -> Result<Sent> {
        let mut url = call.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = match self.send_to(call, &url)? {
                Ok(response) => response,
                Err(error) => return Ok(Err(error)),
            };
            let Some(next) = redirect_target(call.method, &url, &response)? else {
                return Ok(Ok((response, url)));
            };
            if call.same_origin_only && !url::is_same_origin(&call.url, &next) {
                let (from, to) = (url::host_and_port(&url), url::host_and_port(&next));
                return Err(fail!(Kind::Denied, "{from} leads to {to}, which is not for our credentials"));
            }
            log::debug(format_args!("{} leads to {}", shown(&url), shown(&next)));
            url = next;
        }
        Err(fail!(Kind::Spec, "more than {MAX_REDIRECTS} redirects, the last to {}", shown(&url)))
    }

    /// Sends the request once, without following redirects.
    pub(super) fn send_first(
        &self,
        call: &Call<'_>,
    ) -> Result<std::result::Result<Response<Body>, ureq::Error>> {
        self.send_to(call, &call.url)
    }

    fn send_to(
        &self,
        call: &Call<'_>,
        url: &Uri,
    ) -> Result<std::result::Result<Response<Body>, ureq::Error>> {
        if !self.insecure && !url::is_https(url) {
            return Err(
                fail!(Kind::Denied, "{} is plain HTTP", shown(url)).with_hint(tls_connector::PLAIN_HTTP_HINT)
            );
        }
        let mut builder = ureq::http::Request::builder().method(call.method.clone()).uri(url.clone());
        for (name, value) in call.headers {
            builder = builder.header(*name, *value);
        }
        // Another origin that a redirect names gets no credentials (CVE-2020-15157).
        if let Some((value, origin)) = call.authorization
            && (url::is_same_origin(origin, url) || !stands(Defence::Origin))
        {
            builder = builder.header("authorization", value);
        }
        let agent = self.agent(&self.host_of(url))?;
        // The library's error text may contain the header.
        let bad = |_: ureq::http::Error| fail!(Kind::Spec, "{}: a header is no text of HTTP", shown(url));
        let Some(body) = call.body else {
            return Ok(agent.run(builder.body(()).map_err(bad)?));
        };
        let content = SendBody::from_owned_reader((body.open)()?);
        let sent = builder.header("content-length", body.size).body(content).map_err(bad)?;
        Ok(agent.run(sent))
    }
}

/// A URL for messages.
pub(super) fn shown(url: &Uri) -> String {
    url::without_query(&url.to_string())
}

/// Returns the target of a redirect; None for any other answer.
fn redirect_target(method: &Method, url: &Uri, response: &Response<Body>) -> Result<Option<Uri>> {
    let status = response.status().as_u16();
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let has_content = method != Method::GET && method != Method::HEAD;
    if status == 303 && has_content {
        return Err(fail!(Kind::Unsupported, "{} leads elsewhere and drops what was sent (303)", shown(url)));
    }
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let missing = || fail!(Kind::Spec, "{} is a redirect ({status}) that does not say where", shown(url));
    let target = url::resolve(url, location.ok_or_else(missing)?);
    target.map(Some).map_err(|error| error.context(format!("redirect of {}", shown(url))))
}

/// The result of one attempt.
pub(super) enum Attempt<T> {
    Done(T),
    /// Another one may succeed; it is made at once and does not count.
    Again,
    /// Another one may succeed, after what the server asked to wait.
    Failed(Error, Option<Duration>),
}

impl<T> Attempt<T> {
    /// An attempt that a server refused; an error where another one cannot succeed.
    pub(super) fn refused(
        response: Response<Body>,
        to_error: impl FnOnce(Response<Body>) -> Error,
    ) -> Result<Self> {
        let (wait, is_transient) = (retry_after(&response), is_transient(response.status()));
        let error = to_error(response);
        if is_transient { Ok(Self::Failed(error, wait)) } else { Err(error) }
    }

    /// An attempt whose connection failed; an error where another one cannot succeed.
    pub(super) fn unanswered(error: &ureq::Error) -> Result<Self> {
        if is_permanent(error) { Err(to_error(error)) } else { Ok(Self::Failed(to_error(error), None)) }
    }
}

/// Repeats an attempt as long as it may succeed, up to `retries` times. `who` is for the log.
pub(super) fn with_retries<T>(
    who: &dyn std::fmt::Display,
    retries: u32,
    mut attempt: impl FnMut() -> Result<Attempt<T>>,
) -> Result<T> {
    let mut failures = 0;
    loop {
        let (error, wait) = match attempt()? {
            Attempt::Done(result) => return Ok(result),
            Attempt::Again => continue,
            Attempt::Failed(error, wait) => (error, wait),
        };
        failures += 1;
        if failures > retries {
            return Err(error);
        }
        log::debug(format_args!("{who}: {error}; attempt {failures} of {retries}"));
        wait_before(failures, wait);
    }
}

/// How long to wait before attempt number `attempt`: what the server asked for, within bounds.
fn wait_before(attempt: u32, asked: Option<Duration>) {
    std::thread::sleep(asked.unwrap_or_else(|| retry_delay(attempt)).min(MAX_RETRY_AFTER));
}

/// Whether a status says that a retry may succeed.
fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Whether a retry cannot help.
fn is_permanent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => own_error(error).is_some() || tls_connector::to_error(error).is_some(),
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

pub(super) fn to_error(error: &ureq::Error) -> Error {
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
        ureq::Error::Io(error) if tls_connector::is_hang_up(error) => {
            let error = fail!(
                Kind::System(nix::errno::Errno::EIO),
                "the server hangs up when it is spoken to in TLS"
            );
            error.with_hint(tls_connector::PLAIN_HTTP_HINT)
        }
        ureq::Error::Io(error) => tls_connector::to_error(error)
            .unwrap_or_else(|| fail!(Kind::System(nix::errno::Errno::EIO), "{error}")),
        other => fail!(Kind::System(nix::errno::Errno::EIO), "{other}"),
    }
}

/// Retry-After in seconds; its other form, a date, is rare and left out.
fn retry_after(response: &Response<Body>) -> Option<Duration> {
    response.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// Turns a failed response of `who` into an error, with the server's own message where it has one
/// (distribution-spec, "Error Codes"). `refusal` is the kind of error that 401 and 403 are.
pub(super) fn status_error(who: &str, refusal: Kind, response: Response<Body>, within: Duration) -> Error {
    let status = response.status();
    let kind = match status.as_u16() {
        401 | 403 => refusal,
        404 => Kind::NotFound,
        _ => Kind::Unsupported,
    };
    let body = document::read(response.into_body().into_reader(), ERROR_BODY_BYTES, within);
    let body = body.unwrap_or_default();
    let message = error_message(&body).map_or_else(String::new, |message| format!(": {message}"));
    let reason = status.canonical_reason().unwrap_or("unknown status").to_lowercase();
    fail!(kind, "{who} answers {} ({reason}){message}", status.as_u16())
}

fn error_message(body: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(body).ok()?;
    let first = document.get("errors")?.get(0)?;
    let text = first.get("message").or_else(|| first.get("code"))?.as_str()?;
    Some(text.chars().filter(|c| !c.is_control()).take(200).collect())
}
