//! Answers the challenge of a 401 response: with a password, or with a token that a token server returns for
//! it.

use std::io::{Cursor, Read};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use ureq::http::{Method, Uri};

use super::access::Credentials;
use super::client::{self, Attempt, Call, Client, RequestBody};
use super::{document, url};
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::document::manifest::parse_json_of_go;
use crate::image::io_error::from_io_error;

/// The largest answer of a token server in bytes; tokens have a few kilobytes.
const TOKEN_BYTES: u64 = 1 << 20;

/// The value of a request's `Authorization` header.
#[derive(Clone)]
pub(super) struct Authorization(String);

impl Authorization {
    /// Returns the header's value.
    pub(crate) fn header(&self) -> &str {
        &self.0
    }

    fn basic(user: &str, password: &str) -> Self {
        Self(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
    }
}

/// A challenge of `WWW-Authenticate` (RFC 9110).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: String, scope: Option<String> },
}

impl Challenge {
    /// Returns the strongest challenge in the lines of `WWW-Authenticate` that we can answer.
    pub(crate) fn strongest<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut basic = None;
        for (scheme, parameters) in lines.flat_map(parse_challenges) {
            let parameter = |name: &str| {
                parameters
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.clone())
            };
            if scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = parameter("realm")
            {
                let service = parameter("service").unwrap_or_default();
                return Some(Self::Bearer { realm, service, scope: parameter("scope") });
            }
            if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Self::Basic);
            }
        }
        basic
    }

    /// Fetches a token, or sends the password itself for a Basic challenge. `is_https` tells whether the
    /// registry uses TLS: a registry cannot make credentials leave TLS.
    pub(super) fn answer(
        &self,
        client: &Client,
        repository: &str,
        credentials: Option<&Credentials>,
        is_https: bool,
        retries: u32,
    ) -> Result<Authorization> {
        match (self, credentials) {
            (Self::Basic, Some(Credentials::Password { user, password })) => {
                Ok(Authorization::basic(user, password))
            }
            (Self::Basic, _) => Err(fail!(Kind::Denied, "the registry asks for a user and a password")),
            (Self::Bearer { realm, service, scope }, _) => {
                let place = || format!("ask {} for a token", url::without_query(realm));
                let realm = url::parse(realm).with_context(place)?;
                if !url::is_https(&realm) && (!client.insecure() || is_https && credentials.is_some()) {
                    return Err(fail!(
                        Kind::Denied,
                        "the registry sends credentials to \"{}\", which is not https",
                        client::shown(&realm)
                    ));
                }
                let scope = match scope.as_deref().filter(|scope| !scope.is_empty()) {
                    Some(scope) => scope.to_owned(),
                    None if repository.is_empty() => String::new(),
                    None => format!("repository:{repository}:pull"),
                };
                fetch_token(client, &realm, service, &scope, credentials, retries).with_context(place)
            }
        }
    }
}

#[derive(Deserialize)]
struct TokenResponse {
    token: Option<String>,
    access_token: Option<String>,
}

/// Fetches a token from the token server, with the same retries as requests to the registry.
fn fetch_token(
    client: &Client,
    realm: &Uri,
    service: &str,
    scope: &str,
    credentials: Option<&Credentials>,
    retries: u32,
) -> Result<Authorization> {
    client::with_retries(&client::shown(realm), retries, || {
        match send_token_request(client, realm, service, scope, credentials)? {
            Ok((response, _)) if response.status().is_success() => {
                read_token(response, client.timeout()).map(Attempt::Done)
            }
            Ok((response, _)) => Attempt::refused(response, |response| {
                client::status_error("the token server", Kind::Denied, response, client.timeout())
            }),
            Err(error) => Attempt::unanswered(&error),
        }
    })
}

fn send_token_request(
    client: &Client,
    realm: &Uri,
    service: &str,
    scope: &str,
    credentials: Option<&Credentials>,
) -> Result<client::Sent> {
    if let Some(Credentials::Token(refresh)) = credentials {
        let form = query(&[
            ("grant_type", "refresh_token"),
            ("service", service),
            ("scope", scope),
            ("client_id", "tare-image"),
            ("refresh_token", refresh),
        ]);
        let open: &dyn Fn() -> Result<Box<dyn Read + Send>> =
            &|| Ok(Box::new(Cursor::new(form.clone().into_bytes())));
        return client.send(&Call {
            method: &Method::POST,
            url: realm.clone(),
            headers: &[("content-type", "application/x-www-form-urlencoded")],
            body: Some(&RequestBody { size: form.len() as u64, open }),
            authorization: None,
            same_origin_only: true,
        });
    }
    // One challenge may contain several scopes, which are requested one by one.
    let scopes = scope.split(' ').map(|scope| ("scope", scope));
    let all: Vec<_> = [("service", service)].into_iter().chain(scopes).collect();
    let basic = match credentials {
        Some(Credentials::Password { user, password }) => Some(Authorization::basic(user, password)),
        _ => None,
    };
    client.send(&Call {
        method: &Method::GET,
        url: with_query(realm, &query(&all))?,
        headers: &[],
        body: None,
        authorization: basic.as_ref().map(|it| (it.header(), realm)),
        same_origin_only: false,
    })
}

fn read_token(response: ureq::http::Response<ureq::Body>, within: Duration) -> Result<Authorization> {
    let body = document::read(response.into_body().into_reader(), TOKEN_BYTES, within)
        .map_err(from_io_error)
        .context("read the token")?;
    let token: TokenResponse =
        // The parser's words for a value of the wrong type quote it, and it may be a token.
        parse_json_of_go(&body).map_err(|_| fail!(Kind::Spec, "the token server's answer has no token"))?;
    // The two members are one thing under two names; servers leave one of them empty.
    let mut texts = [token.token, token.access_token].into_iter().flatten();
    let text = texts.find(|text| !text.is_empty());
    let missing = || -> Error { fail!(Kind::Spec, "the token server's answer has no token") };
    Ok(Authorization(format!("Bearer {}", text.ok_or_else(missing)?)))
}

fn with_query(realm: &Uri, query: &str) -> Result<Uri> {
    let separator = match (query.is_empty(), realm.query()) {
        (true, _) => "",
        (_, None) => "?",
        (_, Some(_)) => "&",
    };
    url::parse(&format!("{realm}{separator}{query}"))
}

/// The parameters that are not empty, as a query or a form has them.
fn query(parameters: &[(&str, &str)]) -> String {
    let given = parameters.iter().filter(|(_, value)| !value.is_empty());
    given.map(|(name, value)| format!("{name}={}", percent_encoded(value))).collect::<Vec<_>>().join("&")
}

/// Every byte but RFC 3986's unreserved ones as `%XX`.
fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

type Parameters = Vec<(String, String)>;

/// Splits `Bearer realm="…",scope="a,b", Basic realm=…` into schemes with their parameters.
fn parse_challenges(line: &str) -> Vec<(String, Parameters)> {
    let mut found: Vec<(String, Parameters)> = Vec::new();
    for part in split_outside_quotes(line) {
        let part = part.trim();
        let (before, value) = part.split_once('=').unwrap_or((part, ""));
        // A scheme comes before the first of its parameters, with a blank between them.
        let (scheme, name) = match before.trim().rsplit_once(' ') {
            Some((scheme, name)) => (Some(scheme), name),
            None if part.contains('=') => (None, before.trim()),
            None => (Some(part), ""),
        };
        if let Some(scheme) = scheme.filter(|scheme| !scheme.is_empty()) {
            found.push((scheme.trim().to_owned(), Vec::new()));
        }
        if let Some((_, parameters)) = found.last_mut().filter(|_| !name.is_empty()) {
            parameters.push((name.to_owned(), unquoted(value.trim())));
        }
    }
    found
}

/// Splits at commas outside of quotes.
fn split_outside_quotes(line: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                parts.push(&line[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&line[start..]);
    parts
}

fn unquoted(value: &str) -> String {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    inner.map_or_else(|| value.to_owned(), |inner| inner.replace("\\\"", "\"").replace("\\\\", "\\"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: &str, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.into(), service: service.into(), scope: scope.map(Into::into) })
    }

    #[test]
    fn challenges_are_read_as_servers_write_them() {
        let strongest = |lines: &[&str]| Challenge::strongest(lines.iter().copied());
        let docker = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/ubuntu:pull""#;
        let expected = bearer(
            "https://auth.docker.io/token",
            "registry.docker.io",
            Some("repository:library/ubuntu:pull"),
        );
        assert_eq!(strongest(&[docker]), expected);
        assert_eq!(strongest(&[r#"Basic realm="Registry Realm""#]), Some(Challenge::Basic));
        assert_eq!(strongest(&["Basic"]), Some(Challenge::Basic));
        let both = r#"Basic realm="x", Bearer realm="https://a/b",service=s"#;
        assert_eq!(strongest(&[both]), bearer("https://a/b", "s", None));
        assert_eq!(
            strongest(&["Basic realm=x", r#"bearer REALM="https://a/b" , scope="a,b""#]),
            bearer("https://a/b", "", Some("a,b"))
        );
        assert_eq!(strongest(&["Negotiate", "Digest realm=x"]), None);
        assert_eq!(strongest(&[]), None);
    }
}
