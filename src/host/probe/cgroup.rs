//! Reads the cgroup hierarchies from /proc/self/cgroup. If they are not simply the v2 tree in its usual
//! place, it also reads /proc/self/mountinfo.

use std::path::Path;

use nix::sys::stat::stat;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use crate::error::{Context, Result};
use crate::host::cgroup::{Layout, Mode, USUAL_MOUNTPOINT, Unified, parse_membership};
use crate::sys::file::read_small_at;

/// Reads the hierarchies, and the group of this process in each.
pub fn read_layout() -> Result<Layout> {
    let groups = read("/proc/self/cgroup")?;
    let layout = match whole_tree_with_own_group(&groups) {
        Some(layout) => layout,
        None => Layout::parse(&groups, &read("/proc/self/mountinfo")?),
    };
    with_controllers(layout)
}

/// Reads the hierarchies without the group of this process, for which `/` stands: half of the work.
pub(super) fn read_hierarchies() -> Result<Layout> {
    whole_tree().map_or_else(read_layout, with_controllers)
}

/// Recognizes the whole v2 tree in the usual place, seen from the initial cgroup namespace, as on most hosts.
/// This takes three calls, while mountinfo takes longer the more is mounted. Returns `None` if the layout is
/// or may be different.
fn whole_tree_with_own_group(groups: &str) -> Option<Layout> {
    /// PROC_CGROUP_INIT_INO of linux/proc_ns.h.
    const INITIAL_NAMESPACE: u64 = 0xefff_fffb;
    let mut layout = whole_tree()?;
    if stat("/proc/self/ns/cgroup").ok()?.st_ino != INITIAL_NAMESPACE {
        return None;
    }
    let mut memberships = groups.lines().filter_map(parse_membership);
    let (_, own_path) = memberships.find(|(controllers, _)| controllers.is_empty())?;
    layout.unified.iter_mut().for_each(|unified| unified.own_path = own_path.to_owned());
    Some(layout)
}

/// Recognizes the whole v2 tree in the usual place: its root is the mount's root.
fn whole_tree() -> Option<Layout> {
    const ROOT_INODE: u64 = 1;
    if statfs(USUAL_MOUNTPOINT).ok()?.filesystem_type() != CGROUP2_SUPER_MAGIC
        || stat(USUAL_MOUNTPOINT).ok()?.st_ino != ROOT_INODE
    {
        return None;
    }
    let root = Path::new("/");
    let (mount_root, own_path) = (root.to_owned(), root.to_owned());
    let unified =
        Unified { mountpoint: USUAL_MOUNTPOINT.into(), mount_root, own_path, controllers: Vec::new() };
    Some(Layout { v1: Vec::new(), unified: Some(unified) })
}

/// Adds the controllers of the tree on a pure v2 host.
pub fn with_controllers(mut layout: Layout) -> Result<Layout> {
    if layout.mode() == Mode::V2
        && let Some(unified) = &mut layout.unified
    {
        let text = read(&unified.mountpoint.join("cgroup.controllers").to_string_lossy())?;
        unified.controllers = text.split_whitespace().map(str::to_owned).collect();
    }
    Ok(layout)
}

fn read(path: &str) -> Result<String> {
    let bytes = read_small_at(path).with_context(|| format!("read {path}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_way_finds_what_mountinfo_says() {
        let groups = read("/proc/self/cgroup").unwrap();
        let whole = Layout::parse(&groups, &read("/proc/self/mountinfo").unwrap());
        if let Some(plain) = whole_tree_with_own_group(&groups) {
            assert_eq!(plain, whole);
        }
    }
}
