//! Rules for lists of id mappings, of the user namespace and of id-mapped mounts.

use oci_spec::runtime::LinuxIdMapping as Mapping;

use super::diagnostics::Diagnostics;
use super::json_pointer::JsonPointer;

/// KERNEL(4.15): UID_GID_MAP_MAX_EXTENTS.
const LINES: usize = 340;

pub(super) fn rules(mappings: &[Mapping], at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    if mappings.len() > LINES {
        return diagnostics
            .error(at, format!("{} mappings, where the kernel takes at most {LINES}", mappings.len()));
    }
    for (index, mapping) in mappings.iter().enumerate() {
        if let Some(wrong) = wrong(mapping, &mappings[..index]) {
            diagnostics.error(&at.item(index), wrong);
        }
    }
}

/// Checks what the kernel answers with EINVAL for the list as a whole.
fn wrong(mapping: &Mapping, before: &[Mapping]) -> Option<String> {
    if mapping.size() == 0 {
        return Some("size must not be 0".to_owned());
    }
    for (name, first) in [("containerID", mapping.container_id()), ("hostID", mapping.host_id())] {
        // The last id, all ones, is not an id.
        if first.checked_add(mapping.size()).is_none() {
            return Some(format!("{name} {first} and size {} go beyond the last id", mapping.size()));
        }
    }
    let overlaps =
        |a: u32, b: u32, size: u32| a < b.saturating_add(size) && b < a.saturating_add(mapping.size());
    let other = before.iter().position(|other| {
        overlaps(mapping.container_id(), other.container_id(), other.size())
            || overlaps(mapping.host_id(), other.host_id(), other.size())
    });
    other.map(|other| format!("overlaps with mapping {other}"))
}
