//! URLs that servers name: resolved as RFC 3986 says, and compared by origin, because credentials are for one
//! origin alone.

use ureq::http::Uri;
use ureq::http::uri::Scheme;

use crate::error::{Kind, Result};
use crate::fail;

/// Parses an absolute URL of HTTP or HTTPS.
pub(crate) fn parse(text: &str) -> Result<Uri> {
    let bad = || fail!(Kind::Spec, "{:?} is no URL of HTTP", without_query(text));
    let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "https" && scheme != "http" {
        return Err(bad());
    }
    let rest = rest.split('#').next().unwrap_or_default();
    let uri: Uri = format!("{scheme}://{rest}").parse().map_err(|_| bad())?;
    match uri.host() {
        Some(host) if !host.is_empty() => Ok(uri),
        _ => Err(bad()),
    }
}

/// Resolves what a server wrote in `Location` against the URL that it answered for (RFC 3986, section 5.2).
pub(super) fn resolve(base: &Uri, location: &str) -> Result<Uri> {
    let location = location.trim();
    let before_path = location.split(['/', '?', '#']).next().unwrap_or_default();
    if before_path.contains(':') {
        return parse(location);
    }
    let scheme = base.scheme_str().unwrap_or("https");
    if location.starts_with("//") {
        return parse(&format!("{scheme}:{location}"));
    }
    let authority = base.authority().map_or("", |authority| authority.as_str());
    let path = match location.bytes().next() {
        None | Some(b'#') => base.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        Some(b'?') => format!("{}{location}", base.path()),
        Some(b'/') => without_dots(location),
        _ => {
            let (directory, _) = base.path().rsplit_once('/').unwrap_or_default();
            without_dots(&format!("{directory}/{location}"))
        }
    };
    parse(&format!("{scheme}://{authority}{path}"))
}

/// Removes the segments `.` and `..` of a path (RFC 3986, section 5.2.4); the query stays as it is.
fn without_dots(path_and_query: &str) -> String {
    let end = path_and_query.find(['?', '#']).unwrap_or(path_and_query.len());
    let (path, rest) = path_and_query.split_at(end);
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}{rest}", kept.join("/"))
}

/// Whether both URLs lead to one server: same scheme, host and port (RFC 6454).
pub(super) fn is_same_origin(one: &Uri, other: &Uri) -> bool {
    one.scheme() == other.scheme() && port(one) == port(other) && has_same_host(one, other)
}

fn has_same_host(one: &Uri, other: &Uri) -> bool {
    match (one.host(), other.host()) {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        _ => false,
    }
}

fn port(uri: &Uri) -> Option<u16> {
    uri.port_u16().or_else(|| Some(if is_https(uri) { 443 } else { 80 }))
}

pub(super) fn is_https(uri: &Uri) -> bool {
    uri.scheme() == Some(&Scheme::HTTPS)
}

/// `HOST[:PORT]` in lower case, without the port that the scheme implies and without a user.
pub(super) fn host_and_port(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    let implied = if is_https(uri) { 443 } else { 80 };
    match uri.port_u16().filter(|port| *port != implied) {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

/// Whether `HOST[:PORT]` is this machine: an address of its loopback device, or the name for it (RFC 6761).
pub(super) fn is_loopback(host: &str) -> bool {
    let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
    let name = if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host };
    let address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// A URL for messages: its query may hold a signature, its user a password, and both are secrets.
pub(super) fn without_query(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let url = &url[..end];
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_resolved_as_browsers_do() {
        let base = parse("https://r.example:5000/v2/a/b/blobs/uploads/?x=1").unwrap();
        for (location, expected) in [
            ("https://o.example/p?q#f", "https://o.example/p?q"),
            ("HTTPS://o.example/p", "https://o.example/p"),
            ("//o.example/p", "https://o.example/p"),
            ("/v2/p?q=1", "https://r.example:5000/v2/p?q=1"),
            ("uuid?state=a/../b", "https://r.example:5000/v2/a/b/blobs/uploads/uuid?state=a/../b"),
            ("./uuid", "https://r.example:5000/v2/a/b/blobs/uploads/uuid"),
            ("../../x", "https://r.example:5000/v2/a/b/x"),
            ("../../../../../../x", "https://r.example:5000/x"),
            ("?y=2", "https://r.example:5000/v2/a/b/blobs/uploads/?y=2"),
            ("", "https://r.example:5000/v2/a/b/blobs/uploads/?x=1"),
            ("v2/p:1", "https://r.example:5000/v2/a/b/blobs/uploads/v2/p:1"),
        ] {
            assert_eq!(resolve(&base, location).unwrap(), expected, "{location}");
        }
        for bad in
            ["ftp://o/p", "file:///etc/passwd", "javascript:x", "https://", "http:///p", "https://a b/"]
        {
            assert!(resolve(&base, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn this_machine_is_known_by_its_names() {
        for host in ["localhost", "LocalHost:5000", "127.0.0.1", "127.8.9.1:443", "[::1]", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.example",
            "localhost.example:80",
            "128.0.0.1",
            "127.0.0.1.example:1",
            "[::2]:80",
            "",
            ":80",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |one: &str, other: &str| is_same_origin(&parse(one).unwrap(), &parse(other).unwrap());
        assert!(same("https://r/a", "https://R:443/b"));
        assert!(same("http://r/a", "http://r:80/b"));
        assert!(same("https://[::1]:5000/", "https://[::1]:5000/x"));
        for other in [
            "http://r/a",
            "http://r:443/a",
            "https://r:5000/a",
            "https://r.evil/a",
            "https://sub.r/a",
            "https://r@evil/a",
            "https://r:443@evil/a",
        ] {
            assert!(!same("https://r/a", other), "{other}");
        }
    }

    #[test]
    fn messages_have_no_secrets() {
        assert_eq!(without_query("https://user:secret@h/p?sig=secret"), "https://h/p");
        assert_eq!(host_and_port(&parse("https://user@H:443/p").unwrap()), "h");
        assert_eq!(host_and_port(&parse("http://H:443/p").unwrap()), "h:443");
    }
}
