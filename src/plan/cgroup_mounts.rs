//! A mount of type `cgroup`: what it becomes depends on the host's hierarchies and the container's
//! namespaces.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::mount::{Mount, MountOperation, TargetLookup};
use super::mount_label::MountLabel;
use super::mount_options::Parameter;
use crate::cgroup;
use crate::cgroup::plan::Permission;
use crate::host::cgroup::{Hierarchy, Layout, Mode};
use crate::kernel::mount::{Attributes, MOUNT_ATTR_RDONLY};

/// How the container sees control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cgroups {
    /// The host has none, so the mount is left out.
    Absent,
    /// v2 in a cgroup namespace of the container's own: a mount of cgroup2 shows that namespace's root.
    Own,
    /// v2 in the host's cgroup namespace: the host's mount is cloned. A new mount would show the same, after
    /// an RCU grace period (6–13 ms).
    Host { path: CString },
    /// v1: a tmpfs with one directory for each hierarchy.
    V1 { hierarchies: Vec<V1>, own_namespace: bool },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct V1 {
    /// The name of its directory: the last component of the host's mount point.
    pub name: CString,
    /// Controllers, `name=systemd` among them.
    pub controllers: Vec<String>,
    /// The container's group on the host.
    pub path: CString,
}

/// Plans the operations for one mount of type cgroup at `target`. `mount` makes a mount from a target and a
/// source, with the flags of the configuration's options.
pub(super) fn cgroup_mounts(
    target: &CString,
    cgroups: &Cgroups,
    label: &MountLabel,
    mount: impl Fn(CString, MountOperation) -> Mount,
) -> Vec<Mount> {
    match cgroups {
        Cgroups::Absent => Vec::new(),
        Cgroups::Own => vec![mount(target.clone(), filesystem(c"cgroup2", Vec::new()))],
        Cgroups::Host { path } => vec![mount(target.clone(), MountOperation::bind(path.clone(), false))],
        Cgroups::V1 { hierarchies, own_namespace } => {
            let mut mounts = vec![v1_base(target, label, &mount)];
            for hierarchy in hierarchies {
                mounts.push(v1_hierarchy(target, hierarchy, *own_namespace, &mount));
                mounts.extend(v1_links(target, hierarchy, &mount));
            }
            mounts
        }
    }
}

/// Plans the tmpfs that holds the directories. It becomes read-only at the end, because mount points are
/// still made in it.
fn v1_base(target: &CString, label: &MountLabel, mount: impl Fn(CString, MountOperation) -> Mount) -> Mount {
    let mut parameters = vec![(c"mode".into(), Some(c"755".into()))];
    label.apply("tmpfs", &mut parameters);
    let base = mount(target.clone(), filesystem(c"tmpfs", parameters));
    let set = base.attributes.set & !MOUNT_ATTR_RDONLY;
    let late_read_only = base.attributes.set & MOUNT_ATTR_RDONLY != 0;
    Mount { late_read_only, attributes: Attributes { set, ..base.attributes }, ..base }
}

fn v1_hierarchy(
    target: &CString,
    hierarchy: &V1,
    own_namespace: bool,
    mount: impl Fn(CString, MountOperation) -> Mount,
) -> Mount {
    let source = if own_namespace {
        v1_filesystem(hierarchy)
    } else {
        MountOperation::bind(hierarchy.path.clone(), true)
    };
    Mount { lookup: TargetLookup::Follow, ..mount(below(target, hierarchy.name.to_bytes()), source) }
}

/// Plans a symlink for each controller if several share one hierarchy: programs look for their single names.
fn v1_links(
    target: &CString,
    hierarchy: &V1,
    mount: impl Fn(CString, MountOperation) -> Mount,
) -> impl Iterator<Item = Mount> {
    let several = hierarchy.controllers.len() > 1;
    let names = hierarchy.controllers.iter().map(String::as_bytes);
    names
        .filter(move |name| several && *name != hierarchy.name.to_bytes())
        .map(move |name| mount(below(target, name), MountOperation::Symlink { to: hierarchy.name.clone() }))
}

fn below(target: &CString, name: &[u8]) -> CString {
    let mut path = target.to_bytes().to_vec();
    path.push(b'/');
    path.extend_from_slice(name);
    // Both parts were C strings, so neither contains a NUL.
    CString::new(path).unwrap_or_default()
}

fn filesystem(kind: &CStr, parameters: Vec<Parameter>) -> MountOperation {
    let source = if kind == c"tmpfs" { c"tmpfs" } else { c"cgroup" };
    MountOperation::Filesystem {
        kind: kind.into(),
        source: source.into(),
        parameters,
        inherit_mode: false,
        relabel: None,
        copy_up: false,
    }
}

/// Plans a mount of the hierarchy in the container's own cgroup namespace.
fn v1_filesystem(hierarchy: &V1) -> MountOperation {
    let parameter = |controller: &String| match controller.strip_prefix("name=") {
        Some(name) => vec![(c"none".into(), None), (c"name".into(), CString::new(name).ok())],
        None => vec![(CString::new(controller.as_str()).unwrap_or_default(), None)],
    };
    filesystem(c"cgroup", hierarchy.controllers.iter().flat_map(parameter).collect())
}

/// Decides how the container sees control groups, from the host's layout and the container's group.
pub(super) fn shown_cgroups(layout: &Layout, plan: &cgroup::Plan, own_namespace: bool) -> Cgroups {
    match layout.mode() {
        _ if layout.is_empty() => Cgroups::Absent,
        Mode::V2 if own_namespace => Cgroups::Own,
        Mode::V2 => {
            let unified = layout.unified.as_ref().map(|unified| c_path(&unified.mountpoint));
            unified.map_or(Cgroups::Absent, |path| Cgroups::Host { path })
        }
        Mode::V1 | Mode::Hybrid => Cgroups::V1 { hierarchies: v1_groups(layout, plan), own_namespace },
    }
}

fn v1_groups(layout: &Layout, plan: &cgroup::Plan) -> Vec<V1> {
    if plan.manager == cgroup::Manager::Disabled {
        let group = |tree: &Hierarchy| V1 {
            name: directory_name(&tree.mountpoint),
            controllers: tree.controllers.clone(),
            path: c_path(&own_group(tree)),
        };
        return layout.v1.iter().map(group).collect();
    }
    // Without privilege the group probably does not get made. Then the process stays in our group, and sees
    // that one.
    let ours = plan.permission == Permission::NotNeeded;
    let v1 = plan.locations.iter().filter(|location| !location.is_unified()).zip(&layout.v1);
    v1.map(|(location, tree)| V1 {
        name: directory_name(&location.mountpoint),
        controllers: location.controllers.clone(),
        path: c_path(&if ours { own_group(tree) } else { location.directory() }),
    })
    .collect()
}

/// The group of the runtime itself.
fn own_group(tree: &Hierarchy) -> PathBuf {
    let relative = tree.own_path.strip_prefix(&tree.mount_root).unwrap_or_else(|_| Path::new(""));
    tree.mountpoint.join(relative)
}

fn directory_name(mountpoint: &Path) -> CString {
    c_path(Path::new(mountpoint.file_name().unwrap_or_default()))
}

/// Makes a C string of a host's mount point, which contains no NUL.
fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}
