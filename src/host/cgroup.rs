//! `Layout`: the mount points of this host's cgroup hierarchies, parsed from /proc/self/cgroup and
//! /proc/self/mountinfo. It is plain data: plans are made from it, and tests write it literally.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The usual mount point of control groups. It is preferred if a hierarchy is mounted more than once.
pub(super) const USUAL_MOUNTPOINT: &str = "/sys/fs/cgroup";

/// The mounted hierarchies that this process can see.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// The v1 hierarchies, in the order of /proc/self/cgroup.
    #[serde(default)]
    pub v1: Vec<Hierarchy>,
    /// The v2 tree.
    #[serde(default)]
    pub unified: Option<Unified>,
}

/// One mounted v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hierarchy {
    /// The controllers in /proc/self/cgroup, with `name=systemd`.
    pub controllers: Vec<String>,
    pub mountpoint: PathBuf,
    /// The part of the hierarchy that the mount shows: `/`, or deeper inside a container.
    pub mount_root: PathBuf,
    /// The group this process is in.
    pub own_path: PathBuf,
}

/// The mounted v2 tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unified {
    pub mountpoint: PathBuf,
    pub mount_root: PathBuf,
    pub own_path: PathBuf,
    /// The controllers in the root's cgroup.controllers; empty in hybrid mode, where limits are set through
    /// v1.
    #[serde(default)]
    pub controllers: Vec<String>,
}

/// The cgroup version that limits are set through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    V1,
    /// Limits are set through v1. A process also joins the same path in the v2 tree.
    Hybrid,
    V2,
}

impl Layout {
    /// Parses the texts of /proc/self/cgroup and /proc/self/mountinfo.
    pub fn parse(cgroup: &str, mountinfo: &str) -> Self {
        let mounts = Mounts::parse(mountinfo);
        let mut layout = Self::default();
        for (controllers, own_path) in cgroup.lines().filter_map(parse_membership) {
            let own_path = own_path.to_owned();
            if controllers.is_empty() {
                layout.unified = mounts.find("cgroup2", &[]).map(|mount| Unified {
                    mountpoint: mount.point.clone(),
                    mount_root: mount.root.clone(),
                    own_path,
                    controllers: Vec::new(),
                });
            } else if let Some(mount) = mounts.find("cgroup", &controllers) {
                layout.v1.push(Hierarchy {
                    controllers: controllers.into_iter().map(str::to_owned).collect(),
                    mountpoint: mount.point.clone(),
                    mount_root: mount.root.clone(),
                    own_path,
                });
            }
        }
        // A v2 tree in the usual place is the host's choice. A v1 hierarchy mounted beside it is for old
        // payloads.
        if layout.unified.as_ref().is_some_and(|unified| unified.mountpoint == Path::new(USUAL_MOUNTPOINT)) {
            layout.v1.clear();
        }
        layout
    }

    /// Returns the version, according to the mounted hierarchies.
    pub fn mode(&self) -> Mode {
        match (self.v1.is_empty(), &self.unified) {
            (true, Some(_)) => Mode::V2,
            (false, Some(_)) => Mode::Hybrid,
            (_, None) => Mode::V1,
        }
    }

    /// Whether no hierarchy is mounted at all.
    pub fn is_empty(&self) -> bool {
        self.v1.is_empty() && self.unified.is_none()
    }
}

/// Parses one line of /proc/self/cgroup, `ID:controllers:path`. The path may contain colons.
pub(super) fn parse_membership(line: &str) -> Option<(Vec<&str>, &Path)> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let controllers = controllers.split(',').filter(|name| !name.is_empty()).collect();
    Some((controllers, Path::new(path)))
}

struct Mount {
    id: u32,
    parent: u32,
    root: PathBuf,
    point: PathBuf,
    kind: String,
    /// The superblock's options. For v1 they name the controllers.
    options: String,
}

struct Mounts {
    /// All mounts, even of other filesystems: they may cover a cgroup mount.
    all: Vec<Mount>,
    by_id: HashMap<u32, usize>,
}

impl Mounts {
    fn parse(text: &str) -> Self {
        let all: Vec<Mount> = text.lines().filter_map(parse_mount).collect();
        let by_id = all.iter().enumerate().map(|(index, mount)| (mount.id, index)).collect();
        Self { all, by_id }
    }

    /// Finds a visible mount of type `kind` with these controllers. The usual place is preferred.
    fn find(&self, kind: &str, controllers: &[&str]) -> Option<&Mount> {
        let carries = |mount: &&Mount| {
            mount.kind == kind
                && controllers.iter().all(|name| mount.options.split(',').any(|option| option == *name))
        };
        let found: Vec<&Mount> =
            self.all.iter().filter(carries).filter(|mount| self.is_visible(mount)).collect();
        let usual = found.iter().find(|mount| mount.point.starts_with(USUAL_MOUNTPOINT));
        usual.or_else(|| found.first()).copied()
    }

    /// Whether no other mount covers this one or one of its parents.
    fn is_visible(&self, mount: &Mount) -> bool {
        let mut chain = vec![mount];
        // The loop is bounded: a mount table that changes while it is read could contain a circle.
        while let Some(&index) = chain.last().and_then(|last| self.by_id.get(&last.parent)) {
            if chain.len() > self.all.len() || chain.iter().any(|link| link.id == self.all[index].id) {
                break;
            }
            chain.push(&self.all[index]);
        }
        let covers = |over: &Mount, under: &Mount| {
            let on_top = over.parent == under.id && over.point == under.point;
            let above = over.parent == under.parent && under.point.starts_with(&over.point);
            over.id != under.id && (on_top || above)
        };
        let in_chain = |other: &Mount| chain.iter().any(|link| link.id == other.id);
        let others = || self.all.iter().filter(|other| !in_chain(other));
        !chain.iter().any(|under| others().any(|over| covers(over, under)))
    }
}

/// Parses one line of mountinfo: `id parent dev root point options [optional…] - type source super-options`.
fn parse_mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let mut right = right.splitn(3, ' ');
    let id = left.next()?.parse().ok()?;
    let parent = left.next()?.parse().ok()?;
    let root = unescape(left.nth(1)?);
    let point = unescape(left.next()?);
    let kind = right.next()?.to_owned();
    let options = right.nth(1).unwrap_or_default().to_owned();
    Some(Mount { id, parent, root, point, kind, options })
}

/// Undoes the escapes of mountinfo, which writes space, tab, newline and backslash as `\ooo`.
fn unescape(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal =
            bytes.get(at + 1..at + 4).filter(|digits| digits.iter().all(|d| (b'0'..b'8').contains(d)));
        match (bytes[at], octal) {
            (b'\\', Some(digits)) => {
                out.push(digits.iter().fold(0_u8, |value, d| value.wrapping_mul(8).wrapping_add(d - b'0')));
                at += 4;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID_CGROUP: &str =
        "9:name=systemd:/\n4:memory:/jobs/a:b\n1:cpu,cpuacct:/\n7:net_cls:/\n0::/jobs\n";
    const HYBRID_MOUNTS: &str = "\
23 1 8:1 / / rw - ext4 /dev/root rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:3 master:1 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn a_hybrid_host_lists_what_is_mounted() {
        let layout = Layout::parse(HYBRID_CGROUP, HYBRID_MOUNTS);
        assert_eq!(layout.mode(), Mode::Hybrid);
        let names: Vec<_> = layout.v1.iter().map(|h| h.controllers.join(",")).collect();
        assert_eq!(names, ["name=systemd", "memory", "cpu,cpuacct"]);
        assert_eq!(layout.v1[1].own_path, Path::new("/jobs/a:b"));
        assert_eq!(layout.v1[2].mountpoint, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(layout.unified.unwrap().own_path, Path::new("/jobs"));
    }

    #[test]
    fn a_v2_tree_in_the_usual_place_is_the_whole_layout() {
        let mounts = "\
23 1 8:1 / / rw - ext4 /dev/root rw
30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate
31 23 0:27 / /mnt/old\\040payload rw - cgroup cgroup rw,name=systemd
";
        let layout = Layout::parse("1:name=systemd:/\n0::/user.slice/a.scope\n", mounts);
        assert_eq!(layout.mode(), Mode::V2);
        assert_eq!(layout.unified.unwrap().own_path, Path::new("/user.slice/a.scope"));
        let lone = Layout::parse("1:name=systemd:/\n", mounts);
        assert_eq!(lone.v1[0].mountpoint, Path::new("/mnt/old payload"));
    }

    #[test]
    fn what_another_mount_covers_does_not_count() {
        let over = format!("{HYBRID_MOUNTS}50 31 0:40 / /sys/fs/cgroup rw - cgroup2 none rw\n");
        let layout = Layout::parse(HYBRID_CGROUP, &over);
        assert_eq!(layout.mode(), Mode::V2);
        assert_eq!(layout.unified.unwrap().mountpoint, Path::new("/sys/fs/cgroup"));
        let all_hidden = format!("{HYBRID_MOUNTS}50 23 0:40 / /sys rw - tmpfs none rw\n");
        assert!(Layout::parse(HYBRID_CGROUP, &all_hidden).is_empty());
    }

    #[test]
    fn the_usual_place_wins_over_an_earlier_mount() {
        let twice = format!("25 23 0:32 / /srv/memory rw - cgroup cgroup rw,memory\n{HYBRID_MOUNTS}");
        let layout = Layout::parse(HYBRID_CGROUP, &twice);
        assert_eq!(layout.v1[1].mountpoint, Path::new("/sys/fs/cgroup/memory"));
    }

    #[test]
    fn a_container_sees_part_of_the_tree() {
        let mounts = "31 1 0:29 /docker/a /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let layout = Layout::parse("4:memory:/docker/a\n", mounts);
        assert_eq!(layout.mode(), Mode::V1);
        assert_eq!(layout.v1[0].mount_root, Path::new("/docker/a"));
    }

    #[test]
    fn torn_or_foreign_lines_are_passed_over() {
        let layout =
            Layout::parse("nonsense\n:\n4\n5:memory\n", "x y z\n1 2 3\n - \n1 1 0:1 / / rw - cgroup2 a\n");
        assert!(layout.is_empty());
        assert_eq!(unescape("a\\04"), Path::new("a\\04"));
    }
}
