//! A mount of type `cgroup`: what it becomes depends on the host's hierarchies and the container's namespaces.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::mount_options::NamedFlags;
use super::mounts::{Find, Mount, Source};
use crate::cgroup;
use crate::cgroup::plan::Permission;
use crate::host::cgroup::{Hierarchy, Layout, Mode};
use crate::kernel::mount::MOUNT_ATTR_RDONLY;

/// How control groups show inside the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cgroups {
    /// The host has none: the mount is left out.
    Absent,
    /// v2 in a cgroup namespace of the container's own: a mount of cgroup2 shows that namespace's root.
    Own,
    /// v2 in the host's cgroup namespace: the host's mount is cloned. Mounting anew would show the same and wait for
    /// an RCU grace period (6–13 ms).
    Host { path: CString },
    /// v1: a tmpfs with one directory for each hierarchy.
    V1 { hierarchies: Vec<V1>, own_namespace: bool },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V1 {
    /// Its directory's name: the last component of where the host mounts it.
    pub name: CString,
    /// Controllers, `name=systemd` among them.
    pub controllers: Vec<String>,
    /// The container's group on the host.
    pub path: CString,
}

pub fn mounts(wanted: Mount, cgroups: &Cgroups, all: &mut Vec<Mount>) {
    match cgroups {
        Cgroups::Absent => {}
        Cgroups::Own => all.push(Mount { source: fs(c"cgroup2", Vec::new()), ..wanted }),
        Cgroups::Host { path } => all.push(Mount { source: bind(path, false), ..wanted }),
        Cgroups::V1 { hierarchies, own_namespace } => v1(&wanted, hierarchies, *own_namespace, all),
    }
}

fn v1(wanted: &Mount, hierarchies: &[V1], own_namespace: bool, all: &mut Vec<Mount>) {
    let mut base = wanted.clone();
    base.late_read_only = wanted.attributes.set & MOUNT_ATTR_RDONLY != 0;
    base.attributes.set &= !MOUNT_ATTR_RDONLY;
    base.source = fs(c"tmpfs", vec![(c"mode".into(), Some(c"755".into()))]);
    all.push(base);
    for hierarchy in hierarchies {
        let mut mount = wanted.clone();
        mount.target = below(&wanted.target, hierarchy.name.to_bytes());
        mount.find = Find::Follow;
        mount.source = if own_namespace { fresh(hierarchy) } else { bind(&hierarchy.path, true) };
        all.push(mount);
        for controller in hierarchy.controllers.iter().filter(|_| hierarchy.controllers.len() > 1) {
            if controller.as_bytes() == hierarchy.name.to_bytes() {
                continue;
            }
            let mut link = wanted.clone();
            link.target = below(&wanted.target, controller.as_bytes());
            link.source = Source::Symlink { to: hierarchy.name.clone() };
            all.push(link);
        }
    }
}

fn below(target: &CString, name: &[u8]) -> CString {
    let mut path = target.to_bytes().to_vec();
    path.push(b'/');
    path.extend_from_slice(name);
    // Both parts were C strings without a NUL within.
    CString::new(path).unwrap_or_default()
}

fn bind(path: &CString, recursive: bool) -> Source {
    Source::Bind {
        path: path.clone(),
        recursive,
        no_follow: false,
        copy_symlink: false,
        id_mapped: None,
        named: NamedFlags::default(),
        locked: false,
        inside: false,
    }
}

fn fs(kind: &std::ffi::CStr, parameters: Vec<super::mount_options::Parameter>) -> Source {
    let source = if kind == c"tmpfs" { c"tmpfs" } else { c"cgroup" };
    Source::Filesystem {
        kind: kind.into(),
        source: source.into(),
        parameters,
        inherit_mode: false,
        relabel: None,
        copy_up: false,
    }
}

/// The hierarchy mounted in the container's own cgroup namespace.
fn fresh(hierarchy: &V1) -> Source {
    let parameter = |controller: &String| match controller.strip_prefix("name=") {
        Some(name) => vec![(c"none".into(), None), (c"name".into(), CString::new(name).ok())],
        None => vec![(CString::new(controller.as_str()).unwrap_or_default(), None)],
    };
    fs(c"cgroup", hierarchy.controllers.iter().flat_map(parameter).collect())
}

/// From the host's layout and the places of the container's group.
pub fn shown(layout: &Layout, plan: &cgroup::Plan, own_namespace: bool) -> Cgroups {
    let c_path = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
    match layout.mode() {
        _ if layout.is_empty() => Cgroups::Absent,
        Mode::V2 if own_namespace => Cgroups::Own,
        Mode::V2 => {
            let unified = layout.unified.as_ref().map(|unified| c_path(&unified.mountpoint));
            unified.map_or(Cgroups::Absent, |path| Cgroups::Host { path })
        }
        Mode::V1 | Mode::Hybrid => {
            // Without privilege the group is most likely not made: then the process stays in ours, and sees that.
            let ours = plan.permission == Permission::NotNeeded;
            let own = |tree: &Hierarchy| {
                let below = tree.own_path.strip_prefix(&tree.mount_root).unwrap_or_else(|_| Path::new(""));
                tree.mountpoint.join(below)
            };
            if plan.driver == cgroup::Driver::Disabled {
                let hierarchy = |tree: &Hierarchy| V1 {
                    name: c_path(Path::new(tree.mountpoint.file_name().unwrap_or_default())),
                    controllers: tree.controllers.clone(),
                    path: c_path(&own(tree)),
                };
                return Cgroups::V1 { hierarchies: layout.v1.iter().map(hierarchy).collect(), own_namespace };
            }
            let v1 = plan.places.iter().filter(|place| !place.is_unified()).zip(&layout.v1);
            let v1 = v1.map(|(place, tree)| V1 {
                name: c_path(Path::new(place.mountpoint.file_name().unwrap_or_default())),
                controllers: place.controllers.clone(),
                path: c_path(&if ours { own(tree) } else { place.directory() }),
            });
            Cgroups::V1 { hierarchies: v1.collect(), own_namespace }
        }
    }
}
