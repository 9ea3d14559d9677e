//! The processes of a group and of the groups below it.

use std::path::PathBuf;

use nix::errno::Errno;

use crate::cgroup::dir::CgroupDir;
use crate::error::{Context, Result};

/// Returns the pids of all processes, sorted; 0 stands for a process of a pid namespace that we cannot see.
pub(super) fn all(dir: &CgroupDir) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    collect(dir, &mut pids)?;
    // A process that moves meanwhile can be listed twice.
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

fn collect(dir: &CgroupDir, pids: &mut Vec<i32>) -> Result<()> {
    let doing = || format!("read {}", dir.path.join("cgroup.procs").display());
    match dir.read("cgroup.procs") {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
        // The group is gone meanwhile.
        Err(Errno::ENOENT | Errno::ENODEV) => return Ok(()),
        // A threaded group lists only its threads. The group above lists their processes, but among others.
        Err(Errno::EOPNOTSUPP) => {
            let text = dir.read("cgroup.threads").unwrap_or_default();
            pids.extend(text.lines().filter_map(process_of));
        }
        Err(errno) => return Err(errno).with_context(doing),
    }
    for child in children(dir)? {
        match dir.open_child(&child) {
            Ok(child) => collect(&child, pids)?,
            Err(Errno::ENOENT | Errno::ENODEV) => {}
            Err(errno) => return Err(errno).with_context(doing),
        }
    }
    Ok(())
}

/// Returns the process of a thread; `None` if it is gone.
fn process_of(thread: &str) -> Option<i32> {
    let thread = procfs::process::Process::new(thread.parse().ok()?).ok()?;
    Some(thread.status().ok()?.tgid)
}

/// Returns the group below `dir` that has a process; `None` if the process is in `dir` itself or in neither.
pub(super) fn find(dir: &CgroupDir, pid: i32) -> Result<Option<PathBuf>> {
    for name in children(dir)? {
        let Ok(child) = dir.open_child(&name) else { continue };
        let text = child.read("cgroup.procs").unwrap_or_default();
        if text.lines().any(|line| line.parse() == Ok(pid)) {
            return Ok(Some(name));
        }
        if let Some(deeper) = find(&child, pid)? {
            return Ok(Some(name.join(deeper)));
        }
    }
    Ok(None)
}

/// Returns the groups directly below; none if the group is gone.
pub(super) fn children(dir: &CgroupDir) -> Result<Vec<PathBuf>> {
    match dir.children() {
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(Vec::new()),
        other => other.with_context(|| format!("list {}", dir.path.display())),
    }
}
