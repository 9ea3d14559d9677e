//! The bridge of the built-in network: it goes with the last container that is connected to it, as one of Podman's
//! does, and the plugin makes it again for the next one.

use std::fs::{File, OpenOptions, TryLockError, create_dir_all};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use serde_json::Value;

use crate::error::{Context, Result};
use crate::sys::netlink::Netlink;

/// The device on the host.
pub(super) const DEVICE: &str = "tare0";
/// The addresses of the containers on it.
pub(super) const SUBNET: &str = "10.87.0.0/16";
/// What the built-in network keeps, until the next boot.
pub(super) const STATE: &str = "/run/tare-image";
/// Shared by those who are connecting a container, so that nobody takes the bridge away meanwhile.
const LOCK: &str = "bridge.lock";

/// Whether a network has this bridge.
fn is_on(list: &Value) -> bool {
    list["plugins"].as_array().into_iter().flatten().any(|plugin| plugin["bridge"] == DEVICE)
}

fn open_lock() -> Result<File> {
    let path = Path::new(STATE).join(LOCK);
    create_dir_all(STATE).with_context(|| format!("make {STATE}"))?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options.open(&path).with_context(|| format!("open {}", path.display()))
}

/// Keeps the bridge until the result is dropped, if the network has it.
pub(super) fn keep(list: &Value) -> Result<Option<File>> {
    if !is_on(list) {
        return Ok(None);
    }
    let lock = open_lock()?;
    lock.lock_shared().context("lock the bridge")?;
    Ok(Some(lock))
}

/// Removes the bridge if the network has it, no device is on it and nobody is connecting one; and calls `also`, before
/// anybody makes it again.
pub(super) fn remove_if_unused(list: &Value, also: impl FnOnce() -> Result<()>) -> Result<()> {
    if !is_on(list) {
        return Ok(());
    }
    let lock = open_lock()?;
    match lock.try_lock() {
        // Who connects a container removes the bridge with it.
        Err(TryLockError::WouldBlock) => return Ok(()),
        Err(TryLockError::Error(error)) => return Err(error).context("lock the bridge"),
        Ok(()) => {}
    }
    let removed = Netlink::open().and_then(|netlink| match netlink.index_of(DEVICE) {
        Err(Errno::ENODEV) => Ok(true),
        index => {
            let index = index?;
            if netlink.has_ports(index)? { Ok(false) } else { netlink.remove(index).map(|()| true) }
        }
    });
    match removed.with_context(|| format!("remove the bridge {DEVICE}"))? {
        true => also(),
        false => Ok(()),
    }
}
