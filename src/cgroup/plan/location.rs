//! The place of a group in each hierarchy, from `linux.cgroupsPath` or the container's id, and this host's
//! layout.
//!
//! An absolute path starts at each mountpoint. A relative path starts at the runtime's own group (v1), or
//! beside it (v2, where a group with processes cannot hand controllers to its children).

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::pointer::CGROUPS_PATH;
use super::systemd::unit::{Unit, user_root};
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::fail;
use crate::host::cgroup::{Layout, Mode};

/// A group in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// The controllers as in /proc/PID/cgroup; empty for the v2 tree.
    pub controllers: Vec<String>,
    pub mountpoint: PathBuf,
    /// The path below the mountpoint, without a leading slash.
    pub path: PathBuf,
}

impl Location {
    pub fn is_unified(&self) -> bool {
        self.controllers.is_empty()
    }

    /// Returns the index of the location whose files have a controller's values: on v2, one tree has them
    /// all.
    pub fn index_of(locations: &[Self], mode: Mode, controller: &str) -> Option<usize> {
        locations.iter().position(|location| match mode {
            Mode::V2 => location.is_unified(),
            Mode::V1 | Mode::Hybrid => location.controllers.iter().any(|name| name == controller),
        })
    }

    /// Returns the directory's full path.
    pub fn directory(&self) -> PathBuf {
        self.mountpoint.join(&self.path)
    }
}

/// Returns the locations of a container's group, one for each hierarchy, v1 first.
pub(crate) fn locations(
    cgroups_path: Option<&Path>,
    id: &ContainerId,
    layout: &Layout,
) -> Result<Vec<Location>> {
    let asked = cgroups_path.filter(|path| !path.as_os_str().is_empty());
    let asked = asked.unwrap_or_else(|| Path::new(id.as_str()));
    let inner = clean(asked)?;
    let mut locations = Vec::with_capacity(layout.v1.len() + 1);
    for tree in &layout.v1 {
        let base = || own_group_path(&tree.own_path, &tree.mount_root, &tree.controllers.join(","));
        let path = if asked.is_absolute() { inner.clone() } else { base()?.join(&inner) };
        locations.push(Location {
            controllers: tree.controllers.clone(),
            mountpoint: tree.mountpoint.clone(),
            path,
        });
    }
    if let Some(tree) = &layout.unified {
        let mut base = PathBuf::new();
        if asked.is_relative() {
            base = own_group_path(&tree.own_path, &tree.mount_root, "cgroup2")?;
            if layout.mode() == Mode::V2 {
                base.pop();
            }
        }
        locations.push(Location {
            controllers: Vec::new(),
            mountpoint: tree.mountpoint.clone(),
            path: base.join(&inner),
        });
    }
    Ok(locations)
}

/// Returns the locations of a systemd unit: the same in every hierarchy, below systemd's own root.
pub(crate) fn locations_of_unit(unit: &Unit, layout: &Layout) -> Result<Vec<Location>> {
    let mut path = unit.path()?;
    if let (true, Some(tree)) = (unit.user, &layout.unified) {
        path = user_root(&tree.own_path).join(path);
    }
    let v1 = layout.v1.iter().map(|tree| (tree.controllers.clone(), &tree.mountpoint));
    let v2 = layout.unified.iter().map(|tree| (Vec::new(), &tree.mountpoint));
    let location = |(controllers, mountpoint): (_, &PathBuf)| Location {
        controllers,
        mountpoint: mountpoint.clone(),
        path: path.clone(),
    };
    Ok(v1.chain(v2).map(location).collect())
}

/// Returns the locations of the groups that `layout` has as the own ones. Those at the top of a hierarchy are
/// left out: they limit nothing.
pub(crate) fn member_locations(layout: &Layout) -> Result<Vec<Location>> {
    let v1 = layout
        .v1
        .iter()
        .map(|tree| (&tree.controllers[..], &tree.mountpoint, &tree.mount_root, &tree.own_path));
    let v2 = layout.unified.iter().map(|tree| (&[][..], &tree.mountpoint, &tree.mount_root, &tree.own_path));
    let location =
        |(controllers, mountpoint, mount_root, own_path): (&[String], &PathBuf, &PathBuf, &PathBuf)| {
            let path = below_mount(own_path, mount_root).ok_or_else(|| {
                fail!(
                    Kind::Unsupported,
                    "the control group {} is not below {}, which is all that {} shows",
                    own_path.display(),
                    mount_root.display(),
                    mountpoint.display()
                )
            })?;
            Ok(Location { controllers: controllers.to_vec(), mountpoint: mountpoint.clone(), path })
        };
    let locations = v1.chain(v2).map(location).collect::<Result<Vec<_>>>()?;
    Ok(locations.into_iter().filter(|location| !location.path.as_os_str().is_empty()).collect())
}

fn below_mount(path: &Path, mount_root: &Path) -> Option<PathBuf> {
    let relative = path.strip_prefix(mount_root).ok();
    let below = relative.filter(|path| path.components().all(|part| matches!(part, Component::Normal(_))));
    below.map(Path::to_owned)
}

/// Removes `.` and `..` from a path. A path that climbs above its start is at best a mistake; runc uses what
/// is left.
fn clean(path: &Path) -> Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir if !clean.pop() => {
                return Err(spec(path, "leaves the place where control groups of containers are"));
            }
            Component::ParentDir => {}
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    let text = path.as_os_str().as_encoded_bytes();
    if text.iter().any(|byte| matches!(byte, 0 | b'\n')) {
        return Err(spec(path, "a control group's name cannot hold a NUL or a newline"));
    }
    if clean.as_os_str().is_empty() {
        return Err(spec(path, "names no group of its own"));
    }
    Ok(clean)
}

fn spec(path: &Path, what: &str) -> Error {
    fail!(Kind::Spec, "{CGROUPS_PATH}: {:?}: {what}", path.display().to_string())
}

/// Returns the runtime's own group below a mountpoint. Inside a container the mount may show only a part of
/// the hierarchy, while /proc/self/cgroup names the whole path.
fn own_group_path(own_path: &Path, mount_root: &Path, hierarchy: &str) -> Result<PathBuf> {
    below_mount(own_path, mount_root).ok_or_else(|| {
        fail!(
            Kind::Unsupported,
            "{CGROUPS_PATH}: a relative path needs the runtime's own group {}, but the mount of {hierarchy} shows only {}",
            own_path.display(),
            mount_root.display()
        )
        .with_hint("use an absolute cgroupsPath")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::plan::testing::{hybrid, v2};

    fn id() -> ContainerId {
        ContainerId::parse("id").unwrap()
    }

    fn paths(asked: &str, layout: &Layout) -> Vec<String> {
        let locations = locations(Some(Path::new(asked)), &id(), layout).unwrap();
        locations.iter().map(|location| location.path.display().to_string()).collect()
    }

    #[test]
    fn each_form_of_the_path_lands_where_runc_puts_it() {
        // memory is in /jobs/a, cpu in /, the v2 tree in /jobs
        for (asked, on_hybrid, on_v2) in [
            ("/docker/x", ["docker/x", "docker/x", "docker/x"], "docker/x"),
            ("docker/x", ["jobs/a/docker/x", "docker/x", "jobs/docker/x"], "docker/x"),
            ("", ["jobs/a/id", "id", "jobs/id"], "id"),
            (
                "system.slice:docker:x",
                ["jobs/a/system.slice:docker:x", "system.slice:docker:x", "jobs/system.slice:docker:x"],
                "system.slice:docker:x",
            ),
            ("//a/./b//", ["a/b", "a/b", "a/b"], "a/b"),
        ] {
            assert_eq!(paths(asked, &hybrid()), on_hybrid, "{asked}");
            assert_eq!(paths(asked, &v2()), [on_v2], "{asked}");
        }
        let mut deep = v2();
        deep.unified.as_mut().unwrap().own_path = "/user.slice/me/run.scope".into();
        assert_eq!(paths("x", &deep), ["user.slice/me/x"]);
    }

    #[test]
    fn dots_never_climb_above_the_start() {
        for (asked, want) in [("/a/../b", "b"), ("/a/b/..", "a"), ("/./x", "x"), ("/a/.../b", "a/.../b")] {
            assert_eq!(paths(asked, &v2()), [want], "{asked}");
        }
        for asked in ["/", "..", "/..", "a/..", ".", "a\n", "a\0b", "/../../etc", "/a/../../../b", "../../x"]
        {
            let error = locations(Some(Path::new(asked)), &id(), &v2()).unwrap_err();
            assert_eq!(error.kind(), Kind::Spec, "{asked:?}");
            assert!(error.to_string().starts_with("/linux/cgroupsPath: "), "{error}");
        }
    }

    #[test]
    fn inside_a_container_the_mount_root_is_taken_off() {
        let mut layout = hybrid();
        layout.v1[0].own_path = "/docker/a/inner".into();
        layout.v1[0].mount_root = "/docker/a".into();
        assert_eq!(paths("x", &layout)[0], "inner/x");
        layout.v1[0].own_path = "/elsewhere".into();
        let error = locations(Some(Path::new("x")), &id(), &layout).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert_eq!(paths("/x", &layout)[0], "x");
    }
}
