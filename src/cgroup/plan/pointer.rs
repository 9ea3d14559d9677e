//! JSON pointers (RFC 6901) of the members of config.json that this plan is made from, and errors that begin
//! with one.

use crate::error::{Error, Kind};
use crate::fail;

/// The container's path in the hierarchies.
pub(crate) const CGROUPS_PATH: &str = "/linux/cgroupsPath";
/// The object of limits and device rules.
pub(crate) const RESOURCES: &str = "/linux/resources";

/// Returns the pointer of `field`, a path below `linux.resources` such as `memory/limit`.
pub(crate) fn resource_pointer(field: &str) -> String {
    format!("{RESOURCES}/{field}")
}

/// Escapes a member's name as one component of a pointer.
pub(crate) fn escape_pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Makes the error for an invalid value below `linux.resources`.
pub(crate) fn invalid_resource(field: &str, what: impl std::fmt::Display) -> Error {
    fail!(Kind::Spec, "{RESOURCES}/{field}: {what}")
}
