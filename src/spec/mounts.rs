//! Rules for `mounts`.

use oci_spec::runtime::{Mount, Spec};

use super::fault::{At, Faults};

pub(super) fn rules(spec: &Spec, faults: &mut Faults) {
    let at = At::ROOT.key("mounts");
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        destination(mount, &at.item(index), faults);
    }
}

fn destination(mount: &Mount, at: &At<'_>, faults: &mut Faults) {
    let at = at.key("destination");
    if mount.destination().as_os_str().is_empty() {
        faults.add(&at, "must not be empty");
    } else if !mount.destination().is_absolute() {
        let message = "relative destination path is deprecated, using it as relative to /";
        faults.warn(&at, message);
    }
}
