//! Looks for the resctrl filesystem.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::sys::statfs::{FsType, statfs};

use crate::host::resctrl::Resctrl;
use crate::sys::mountinfo;

/// The kernel makes this directory if the processor supports it. It is empty until somebody mounts resctrl,
/// usually here.
const USUAL_MOUNTPOINT: &str = "/sys/fs/resctrl";

/// Finds the mounted filesystem and reads what it supports; `None` if it is not mounted.
pub(super) fn find_resctrl() -> Option<Resctrl> {
    Some(read_resctrl(find_mountpoint()?))
}

/// Reads what the resctrl filesystem at `root` supports.
pub fn read_resctrl(root: PathBuf) -> Resctrl {
    let has = |name: &str| root.join("info").join(name).is_dir();
    Resctrl { cache: has("L3"), bandwidth: has("MB"), root }
}

fn find_mountpoint() -> Option<PathBuf> {
    let filesystem = statfs(USUAL_MOUNTPOINT).ok()?;
    if filesystem.filesystem_type() == FsType(libc::RDTGROUP_SUPER_MAGIC as _) {
        return Some(USUAL_MOUNTPOINT.into());
    }
    let mounts = mountinfo::read().ok()?;
    let mount = mounts.into_iter().find(|mount| mount.kind == b"resctrl")?;
    Some(OsString::from_vec(mount.point.into_bytes()).into())
}
