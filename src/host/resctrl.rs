//! The resctrl filesystem, by which caches and memory bandwidth are shared out: where it is and what it can.

use std::path::{Path, PathBuf};

use nix::sys::statfs::{FsType, statfs};
use serde::{Deserialize, Serialize};

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
    if there.filesystem_type() == FsType(libc::RDTGROUP_SUPER_MAGIC) {
        return Some(USUAL.into());
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(mount_point).map(|path| Path::new(&path).to_owned())
}

/// The fifth field of a line whose first field behind the dash is the type.
fn mount_point(line: &str) -> Option<String> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let path = mount.split(' ').nth(4)?;
    // What would look like a separator is written in octal.
    filesystem.starts_with("resctrl ").then(|| path.replace("\\040", " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_at_an_unusual_place_is_found_by_its_type() {
        let line = "1040 29 0:45 / /mnt/re\\040sctrl rw,relatime shared:2 - resctrl resctrl rw";
        assert_eq!(mount_point(line), Some("/mnt/re sctrl".into()));
        assert_eq!(mount_point("29 1 8:1 / / rw - ext4 /dev/sda rw"), None);
    }
}
