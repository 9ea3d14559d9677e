//! The bridge of the built-in network: it goes with the last container that is connected to it, as one of Podman's
//! does, and the plugin makes it again for the next one.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::geteuid;
use serde_json::Value;

use super::random;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::filesystem::directory::Directory;
use crate::image::parallel::both;
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
    make_state()?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options.open(&path).with_context(|| format!("open {}", path.display()))
}

/// Makes the directory, in which nobody but root writes: what others put there would be believed.
fn make_state() -> Result<()> {
    let place = || format!("make {STATE}");
    DirBuilder::new().recursive(true).mode(0o755).create(STATE).with_context(place)?;
    let dir = Directory::open_no_link(Path::new(STATE)).with_context(place)?;
    let stat = dir.stat()?;
    if stat.st_uid != geteuid().as_raw() {
        return Err(fail!(Kind::Denied, "it belongs to user {}", stat.st_uid)).with_context(place);
    }
    if stat.st_mode & 0o022 != 0 {
        // Earlier versions made it with whatever umask there was.
        fchmod(dir.as_fd(), Mode::from_bits_truncate(0o755)).with_context(place)?;
    }
    Ok(())
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

/// Removes the bridge if the network has it, no device but `own` is on it and nobody is connecting one, with that
/// device; and calls `also` before anybody makes it again. Returns whether it is gone.
pub(super) fn remove_if_unused(
    list: &Value,
    own: Option<&str>,
    also: impl FnOnce() -> Result<()> + Send,
) -> Result<bool> {
    if !is_on(list) {
        return Ok(true);
    }
    let lock = open_lock()?;
    match lock.try_lock() {
        // Who connects a container removes the bridge with it.
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(error)) => return Err(error).context("lock the bridge"),
        Ok(()) => {}
    }
    let removing = || format!("remove the bridge {DEVICE}");
    let netlink = Netlink::open().with_context(removing)?;
    let Some(index) = index_of(&netlink, DEVICE).with_context(removing)? else {
        return also().map(|()| true);
    };
    let own = own.map_or(Ok(None), |own| index_of(&netlink, own)).with_context(removing)?;
    let ports = netlink.ports(index).with_context(removing)?;
    if ports.iter().any(|&port| Some(port) != own) {
        return Ok(false);
    }
    let own = own.filter(|own| ports.contains(own));
    // For most of the time of all this, the kernel waits for its own readers.
    let remove = || match own {
        Some(own) => netlink.remove_together(&[own, index], random::number()),
        None => netlink.remove(index),
    };
    let (removed, also) = both(|| remove().with_context(removing), also);
    removed.and(also).map(|()| true)
}

/// Waits until nobody finds the device any more, or until the sender of `told` is dropped.
pub(super) fn wait_for_end_of(device: &str, told: &Receiver<()>) {
    const PAUSE: Duration = Duration::from_micros(200);
    let Ok(netlink) = Netlink::open() else { return };
    while told.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
        if netlink.index_of(device).is_err() {
            return;
        }
    }
}

/// The index of a device; None if there is none of this name.
fn index_of(netlink: &Netlink, name: &str) -> Result<Option<u32>> {
    match netlink.index_of(name) {
        Err(Errno::ENODEV) => Ok(None),
        index => Ok(Some(index?)),
    }
}
