//! Walks through a group and all groups below it, however deep they are: a container to which its group is
//! delegated can make thousands of levels. One descriptor is open at a time, and nothing recurses.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::cgroup::dir::{CgroupDir, Identity};
use crate::error::{Context, Result};

/// A step of a walk.
pub(super) enum Visit<'a> {
    /// A group, before the groups below it.
    Enter(&'a CgroupDir),
    /// The group `name` directly below `parent`, after all groups below that.
    Leave { parent: &'a CgroupDir, name: &'a Path },
}

/// A group on the way down to the one that the walk is in.
struct Level {
    identity: Identity,
    /// The child that the walk went into.
    name: PathBuf,
    /// Its other children, still to be visited.
    rest: Vec<PathBuf>,
}

/// Visits `dir` and all groups below it. Groups that vanish meanwhile are skipped. The walk ends when a visit
/// returns `Break`.
pub(super) fn walk<T>(
    dir: &CgroupDir,
    mut visit: impl FnMut(Visit<'_>) -> Result<ControlFlow<T>>,
) -> Result<Option<T>> {
    let mut here = dir.reopen().with_context(|| format!("open {}", dir.path.display()))?;
    let mut above: Vec<Level> = Vec::new();
    if let ControlFlow::Break(found) = visit(Visit::Enter(&here))? {
        return Ok(Some(found));
    }
    let mut rest = children(&here)?;
    loop {
        let Some(name) = rest.pop() else {
            let Some(level) = above.pop() else { return Ok(None) };
            here = climb(here, &level)?;
            rest = level.rest;
            if let ControlFlow::Break(found) = visit(Visit::Leave { parent: &here, name: &level.name })? {
                return Ok(Some(found));
            }
            continue;
        };
        let identity = here.identity().with_context(|| format!("stat {}", here.path.display()))?;
        here = match here.descend(&name) {
            Ok(child) => child,
            Err((unchanged, Errno::ENOENT | Errno::ENODEV)) => {
                here = unchanged;
                continue;
            }
            Err((unchanged, errno)) => {
                return Err(errno).with_context(|| format!("open {}", unchanged.path.join(name).display()));
            }
        };
        above.push(Level { identity, name, rest });
        if let ControlFlow::Break(found) = visit(Visit::Enter(&here))? {
            return Ok(Some(found));
        }
        rest = children(&here)?;
    }
}

/// Goes back to the group that the walk came from. Finding another group there is an error, although groups
/// are never moved.
fn climb(here: CgroupDir, level: &Level) -> Result<CgroupDir> {
    let doing = || format!("go back from {}", level.name.display());
    let parent = here.ascend().with_context(doing)?;
    match parent.identity().with_context(doing)? == level.identity {
        true => Ok(parent),
        false => Err(Errno::ESTALE).with_context(doing),
    }
}

/// The names of the groups directly below; none if the group is gone.
fn children(dir: &CgroupDir) -> Result<Vec<PathBuf>> {
    match dir.children() {
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(Vec::new()),
        other => other.with_context(|| format!("list {}", dir.path.display())),
    }
}
