//! v2: a group has the controllers that its parent hands down, and a type that says what it can hold.

use nix::errno::Errno;

use super::dir::Dir;
use super::path::POINTER;
use super::plan::Plan;
use crate::error::{Context, Error, Kind, Result};
use crate::fail;

/// The controllers that work on threads; all others need a group of whole processes.
const THREADED: [&str; 4] = ["cpu", "cpuset", "perf_event", "pids"];

/// Hands all controllers of `dir` down to its children: what the plan needs must work, the rest (statistics) may.
pub fn enable(dir: &Dir, plan: &Plan) -> Result<()> {
    let offered = dir.read_or_fail("cgroup.controllers")?;
    let given = dir.read_or_fail("cgroup.subtree_control")?;
    let given: Vec<&str> = given.split_whitespace().collect();
    let missing: Vec<&str> = offered.split_whitespace().filter(|name| !given.contains(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let all = missing.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
    if dir.write("cgroup.subtree_control", &all).is_ok() {
        return Ok(());
    }
    // One refusal refuses the whole line: each for itself.
    for name in missing {
        if let (Err(errno), Some(pointer)) =
            (dir.write("cgroup.subtree_control", &format!("+{name}")), plan.needs(name))
        {
            return Err(cannot(dir, name, errno).context(pointer.to_owned()));
        }
    }
    Ok(())
}

fn cannot(dir: &Dir, controller: &str, errno: Errno) -> Error {
    let error = Error::from(errno);
    let error = match errno {
        Errno::EBUSY => {
            error.with_hint("a group that holds processes itself cannot hand this controller down")
        }
        _ => error,
    };
    error.context(format!(
        "enable the {controller} controller in {}/cgroup.subtree_control",
        dir.path.display()
    ))
}

/// Makes a group that cannot hold processes as it is a threaded one, if that is all the container needs.
pub fn settle_type(dir: &Dir, plan: &Plan) -> Result<()> {
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
    // With controllers of the group itself that work on threads, or none, its processes are as good as any.
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
        let pointer = plan.needs(controller).unwrap_or(POINTER).to_owned();
        return Err(refused.with_hint(format!("see {}", file.display())).context(pointer));
    }
    if kind == "domain invalid" {
        dir.write_or_fail("cgroup.type", "threaded").context(POINTER)?;
    }
    Ok(())
}
