//! Finds the group for a process that joins a running container: with `exec --cgroup`, and without it.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use super::group::Group;
use super::procs;
use crate::cgroup::plan::Location;
use crate::cgroup::plan::Record;
use crate::error::{Error, Kind, Result};
use crate::fail;
use crate::host::cgroup::Mode;

impl Group {
    /// Returns the group below this one that `paths` name, each `[CONTROLLER[,CONTROLLER]:]PATH`; without
    /// any, this one.
    pub fn subgroup(&self, paths: &[String]) -> Result<Self> {
        let subgroups = parse(paths)?;
        let mut record = self.record().clone();
        if let Some(unknown) = subgroups.keys().find(|name| !knows(&record, name)) {
            return Err(fail!(Kind::Usage, "unknown controller {unknown} in SubCgroupPaths"));
        }
        for location in &mut record.locations {
            let path = location.controllers.iter().find_map(|name| subgroups.get(name.as_str()));
            if let Some(path) = path.or_else(|| subgroups.get("")) {
                descend(location, path)?;
            }
        }
        let group = Self::from_record(&record);
        let missing = if subgroups.is_empty() { None } else { group.missing()?.map(Location::directory) };
        if let Some(location) = missing {
            let location = location.display();
            return Err(fail!(
                Kind::NotFound,
                "bad sub cgroup path: adding pid to {location}: no such file or directory"
            ));
        }
        Ok(group)
    }

    /// Returns the group for `exec` without a path: this one. On v2, a group that has children with
    /// controllers (an init system in the container has made them) may have no process; then it is the group
    /// of the first process, `init`.
    pub fn for_exec(&self, init: i32) -> Result<Self> {
        let record = self.record();
        let enables_controllers_for_children = |dir: &crate::cgroup::dir::CgroupDir| {
            dir.read("cgroup.subtree_control").is_ok_and(|text| !text.trim().is_empty())
        };
        if record.mode != Mode::V2
            || record.locations.is_empty()
            || !enables_controllers_for_children(self.dir(0)?)
        {
            return Ok(Self::from_record(record));
        }
        let mut record = record.clone();
        if let Some(below) = procs::find(self.dir(0)?, init)? {
            record.locations[0].path.push(below);
        }
        Ok(Self::from_record(&record))
    }
}

fn knows(record: &Record, controller: &str) -> bool {
    controller.is_empty() || record.mode != Mode::V2 && record.location_of(controller).is_some()
}

fn descend(location: &mut Location, path: &str) -> Result<()> {
    let path = path.trim_start_matches('/');
    if path.contains('\0') || Path::new(path).components().any(|part| part == Component::ParentDir) {
        return Err(fail!(Kind::Usage, "bad sub cgroup path: {path:?} leaves the container's cgroup"));
    }
    location.path.extend(Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))));
    Ok(())
}

/// Parses the paths by controller; the key "" stands for all.
fn parse(paths: &[String]) -> Result<BTreeMap<&str, &str>> {
    let wrong = |text: &str, what: &str| -> Error {
        fail!(Kind::Usage, "invalid --cgroup argument: {text} ({what})")
    };
    let mut wanted = BTreeMap::new();
    for text in paths {
        let Some((controllers, path)) = text.split_once(':') else {
            if paths.len() > 1 {
                return Err(wrong(text, "missing <controller>: prefix"));
            }
            wanted.insert("", text.as_str());
            continue;
        };
        for controller in controllers.split(',') {
            if controller.is_empty() {
                return Err(wrong(text, "empty <controller> prefix"));
            }
            if wanted.insert(controller, path).is_some() {
                return Err(wrong(text, "multiple paths for same controller"));
            }
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::plan::testing::{v1, v2};
    use crate::cgroup::plan::{Manager, Request, new_group};
    use crate::container_id::ContainerId;

    fn groups(paths: &[&str], v2_: bool) -> Result<Vec<String>> {
        let layout = if v2_ { v2() } else { v1() };
        let linux = serde_json::from_value(serde_json::json!({"cgroupsPath": "/t"})).unwrap();
        let record = new_group(&Request {
            linux: Some(&linux),
            annotations: None,
            id: &ContainerId::parse("t").unwrap(),
            manager: Manager::Cgroupfs,
            layout: &layout,
            rootless: false,
            systemd_subgroup: None,
            without_default_devices: false,
        })
        .unwrap()
        .record();
        let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
        let subgroups = parse(&paths)?;
        let mut seen = Vec::new();
        for mut location in record.locations.into_iter().take(4) {
            let path = location.controllers.iter().find_map(|name| subgroups.get(name.as_str()));
            if let Some(path) = path.or_else(|| subgroups.get("")) {
                descend(&mut location, path)?;
            }
            seen.push(location.path.display().to_string());
        }
        Ok(seen)
    }

    #[test]
    fn paths_go_below_the_group_and_nowhere_else() {
        assert_eq!(groups(&["a/./b"], true).unwrap(), ["t/a/b"]);
        assert_eq!(groups(&["/"], true).unwrap(), ["t"]);
        assert_eq!(groups(&["cpu,blkio:a", "memory:/b"], false).unwrap(), ["t", "t/a", "t/a", "t/b"]);
        for (paths, want) in [
            (&["../x"][..], "bad sub cgroup path: \"../x\" leaves the container's cgroup"),
            (&["/a/../../x"], "bad sub cgroup path: \"a/../../x\" leaves the container's cgroup"),
            (&["a", "b"], "invalid --cgroup argument: a (missing <controller>: prefix)"),
            (&[":a"], "invalid --cgroup argument: :a (empty <controller> prefix)"),
            (&["cpu:a", "cpu:b"], "invalid --cgroup argument: cpu:b (multiple paths for same controller)"),
        ] {
            assert_eq!(groups(paths, true).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn a_controller_that_the_container_does_not_have_is_named() {
        for layout in [v1(), v2()] {
            let record = new_group(&Request {
                linux: None,
                annotations: None,
                id: &ContainerId::parse("t").unwrap(),
                manager: Manager::Cgroupfs,
                layout: &layout,
                rootless: true,
                systemd_subgroup: None,
                without_default_devices: false,
            })
            .unwrap()
            .record();
            let error = Group::from_record(&record).subgroup(&["nope:a".to_owned()]).unwrap_err();
            assert_eq!(error.to_string(), "unknown controller nope in SubCgroupPaths");
        }
    }
}
