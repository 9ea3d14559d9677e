//! Names of images in registries, spelled as Docker does.

use std::net::Ipv6Addr;

pub(crate) use oci_spec::distribution::Reference as ImageName;

use crate::error::{Kind, Result};
use crate::fail;

/// Stands for an IPv6 literal, which the library's grammar does not have.
const PLACEHOLDER: &str = "ipv6.invalid";

/// Parses a name as Docker does: `ubuntu` is `docker.io/library/ubuntu:latest`.
pub(crate) fn parse_name(name: &str) -> Result<ImageName> {
    let bad = |why: &dyn std::fmt::Display| fail!(Kind::Usage, "image name {name:?}: {why}");
    let Some((address, rest)) = name.strip_prefix('[').and_then(|name| name.split_once(']')) else {
        return name.parse().map_err(|e| bad(&e));
    };
    address.parse::<Ipv6Addr>().map_err(|_| bad(&"is no address of IPv6 in brackets"))?;
    let parsed: ImageName = format!("{PLACEHOLDER}{rest}").parse().map_err(|e| bad(&e))?;
    let port = parsed.registry().strip_prefix(PLACEHOLDER);
    let port = port.ok_or_else(|| bad(&"has no repository after its registry"))?;
    let (registry, repository) = (format!("[{address}]{port}"), parsed.repository().to_owned());
    Ok(match (parsed.tag().map(str::to_owned), parsed.digest().map(str::to_owned)) {
        (Some(tag), Some(digest)) => ImageName::with_tag_and_digest(registry, repository, tag, digest),
        (_, Some(digest)) => ImageName::with_digest(registry, repository, digest),
        (tag, None) => ImageName::with_tag(registry, repository, tag.unwrap_or_else(|| "latest".into())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_may_be_an_ipv6_literal() {
        for (text, whole) in [
            ("[::1]:5000/a/b:c", "[::1]:5000/a/b:c"),
            ("[2001:DB8::1]/a", "[2001:DB8::1]/a:latest"),
            ("[::ffff:10.0.0.1]:1/a", "[::ffff:10.0.0.1]:1/a:latest"),
        ] {
            assert_eq!(parse_name(text).unwrap().whole(), whole);
        }
        let digest = format!("[::1]/a@sha256:{:064}", 1);
        assert_eq!(parse_name(&digest).unwrap().whole(), digest);
        let both = format!("[::1]:5/a:t@sha256:{:064}", 1);
        assert_eq!(parse_name(&both).unwrap().whole(), both);
        for bad in [
            "[::1]",
            "[::1",
            "[]/a",
            "[x]/a",
            "[127.0.0.1]/a",
            "[::1]x/a",
            "[::1]a:b",
            "[::1]:/a",
            "[::1]:x/a",
        ] {
            assert!(parse_name(bad).is_err(), "{bad}");
        }
    }
}
