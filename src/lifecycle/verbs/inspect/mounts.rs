//! The mounts that a process sees, each with its entry in the configuration, and the differences from that
//! entry.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::path::Path;

use nix::fcntl::OFlag;
use procfs::process::{MountInfo, Process};
use serde::Serialize;
use serde_json::Value;

use super::proc_files;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::inroot::Root;
use crate::kernel::mount::{
    MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
};
use crate::spec::mount_options::{self, Effect};
use crate::sys::mount::{is_mount_root, mount_id};

/// One line of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MountSeen {
    pub destination: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// The kernel's name for the source. For a directory of a filesystem, that directory follows after a
    /// colon.
    pub source: String,
    /// The options of the mount itself, sorted.
    pub options: Vec<String>,
    /// The JSON pointer of the configuration's entry. `None`: it was mounted later, or by the runtime on its
    /// own.
    pub pointer: Option<String>,
    /// The differences from that entry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
}

/// The flags that mountinfo shows, under its names.
const FLAGS: [(&str, u64); 6] = [
    ("ro", MOUNT_ATTR_RDONLY),
    ("nosuid", MOUNT_ATTR_NOSUID),
    ("nodev", MOUNT_ATTR_NODEV),
    ("noexec", MOUNT_ATTR_NOEXEC),
    ("nodiratime", MOUNT_ATTR_NODIRATIME),
    ("nosymfollow", MOUNT_ATTR_NOSYMFOLLOW),
];

/// The mount that the configuration asks for at one path.
struct Asked {
    pointer: String,
    /// The type of the filesystem; `None` for a bind.
    kind: Option<String>,
    /// Each flag that an option names, and whether it is set: the last option wins.
    flags: BTreeMap<u64, bool>,
    /// Whether the entry includes the mounts below its own: a recursive bind, or `cgroup` on v1.
    with_mounts_below: bool,
}

/// Returns the mounts of process `pid`, whose container was made from `config`.
pub(super) fn of_process(pid: i32, config: &[u8]) -> Result<Vec<MountSeen>> {
    let root = Root::open(Path::new(&format!("/proc/{pid}/root"))).context("open the container's root")?;
    let asked = by_mount_id(&root, config)?;
    let process = Process::new(pid).and_then(|process| proc_files::mounts(&process));
    let mounts = process.map_err(|error| fail!(Kind::State, "read /proc/{pid}/mountinfo: {error}"))?.0;
    let by_id: BTreeMap<i32, &MountInfo> = mounts.iter().map(|mount| (mount.mnt_id, mount)).collect();
    let asked = |mount: &MountInfo| u64::try_from(mount.mnt_id).ok().and_then(|id| asked.get(&id));
    let bringer = |mount: &MountInfo| {
        let nearest = above(mount, &by_id).find_map(asked);
        nearest.filter(|asked| asked.with_mounts_below).map(|asked| asked.pointer.clone())
    };
    Ok(mounts.iter().map(|mount| seen(mount, asked(mount), || bringer(mount))).collect())
}

/// Returns the mounts above `mount` in the tree, the nearest first.
fn above<'a>(mount: &MountInfo, by_id: &BTreeMap<i32, &'a MountInfo>) -> impl Iterator<Item = &'a MountInfo> {
    let parent = |mount: &MountInfo| by_id.get(&mount.pid).copied();
    // The kernel has no circle of parents, but the list can change while it is read.
    std::iter::successors(parent(mount), move |mount| parent(mount)).take(by_id.len())
}

/// Returns the entries of the configuration, each under the id of the mount that its path leads to now. If
/// two entries have the same path, the last counts.
fn by_mount_id(root: &Root, config: &[u8]) -> Result<BTreeMap<u64, Asked>> {
    let config: Value = serde_json::from_slice(config)
        .map_err(|error| fail!(Kind::State, "the kept config.json: {error}"))?;
    let mut all = vec![(String::from("/"), of_root(&config))];
    all.extend(paths(&config, "readonlyPaths", Some(true)));
    all.extend(paths(&config, "maskedPaths", None));
    for (index, mount) in members(&config["mounts"]).iter().enumerate() {
        let destination = mount["destination"].as_str().unwrap_or_default();
        all.push((destination.to_owned(), of_mount(index, mount)));
    }
    let place = |(path, asked): (String, Asked)| Some((mount_at(root, &path)?, asked));
    Ok(all.into_iter().filter_map(place).collect())
}

/// Returns the mount whose root is at `path`; `None` if nothing is mounted there.
fn mount_at(root: &Root, path: &str) -> Option<u64> {
    let found = root.resolve(&CString::new(path).ok()?, OFlag::O_PATH).ok()?;
    let found = found.as_fd();
    mount_id(found).ok().filter(|_| is_mount_root(found) == Ok(true))
}

fn members(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn of_root(config: &Value) -> Asked {
    let read_only = config["root"]["readonly"].as_bool().filter(|read_only| *read_only);
    let flags = read_only.map(|_| (MOUNT_ATTR_RDONLY, true)).into_iter().collect();
    Asked { pointer: String::from("/root/path"), kind: None, flags, with_mounts_below: false }
}

fn paths(config: &Value, member: &str, read_only: Option<bool>) -> Vec<(String, Asked)> {
    let paths = members(&config["linux"][member]).iter().enumerate();
    let flags: BTreeMap<u64, bool> = read_only.map(|set| (MOUNT_ATTR_RDONLY, set)).into_iter().collect();
    let asked = |(index, path): (usize, &Value)| {
        let pointer = format!("/linux/{member}/{index}");
        Some((
            path.as_str()?.to_owned(),
            Asked { pointer, kind: None, flags: flags.clone(), with_mounts_below: false },
        ))
    };
    paths.filter_map(asked).collect()
}

fn of_mount(index: usize, mount: &Value) -> Asked {
    let mut flags = BTreeMap::new();
    let mut is_bind = mount["type"].as_str().is_none_or(|kind| kind == "bind");
    let mut with_mounts_below = mount["type"].as_str() == Some("cgroup");
    for word in members(&mount["options"]).iter().filter_map(Value::as_str) {
        match mount_options::find(word).map(|option| option.effect) {
            Some(Effect::Attribute(set, cleared)) => {
                flags.extend(bits(cleared).map(|flag| (flag, false)));
                flags.extend(bits(set).map(|flag| (flag, true)));
            }
            Some(Effect::Bind { recursive }) => (is_bind, with_mounts_below) = (true, recursive),
            _ => {}
        }
    }
    let kind = mount["type"].as_str().filter(|_| !is_bind).map(str::to_owned);
    Asked { pointer: format!("/mounts/{index}"), kind, flags, with_mounts_below }
}

fn bits(flags: u64) -> impl Iterator<Item = u64> {
    FLAGS.into_iter().map(|(_, flag)| flag).filter(move |flag| flags & flag != 0)
}

/// Describes one mount. `bringer` is the entry that included this mount, if no entry asked for it.
fn seen(mount: &MountInfo, asked: Option<&Asked>, bringer: impl FnOnce() -> Option<String>) -> MountSeen {
    let mut options: Vec<String> = mount.mount_options.keys().cloned().collect();
    options.sort();
    let source = mount.mount_source.clone().unwrap_or_default();
    MountSeen {
        destination: mount.mount_point.display().to_string(),
        kind: mount.fs_type.clone(),
        source: if mount.root == "/" { source } else { format!("{source}:{}", mount.root) },
        pointer: asked.map(|asked| asked.pointer.clone()).or_else(bringer),
        differences: asked.map(|asked| differences(asked, &mount.fs_type, &options)).unwrap_or_default(),
        options,
    }
}

fn differences(asked: &Asked, kind: &str, options: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    // The type `cgroup` is valid on every host, and means the version that the host has.
    if let Some(asked) = asked.kind.as_deref().filter(|asked| *asked != kind && !asked.starts_with("cgroup"))
    {
        all.push(format!("{asked} was asked for, {kind} is there"));
    }
    for (word, flag) in FLAGS {
        let is_set = options.iter().any(|option| option == word);
        match asked.flags.get(&flag) {
            Some(true) if !is_set => all.push(format!("{word} was asked for, and is not set")),
            Some(false) if is_set => all.push(format!("{word} is set, and was not asked for")),
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(mount: &Value) -> Asked {
        of_mount(3, mount)
    }

    #[test]
    fn the_last_word_of_two_counts_and_what_differs_is_told() {
        let mount = serde_json::json!({"type": "tmpfs", "options": ["ro", "nosuid", "rw", "noexec"]});
        let options = ["nosuid", "ro"].map(String::from);
        assert_eq!(
            differences(&asked(&mount), "ext4", &options),
            [
                "tmpfs was asked for, ext4 is there",
                "ro is set, and was not asked for",
                "noexec was asked for, and is not set"
            ]
        );
    }

    #[test]
    fn a_bind_is_of_any_type_and_a_cgroup_is_what_the_host_has() {
        let bind = serde_json::json!({"type": "none", "options": ["rbind", "rro"]});
        assert!(differences(&asked(&bind), "ext4", &[]).is_empty());
        let cgroup = serde_json::json!({"type": "cgroup"});
        assert!(differences(&asked(&cgroup), "tmpfs", &[]).is_empty());
        assert_eq!(asked(&cgroup).pointer, "/mounts/3");
    }
}
