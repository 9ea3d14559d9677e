//! References: how a person names an image on the command line, spelled as in skopeo and Podman.

use std::fmt;
use std::path::{Path, PathBuf};

use oci_spec::image::Digest;

use super::registry::parse_name;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::blob::digest;

/// The location of one or more images, and the selection of one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    /// `oci:DIR[:TAG|@DIGEST]`: an OCI image layout.
    Layout { path: PathBuf, select: Selector },
    /// `oci-archive:FILE[:TAG|@DIGEST]`: the same in a tar file.
    OciArchive { path: PathBuf, select: Selector },
    /// `docker-archive:FILE[:NAME]`: what `docker save` writes.
    DockerArchive { path: PathBuf, select: Selector },
    /// `docker://[REGISTRY/]NAME[:TAG|@DIGEST]`, not parsed yet.
    Registry(String),
}

/// Which image of several is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selector {
    /// The only one there is.
    Only,
    Tag(String),
    Digest(Digest),
}

impl Reference {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let unknown =
            || fail!(Kind::Usage, "image {text:?}: does not say where it is").with_hint(suggestion(text));
        let (transport, rest) = text.split_once(':').ok_or_else(unknown)?;
        if transport == "docker" {
            let name = rest.strip_prefix("//").filter(|name| !name.is_empty()).ok_or_else(unknown)?;
            return Ok(Self::Registry(name.to_owned()));
        }
        let (path, select) = path_and_select(rest).map_err(|e| e.context(format!("image {text:?}")))?;
        match transport {
            "oci" => Ok(Self::Layout { path, select }),
            "oci-archive" => Ok(Self::OciArchive { path, select }),
            "docker-archive" => Ok(Self::DockerArchive { path, select }),
            _ => Err(unknown()),
        }
    }
}

impl Reference {
    /// Returns the reference with an absolute path.
    pub(crate) fn absolute(&self) -> Result<Self> {
        let mut same = self.clone();
        match &mut same {
            Self::Layout { path, .. } | Self::OciArchive { path, .. } | Self::DockerArchive { path, .. } => {
                *path = std::path::absolute(&*path).with_context(|| format!("image {self}"))?;
            }
            Self::Registry(_) => {}
        }
        Ok(same)
    }
}

/// Suggests the reference that a text without a transport may have meant.
fn suggestion(text: &str) -> String {
    let forms = "oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME], docker://NAME[:TAG]";
    let path = Path::new(text);
    let name = text.strip_prefix("docker:").unwrap_or(text).trim_start_matches('/');
    if path.join("oci-layout").exists() {
        format!("a layout is oci:{text}")
    } else if path.is_file() {
        format!("an archive is oci-archive:{text} or docker-archive:{text}")
    } else if parse_name(name).is_ok() && !text.starts_with(['/', '.']) {
        format!("from a registry it is docker://{name}; the forms are {forms}")
    } else {
        format!("one of {forms}")
    }
}

/// Splits a path from the tag or digest. A path has no colon and no @ before a digest; the tag after the
/// first colon may contain more colons.
fn path_and_select(text: &str) -> Result<(PathBuf, Selector)> {
    let (path, select) =
        if let Some((path, text)) = text.split_once('@').filter(|(_, after)| after.contains(':')) {
            (path, Selector::Digest(digest::parse(text)?))
        } else {
            match text.split_once(':') {
                None => (text, Selector::Only),
                Some((_, "")) => return Err(fail!(Kind::Usage, "the tag is empty")),
                Some((path, tag)) => (path, Selector::Tag(tag.to_owned())),
            }
        };
    match path {
        "" => Err(fail!(Kind::Usage, "the path is empty")),
        path => Ok((path.into(), select)),
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, path, select) = match self {
            Self::Layout { path, select } => ("oci", path, select),
            Self::OciArchive { path, select } => ("oci-archive", path, select),
            Self::DockerArchive { path, select } => ("docker-archive", path, select),
            Self::Registry(name) => return write!(f, "docker://{name}"),
        };
        write!(f, "{transport}:{}", path.display())?;
        match select {
            Selector::Only => Ok(()),
            Selector::Tag(tag) => write!(f, ":{tag}"),
            Selector::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn references_are_read_as_skopeo_spells_them() {
        let digest = format!("oci:a/b@sha256:{HEX}");
        for text in [
            "oci:/a/b",
            "oci:b:latest",
            "oci:b:docker.io/library/x:1",
            "oci-archive:x.tar:v1",
            "docker-archive:x.tar",
            "docker://localhost:5000/a/b:c",
            "oci:user@host:tag",
            &digest,
        ] {
            let parsed = Reference::parse(text);
            if text == "oci:user@host:tag" {
                assert!(parsed.is_err());
                continue;
            }
            assert_eq!(parsed.unwrap().to_string(), text);
        }
        let path = PathBuf::from("b");
        let select = Selector::Tag("docker.io/library/x:1".into());
        assert_eq!(
            Reference::parse("oci:b:docker.io/library/x:1").unwrap(),
            Reference::Layout { path, select }
        );
    }

    #[test]
    fn a_bare_name_is_offered_with_its_transport() {
        for (text, expected) in [
            ("alpine", Some("docker://alpine")),
            ("alpine:3.20", Some("docker://alpine:3.20")),
            (
                "quay.io/a/b@sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
                Some("docker://quay.io/a/b@"),
            ),
            ("docker:alpine", Some("docker://alpine")),
            ("docker:/alpine", Some("docker://alpine")),
            ("./alpine", None),
            ("Not A Name", None),
            ("", None),
        ] {
            let error = Reference::parse(text).unwrap_err();
            let hint = error.hint().unwrap();
            assert_eq!(hint.starts_with("from a registry"), expected.is_some(), "{text}: {hint}");
            assert!(expected.is_none_or(|expected| hint.contains(expected)), "{text}: {hint}");
        }
    }

    #[test]
    fn what_names_no_place_is_refused() {
        for bad in [
            "",
            "ubuntu",
            "oci",
            "oci:",
            "oci::tag",
            "oci:a:",
            "docker:a",
            "docker://",
            "oci:a@sha256:12",
            "ftp:x",
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
    }
}
