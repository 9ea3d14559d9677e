//! Rules for `linux.netDevices`: the names must be valid for the kernel.

use std::collections::HashMap;

use oci_spec::runtime::LinuxNetDevice;

use super::config_error::quote;
use super::diagnostics::Diagnostics;
use super::json_pointer::JsonPointer;

/// The kernel's IFNAMSIZ, which includes the final NUL.
const SIZE: usize = 16;

pub(super) fn rules(
    devices: Option<&HashMap<String, LinuxNetDevice>>,
    at: &JsonPointer<'_>,
    diagnostics: &mut Diagnostics,
) {
    let mut devices: Vec<_> = devices.into_iter().flatten().collect();
    devices.sort_unstable_by_key(|(name, _)| *name);
    let mut inside = HashMap::new();
    for (name, device) in devices {
        let at = at.key(name);
        if !is_name(name) {
            diagnostics.error(&at, format!("invalid network device name {}", quote(name)));
        }
        let new = device.name().as_ref().unwrap_or(name);
        if device.name().is_some() && !is_name(new) {
            diagnostics.error(&at.key("name"), format!("invalid network device name {}", quote(new)));
        }
        // The kernel numbers each use of a template anew.
        let is_template = new.contains("%d");
        if let Some(other) = inside.insert(new, name).filter(|_| !is_template) {
            diagnostics.error(&at, format!("{} would be named {} inside, too", quote(other), quote(new)));
        }
    }
}

/// Checks a name as the kernel's dev_valid_name() does.
pub(super) fn is_name(name: &str) -> bool {
    let bad = |byte: u8| byte == b'/' || byte == b':' || byte.is_ascii_whitespace() || byte == 0x0b;
    !name.is_empty() && name.len() < SIZE && name != "." && name != ".." && !name.bytes().any(bad)
}
