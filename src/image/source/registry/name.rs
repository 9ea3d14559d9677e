//! Names of images in registries, spelled as Docker does.

pub(crate) use oci_spec::distribution::Reference as ImageName;

use crate::error::{Kind, Result};
use crate::fail;

/// Parses a name as Docker does: `ubuntu` is `docker.io/library/ubuntu:latest`.
pub(crate) fn parse_name(name: &str) -> Result<ImageName> {
    name.parse().map_err(|e| fail!(Kind::Usage, "image name {name:?}: {e}"))
}
