//! Names of images in registries, `[REGISTRY[:PORT]/]PATH[:TAG][@DIGEST]`, parsed as Docker does.
//!
//! The grammar is that of Docker's `reference` package. `oci-spec` has it, without IPv6 addresses, as one
//! regular expression, and with it the engine for expressions, which is larger than all the rest of its part
//! here: so only its type and its errors are used.

use std::net::Ipv6Addr;

pub(super) use oci_spec::distribution::Reference as ImageName;

use oci_spec::distribution::{ParseError, Reference};

use crate::error::{Kind, Result};
use crate::fail;

const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_LEGACY: &str = "index.docker.io";
/// Bytes.
const LONGEST_REPOSITORY: usize = 255;
const LONGEST_TAG: usize = 128;

/// As [`parse`], with a sentence for the error.
pub(crate) fn parse_name(name: &str) -> Result<ImageName> {
    parse(name).map_err(|e| {
        fail!(Kind::Usage, "image name {name:?}: {e}").with_hint(
            "[HOST[:PORT]/]REPOSITORY[:TAG][@sha256:DIGEST]: a repository is in lower case, a digest has 64 hex digits",
        )
    })
}

/// Parses `text` with Docker's defaults: `ubuntu` is `docker.io/library/ubuntu:latest`.
///
/// # Errors
/// Those of `Reference`'s own parser: an empty name, what does not follow the grammar, a repository longer
/// than 255 bytes, a digest of an unknown algorithm or of the wrong length.
fn parse(text: &str) -> std::result::Result<Reference, ParseError> {
    if text.is_empty() {
        return Err(ParseError::NameEmpty);
    }
    let (text, digest) = split_suffix(text, text.find('@'));
    let last_component = text.rfind('/').unwrap_or(0);
    let tag = text[last_component..].find(':').map(|colon| last_component + colon);
    let (name, tag) = split_suffix(text, tag);
    if !is_name(name) || !tag.is_none_or(is_tag) || !digest.is_none_or(is_digest) {
        return Err(ParseError::ReferenceInvalidFormat);
    }
    let (registry, repository) = split_registry(name);
    if repository.len() > LONGEST_REPOSITORY {
        return Err(ParseError::NameTooLong);
    }
    digest.map_or(Ok(()), check_length)?;
    let tag = tag.or_else(|| digest.is_none().then_some("latest")).map(str::to_owned);
    Ok(match (tag, digest.map(str::to_owned)) {
        (Some(tag), Some(digest)) => Reference::with_tag_and_digest(registry, repository, tag, digest),
        (None, Some(digest)) => Reference::with_digest(registry, repository, digest),
        (tag, None) => Reference::with_tag(registry, repository, tag.unwrap_or_default()),
    })
}

/// Splits at the separator at `index`, and drops it.
fn split_suffix(text: &str, index: Option<usize>) -> (&str, Option<&str>) {
    match index {
        Some(index) => (&text[..index], Some(&text[index + 1..])),
        None => (text, None),
    }
}

/// Splits into the registry, Docker Hub by default, and the path in it. The first component is a host if it
/// is `localhost`, or has a dot, a port or a capital letter, which no path has.
fn split_registry(name: &str) -> (String, String) {
    let is_capital = |c: char| c.is_ascii_uppercase();
    let is_host =
        |first: &str| first.contains(['.', ':']) || first.contains(is_capital) || first == "localhost";
    let (registry, path) =
        name.split_once('/').filter(|(first, _)| is_host(first)).unwrap_or((DOCKER_HUB, name));
    match registry {
        DOCKER_HUB | DOCKER_HUB_LEGACY if !path.contains('/') => {
            (DOCKER_HUB.into(), format!("library/{path}"))
        }
        DOCKER_HUB_LEGACY => (DOCKER_HUB.into(), path.into()),
        _ => (registry.into(), path.into()),
    }
}

fn is_name(name: &str) -> bool {
    let (first, rest) = name.split_once('/').map_or((name, None), |(first, rest)| (first, Some(rest)));
    let is_first = is_path_component(first) || rest.is_some() && is_host(first);
    is_first && rest.is_none_or(|rest| rest.split('/').all(is_path_component))
}

/// Labels of letters, digits and inner hyphens, with dots between them, or an IPv6 address in brackets; and
/// optionally a port.
fn is_host(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.split_once(']'));
    if let Some((address, after)) = address {
        let port = after.strip_prefix(':');
        return address.parse::<Ipv6Addr>().is_ok() && port.map_or(after.is_empty(), is_port);
    }
    let (labels, port) = split_suffix(host, host.find(':'));
    let is_label = |label: &str| {
        let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(is_inside) && !label.starts_with('-') && !label.ends_with('-')
    };
    labels.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    is_all(port, |byte| byte.is_ascii_digit())
}

/// Small letters and digits, and between them one dot, one or two underscores, or hyphens.
fn is_path_component(component: &str) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    // None at all between two letters counts as no hyphens.
    let is_separator =
        |run: &[u8]| matches!(run, b"." | b"_" | b"__") || run.iter().all(|&byte| byte == b'-');
    let bytes = component.as_bytes();
    let has_plain_ends = bytes.first().is_some_and(is_plain) && bytes.last().is_some_and(is_plain);
    has_plain_ends && bytes.split(is_plain).all(is_separator)
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= LONGEST_TAG
        && tag.bytes().next().is_some_and(is_word)
        && is_all(tag, |byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

/// An algorithm, a colon, and at least 32 hexadecimal digits.
fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let is_part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic())
            && is_all(part, |byte| byte.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(is_part)
        && hex.len() >= 32
        && is_all(hex, |byte| byte.is_ascii_hexdigit())
}

fn is_all(text: &str, is: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(is)
}

fn check_length(digest: &str) -> std::result::Result<(), ParseError> {
    let (algorithm, hex) = digest.split_once(':').ok_or(ParseError::DigestInvalidFormat)?;
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return Err(ParseError::DigestUnsupported),
    };
    if hex.len() == length { Ok(()) } else { Err(ParseError::DigestInvalidLength) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `oci-spec`'s own parser, by its expression. It takes a first component with capital letters for a part of
    /// the path, where no path may have them.
    fn assert_same(text: &str) {
        let first = text.split_once('/').map_or("", |(first, _)| first);
        if !first.contains(|c: char| c.is_ascii_uppercase()) {
            assert_eq!(parse(text), text.parse::<Reference>(), "{text:?}");
        }
    }

    #[test]
    fn a_first_component_with_capital_letters_is_a_host() {
        let name = parse("Host/a/b").unwrap();
        assert_eq!((name.registry(), name.repository()), ("Host", "a/b"));
        assert_eq!(parse("Host"), Err(ParseError::ReferenceInvalidFormat));
    }

    /// Of the expression's `\w`, Docker takes the ASCII letters.
    #[test]
    fn tags_are_ascii() {
        assert_eq!(parse("a:é"), Err(ParseError::ReferenceInvalidFormat));
    }

    #[test]
    fn a_registry_may_be_an_ipv6_address() {
        let digest = format!("@sha256:{:064}", 1);
        for (text, whole) in [
            ("[::1]:5000/a/b:c", "[::1]:5000/a/b:c"),
            ("[2001:DB8::1]/a", "[2001:DB8::1]/a:latest"),
            ("[::ffff:10.0.0.1]:1/a", "[::ffff:10.0.0.1]:1/a:latest"),
            (&format!("[::1]/a{digest}"), &format!("[::1]/a{digest}")),
            (&format!("[::1]:5/a:t{digest}"), &format!("[::1]:5/a:t{digest}")),
        ] {
            assert_eq!(parse(text).unwrap().whole(), whole);
        }
        let bad = [
            "[::1]",
            "[::1",
            "[]/a",
            "[x]/a",
            "[127.0.0.1]/a",
            "[::1]x/a",
            "[::1]a:b",
            "[::1]:/a",
            "[::1]:x/a",
        ];
        for bad in bad.into_iter().chain(["a/[::1]", "[::1]/", "[::1%1]/a"]) {
            assert_eq!(parse(bad), Err(ParseError::ReferenceInvalidFormat), "{bad}");
        }
    }

    #[test]
    fn names_are_parsed_as_by_the_expression() {
        let hex = "f".repeat(64);
        for name in [
            "",
            "busybox",
            "test.com:5000",
            "test.com/repo:tag",
            "test:5000/repo",
            "localhost/a",
            "index.docker.io/a",
            "index.docker.io/a/b",
            "docker.io/a",
            "a/b",
            "A/b",
            "A.b/c",
            "a/B",
            "Upper",
            ":tag",
            "a:",
            "a:-x",
            "a:x:y",
            "a/",
            "/a",
            "a//b",
            "a..b",
            "a__b",
            "a___b",
            "a_.b",
            "a--b",
            "a-_b",
            "-a",
            "a-",
            "a.",
            "a-.com/b",
            "-a.com/b",
            "a.com:/b",
            "a.com:5x/b",
            "a.com:5:6/b",
            "a.com:5000",
            "a:5/b:c/d",
            "a b",
            "é",
            "a/é:x",
            "a@",
            "a@b@c",
            "xn--n3h.com/x:xn--n3h.com",
            "foo_bar.com:8080",
            "foo_bar.com/x",
            "foo/foo_bar.com:8080",
            "a:_x",
            "a:.x",
        ] {
            assert_same(name);
            for digest in
                ["sha256:", "sha256", "sha512:", "sha-256:", "x+y.z_w:", "1a:", "a--b:", ":", "sha384:"]
            {
                assert_same(&format!("{name}@{digest}{hex}"));
                assert_same(&format!("{name}:t@{digest}{}", &hex[..31]));
            }
        }
        assert_same(&format!("a:{}", "t".repeat(128)));
        assert_same(&format!("a:{}", "t".repeat(129)));
        assert_same(&"a".repeat(248));
        assert_same(&"a".repeat(247));
        assert_same(&format!("b.c/{}", "a".repeat(256)));
    }

    /// All strings of up to five of these pieces that an expression could tell apart.
    #[test]
    fn short_strings_are_parsed_as_by_the_expression() {
        const PIECES: [&str; 9] = ["a", "B", "0", ".", "_", "-", "/", ":", "@"];
        let mut strings = vec![String::new()];
        for _ in 0..5 {
            let longer = |text: &String| PIECES.map(|piece| format!("{text}{piece}"));
            strings = strings.iter().flat_map(longer).collect();
            strings.iter().for_each(|text| assert_same(text));
        }
    }
}
