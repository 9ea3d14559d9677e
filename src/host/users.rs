//! Whose the host is, as seen from here: root of a user namespace is not root of the machine.

use std::os::unix::fs::MetadataExt;

/// Whether this is not the first user namespace, which alone maps everything onto itself.
pub(crate) fn in_user_namespace() -> bool {
    let map = crate::sys::file::read_small_at(c"/proc/self/uid_map").unwrap_or_default();
    let first = ["0", "0", "4294967295"];
    !map.is_empty() && !String::from_utf8_lossy(&map).split_whitespace().eq(first)
}

/// Whether the system's manager takes orders from us: its socket belongs to our root. In the user namespace of somebody
/// without privileges it belongs to nobody; in a container that has an init of its own, to that container's root.
pub(crate) fn system_manager_is_ours() -> bool {
    ["/run/systemd/private", "/run/dbus/system_bus_socket"]
        .iter()
        .find_map(|socket| std::fs::symlink_metadata(socket).ok())
        .is_some_and(|found| found.uid() == 0)
}
