//! Errors for a limit that this host cannot set: the controller is missing, or not enabled for the group.

use std::path::Path;

use super::write::Write;
use crate::error::{Error, Kind};
use crate::fail;
use crate::host::cgroup::Mode;

/// What a user can do about limits that take a control group.
pub(crate) const DELEGATE: &str = "without root, limits take a control group that was delegated to the user: with systemd --systemd-cgroup, or \
     `systemd-run --user --scope -p Delegate=yes tare …`; or take the limit out of the configuration";
/// What is to be done where the kernel, or who started it, has no such controller.
const LACKING: &str = "/proc/cgroups lists the controllers of this kernel; its command line may switch one off \
                       (cgroup_disable=) or on (cgroup_enable=memory)";

/// What is to be done where the groups above do not hand a controller down.
fn not_handed_down(controller: &str, listing: &Path, is_root: bool) -> String {
    let lacks = format!("{} does not list {controller}", listing.display());
    if is_root {
        return format!(
            "{lacks}: the groups above hand it down by +{controller} in their cgroup.subtree_control"
        );
    }
    format!(
        "{lacks}: root hands it down to users by Delegate={controller} in [Service] of \
         /etc/systemd/system/user@.service.d/delegate.conf, or the limit is taken out of the configuration"
    )
}

/// The error if no hierarchy of this host has the controller.
pub(super) fn missing_controller(controller: &str, pointer: &str, mode: Mode) -> Error {
    let tree = if mode == Mode::V2 { "cgroup v2" } else { "cgroup v1" };
    fail!(
        Kind::Unsupported,
        "{pointer}: cannot set {controller} limit: container could not join or create cgroup: \
         this host has no {controller} controller in {tree}"
    )
    .with_hint(LACKING)
}

/// The error if the v2 group at `path` lacks the controller's files, because its parent does not hand the
/// controller down.
pub(crate) fn controller_not_enabled(write: &Write, path: &Path, is_root: bool) -> Error {
    let controllers = path.join("cgroup.controllers");
    let why = not_handed_down(&write.controller, &controllers, is_root);
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
