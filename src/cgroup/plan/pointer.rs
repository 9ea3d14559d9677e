//! JSON pointers (RFC 6901) of the config.json members that this plan is made from, and errors that begin with one.

use crate::error::{Error, Kind};
use crate::fail;

/// The container's path in the hierarchies.
pub(crate) const CGROUPS_PATH: &str = "/linux/cgroupsPath";
/// The object of limits and device rules.
pub(crate) const RESOURCES: &str = "/linux/resources";

/// The pointer of `field`, which is written as below `linux.resources`: `memory/limit`.
pub(crate) fn resource_pointer(field: &str) -> String {
    format!("{RESOURCES}/{field}")
}

/// A member's name as one component of a pointer.
pub(crate) fn escape_pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The error for a value below `linux.resources` that the configuration may not hold.
pub(crate) fn invalid_resource(field: &str, what: impl std::fmt::Display) -> Error {
    fail!(Kind::Spec, "{RESOURCES}/{field}: {what}")
}
