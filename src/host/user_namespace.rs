//! Finds out whether we are in a user namespace, whose root is not root of the machine.

use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;

use crate::error::{Context, Result};

/// Whether we are in a user namespace other than the initial one. Only the initial one maps all ids to
/// themselves.
pub(crate) fn in_user_namespace() -> Result<bool> {
    const MAP: &str = "/proc/self/uid_map";
    let map = match crate::sys::file::read_small_at(MAP) {
        // A kernel without user namespaces.
        Err(Errno::ENOENT) => return Ok(false),
        other => other.with_context(|| format!("read {MAP}"))?,
    };
    let initial_map = ["0", "0", "4294967295"];
    Ok(!map.is_empty() && !String::from_utf8_lossy(&map).split_whitespace().eq(initial_map))
}

/// Whether we may command the system's systemd, because our root owns its socket. In an unprivileged user's
/// namespace the socket belongs to nobody; in a container with its own init, it belongs to that container's
/// root.
pub(crate) fn system_manager_is_ours() -> bool {
    ["/run/systemd/private", "/run/dbus/system_bus_socket"]
        .iter()
        .find_map(|socket| std::fs::symlink_metadata(socket).ok())
        .is_some_and(|found| found.uid() == 0)
}
