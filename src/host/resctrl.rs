//! The resctrl filesystem, by which caches and memory bandwidth are shared out: where it is and what it can.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::sys::statfs::{FsType, statfs};
use serde::{Deserialize, Serialize};

use crate::sys::mountinfo;

/// Made by the kernel where the processor can; empty until somebody mounts resctrl, usually here.
const USUAL: &str = "/sys/fs/resctrl";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resctrl {
    pub root: PathBuf,
    /// L3 cache can be shared out.
    pub cache: bool,
    /// Memory bandwidth can.
    pub bandwidth: bool,
}

impl Resctrl {
    /// None where it is not mounted.
    pub fn read() -> Option<Self> {
        Self::at(find()?)
    }

    /// What the filesystem at `root` says of itself.
    pub fn at(root: PathBuf) -> Option<Self> {
        let has = |name: &str| root.join("info").join(name).is_dir();
        Some(Self { cache: has("L3"), bandwidth: has("MB"), root })
    }
}

fn find() -> Option<PathBuf> {
    let there = statfs(USUAL).ok()?;
    if there.filesystem_type() == FsType(libc::RDTGROUP_SUPER_MAGIC as _) {
        return Some(USUAL.into());
    }
    let mounts = mountinfo::read().ok()?;
    let mount = mounts.into_iter().find(|mount| mount.kind == b"resctrl")?;
    Some(OsString::from_vec(mount.point.into_bytes()).into())
}
