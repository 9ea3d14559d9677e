//! Answers the challenge of a 401 response: with a password, or with a token that a token server gives for it.

use std::io::Read;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use ureq::Agent;

use super::access::Credentials;
use super::proxy;
use crate::error::{Kind, Result};
use crate::fail;

/// The largest answer of a token server in bytes; tokens have a few kilobytes.
const TOKEN_BYTES: u64 = 1 << 20;

/// The value of a request's `Authorization` header.
#[derive(Clone)]
pub(super) struct Authorization(String);

impl Authorization {
    pub(crate) fn header(&self) -> &str {
        &self.0
    }

    fn basic(user: &str, password: &str) -> Self {
        Self(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
    }
}

/// A challenge of `WWW-Authenticate` (RFC 9110).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: String, scope: Option<String> },
}

impl Challenge {
    /// The best of the challenges in the lines of WWW-Authenticate.
    pub(super) fn strongest<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Self> {
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

    /// Fetches a token, or sends the password itself where that is asked for.
    pub(crate) fn answer(
        &self,
        agent: &Agent,
        repository: &str,
        credentials: Option<&Credentials>,
        insecure: bool,
    ) -> Result<Authorization> {
        match (self, credentials) {
            (Self::Basic, Some(Credentials::Password { user, password })) => {
                Ok(Authorization::basic(user, password))
            }
            (Self::Basic, _) => Err(fail!(Kind::Denied, "the registry asks for a user and a password")),
            (Self::Bearer { realm, service, scope }, _) => {
                if !insecure && !realm.starts_with("https://") {
                    return Err(fail!(
                        Kind::Denied,
                        "the registry sends credentials to {realm:?}, which is not https"
                    ));
                }
                let scope = match scope.as_deref().filter(|scope| !scope.is_empty()) {
                    Some(scope) => scope.to_owned(),
                    None if repository.is_empty() => String::new(),
                    None => format!("repository:{repository}:pull"),
                };
                request_token(agent, realm, service, &scope, credentials)
            }
        }
    }
}

#[derive(Deserialize)]
struct TokenResponse {
    token: Option<String>,
    access_token: Option<String>,
}

fn request_token(
    agent: &Agent,
    realm: &str,
    service: &str,
    scope: &str,
    credentials: Option<&Credentials>,
) -> Result<Authorization> {
    let asked = |error: ureq::Error| fail!(Kind::Denied, "ask {realm} for a token: {error}");
    // Elsewhere than the registry, perhaps: NO_PROXY may name one of them only.
    let uri: ureq::http::Uri = realm.parse().map_err(|e| fail!(Kind::Spec, "{realm}: {e}"))?;
    let host = uri.authority().map_or_else(String::new, ToString::to_string);
    let proxy = proxy::for_host(&host, |name| std::env::var(name).ok())?;
    let response = if let Some(Credentials::Token(refresh)) = credentials {
        let form = [
            ("grant_type", "refresh_token"),
            ("service", service),
            ("scope", scope),
            ("client_id", "tare-image"),
            ("refresh_token", refresh),
        ];
        agent.post(realm).config().proxy(proxy).build().send_form(form).map_err(asked)?
    } else {
        let mut request = agent.get(realm).config().proxy(proxy).build();
        // Several scopes stand in one challenge, and are asked for one by one.
        let scopes = scope.split(' ').map(|scope| ("scope", scope));
        for (name, value) in [("service", service)].into_iter().chain(scopes) {
            if !value.is_empty() {
                request = request.query(name, value);
            }
        }
        if let Some(Credentials::Password { user, password }) = credentials {
            request = request.header("authorization", Authorization::basic(user, password).header());
        }
        request.call().map_err(asked)?
    };
    let status = response.status();
    if !status.is_success() {
        return Err(fail!(Kind::Denied, "ask {realm} for a token: it answers {status}"));
    }
    let mut body = Vec::new();
    response.into_body().into_reader().take(TOKEN_BYTES).read_to_end(&mut body)?;
    let token: TokenResponse =
        serde_json::from_slice(&body).map_err(|e| fail!(Kind::Spec, "the token of {realm}: {e}"))?;
    let text = token.token.or(token.access_token).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| fail!(Kind::Spec, "the answer of {realm} has no token"))?;
    Ok(Authorization(format!("Bearer {text}")))
}

type Parameters = Vec<(String, String)>;

/// Splits `Bearer realm="…",scope="a,b", Basic realm=…` into schemes with their parameters.
fn parse_challenges(line: &str) -> Vec<(String, Parameters)> {
    let mut found: Vec<(String, Parameters)> = Vec::new();
    for part in split_outside_quotes(line) {
        let part = part.trim();
        let (before, value) = part.split_once('=').unwrap_or((part, ""));
        // A scheme stands before the first of its parameters, with a blank between them.
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

/// Splits at commas that stand outside of quotes.
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
