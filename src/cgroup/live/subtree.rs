//! v2: a group has the controllers that its parent hands down, and a type that says which processes it can
//! have.

use std::path::Path;

use nix::errno::Errno;

use crate::cgroup::dir::CgroupDir;
use crate::cgroup::plan::Location;
use crate::cgroup::plan::Plan;
use crate::cgroup::plan::pointer::CGROUPS_PATH;
use crate::error::{Context, Error, Kind, Result};
use crate::fail;

/// The controllers that work on threads. All others need a group of whole processes.
const THREADED: [&str; 4] = ["cpu", "cpuset", "perf_event", "pids"];

/// Hands all controllers of `dir` down to its children. Those that the plan needs must work; the others (for
/// statistics) may fail.
///
/// `available_controllers` are those that `dir` has, if known already: those that its own parent hands down.
/// Returns the controllers that its children have now.
pub(super) fn enable_controllers(
    dir: &CgroupDir,
    plan: &Plan,
    available_controllers: Option<String>,
) -> Result<String> {
    let available_controllers =
        available_controllers.map_or_else(|| dir.read_with_context("cgroup.controllers"), Ok)?;
    let enabled = dir.read_with_context("cgroup.subtree_control")?;
    let mut given: Vec<&str> = enabled.split_whitespace().collect();
    let mut missing: Vec<&str> =
        available_controllers.split_whitespace().filter(|name| !given.contains(name)).collect();
    let all = missing.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
    if missing.is_empty() || dir.write("cgroup.subtree_control", &all).is_ok() {
        given.extend(missing);
        return Ok(given.join(" "));
    }
    // One refused controller makes the whole line fail, so each is written alone. The needed ones come first:
    // others can change the type of the group, and nothing must change if this fails.
    missing.sort_by_key(|name| plan.pointer_needing(name).is_none());
    for name in missing {
        match (dir.write("cgroup.subtree_control", &format!("+{name}")), plan.pointer_needing(name)) {
            (Ok(()), _) => given.push(name),
            (Err(errno), Some(pointer)) => return Err(cannot(dir, name, errno).context(pointer.to_owned())),
            (Err(_), None) => {}
        }
    }
    Ok(given.join(" "))
}

/// Opens the group's parent, and returns the group's name in it, if the parent hands down all
/// `available_controllers`. Then all groups above do too, and [`enable_controllers`] has nothing to do.
pub(super) fn open_parent<'a>(
    root: &CgroupDir,
    location: &'a Location,
    available_controllers: &[String],
) -> Option<(CgroupDir, &'a Path)> {
    let (parent, name) = (location.path.parent()?, location.path.file_name()?);
    let parent = root.open_child(parent).ok()?;
    let enabled = parent.read("cgroup.subtree_control").ok()?;
    let all =
        available_controllers.iter().all(|name| enabled.split_ascii_whitespace().any(|given| given == name));
    all.then_some((parent, Path::new(name)))
}

fn cannot(dir: &CgroupDir, controller: &str, errno: Errno) -> Error {
    let mut error = Error::from(errno);
    let kind = dir.read("cgroup.type").unwrap_or_default();
    if kind.contains("threaded") {
        let file = dir.path.join("cgroup.type");
        error = error.with_hint(format!(
            "a group of threads cannot hand this controller down: see {}",
            file.display()
        ));
    } else if errno == Errno::EBUSY {
        error = error.with_hint("a group that holds processes itself cannot hand this controller down");
    }
    error.context(format!(
        "enable the {controller} controller in {}/cgroup.subtree_control",
        dir.path.display()
    ))
}

/// Makes a group that cannot have processes a threaded one, if the container needs no more than that.
pub(super) fn ensure_domain_or_threaded(dir: &CgroupDir, plan: &Plan) -> Result<()> {
    let kind = match dir.read("cgroup.type") {
        Ok(text) => text.trim().to_owned(),
        // KERNEL(4.14): types. The root has none.
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => {
            return Err(Error::from(errno).context(format!("read {}/cgroup.type", dir.path.display())));
        }
    };
    if kind == "domain" {
        return Ok(());
    }
    // If the group's own controllers work on threads, or it has none, its processes may stay in it.
    if kind == "domain threaded" {
        return Ok(());
    }
    let file = dir.path.join("cgroup.type");
    if let Some(controller) = plan.controllers().find(|name| !THREADED.contains(name)) {
        let refused = fail!(
            Kind::State,
            "cannot enter cgroup {} with domain controllers such as {controller}: it is in {kind} mode",
            dir.path.display()
        );
        let pointer = plan.pointer_needing(controller).unwrap_or(CGROUPS_PATH).to_owned();
        return Err(refused.with_hint(format!("see {}", file.display())).context(pointer));
    }
    if kind == "domain invalid" {
        dir.write_with_context("cgroup.type", "threaded").context(CGROUPS_PATH)?;
    }
    Ok(())
}
