//! Errors for a limit that this host cannot set: the controller is missing, or not enabled for the group.

use std::path::Path;

use super::write::Write;
use crate::error::{Error, Kind};
use crate::fail;
use crate::host::cgroup::Mode;

/// The error if no hierarchy of this host has the controller.
pub(super) fn missing_controller(controller: &str, pointer: &str, mode: Mode) -> Error {
    let tree = if mode == Mode::V2 { "cgroup v2" } else { "cgroup v1" };
    fail!(
        Kind::Unsupported,
        "{pointer}: cannot set {controller} limit: container could not join or create cgroup: \
         this host has no {controller} controller in {tree}"
    )
}

/// The error if the v2 group at `path` lacks the controller's files, because its parent does not hand the
/// controller down.
pub(crate) fn controller_not_enabled(write: &Write, path: &Path) -> Error {
    let controllers = path.join("cgroup.controllers");
    let why = format!("{} does not list {}", controllers.display(), write.controller);
    if write.is_unified() {
        return unified_not_available(write).with_hint(why);
    }
    let (pointer, controller) = (&write.pointer, &write.controller);
    fail!(
        Kind::Unsupported,
        "{pointer}: cannot set {controller} limit: controller {controller} not available"
    )
    .with_hint(why)
}

/// The error if a file of `linux.resources.unified` belongs to a controller that the host lacks.
pub(super) fn unified_not_available(write: &Write) -> Error {
    let Write { pointer, file, controller, .. } = write;
    fail!(
        Kind::Unsupported,
        "{pointer}: unified resource {file:?} can't be set: controller {controller:?} not available"
    )
}
