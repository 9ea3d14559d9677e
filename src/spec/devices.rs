//! Rules for `linux.devices`.

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use super::diagnostics::Diagnostics;
use super::json_pointer::JsonPointer;
use crate::kernel::file::S_IFMT;

/// The kernel's dev_t: 12 bits of major, 20 of minor. mknod(2) silently drops the others.
const MAJORS: i64 = 1 << 12;
const MINORS: i64 = 1 << 20;

pub(super) fn rules(devices: &[LinuxDevice], at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    for (index, device) in devices.iter().enumerate() {
        let at = at.item(index);
        if !device.path().is_absolute() {
            diagnostics.error(&at.key("path"), "must be an absolute path");
        }
        match device.typ() {
            LinuxDeviceType::A => diagnostics.error(&at.key("type"), "invalid device type \"a\""),
            LinuxDeviceType::P => {}
            LinuxDeviceType::B | LinuxDeviceType::C | LinuxDeviceType::U => numbers(device, &at, diagnostics),
        }
        // Some engines leave the file type in the mode; runc drops it.
        if device.file_mode().is_some_and(|mode| mode & !(S_IFMT | 0o7777) != 0) {
            diagnostics
                .error(&at.key("fileMode"), "has bits that no file mode has (it is decimal, not octal)");
        }
    }
}

fn numbers(device: &LinuxDevice, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    for (name, number, end) in [("major", device.major(), MAJORS), ("minor", device.minor(), MINORS)] {
        if !(0..end).contains(&number) {
            diagnostics.error(&at.key(name), format!("{number} is not between 0 and {}", end - 1));
        }
    }
}
