//! The hint for a bundle of `tare-image` whose layers are not mounted. After a reboot its rootfs is empty.

use std::ffi::CStr;
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, stat};
use serde_json::Value;

use crate::error::Error;
use crate::sys::file::read_small;

/// Adds a hint to the error of a container that could not be made, if the layers of its bundle are not
/// mounted.
pub(super) fn with_hint(error: Error, bundle: &Path, rootfs: &CStr) -> Error {
    match is_unmounted(bundle, rootfs) {
        Some(true) => error.with_hint(format!(
            "the layers of this bundle are not mounted: `tare-image mount {}` does that",
            bundle.display()
        )),
        _ => error,
    }
}

/// Whether the layers are not mounted. Returns `None` if it is not a bundle of `tare-image`.
fn is_unmounted(bundle: &Path, rootfs: &CStr) -> Option<bool> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = open(&bundle.join("tare-image.json"), flags, Mode::empty()).ok()?;
    let info: Value = serde_json::from_slice(&read_small(file).ok()?).ok()?;
    let is_overlay = info.get("shared").is_some_and(Value::is_object);
    // A mounted rootfs is on another filesystem than the bundle.
    Some(is_overlay && stat(rootfs).ok()?.st_dev == stat(bundle).ok()?.st_dev)
}
