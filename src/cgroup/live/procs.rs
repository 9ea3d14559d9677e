//! The processes of a group and of the groups below it.

use std::path::PathBuf;

use nix::errno::Errno;

use crate::cgroup::dir::CgroupDir;
use crate::error::{Context, Result};

/// Every entry, in host order; 0 stands for a process of a pid namespace that we cannot see.
pub(super) fn all(dir: &CgroupDir) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    collect(dir, &mut pids)?;
    // A process that moved while we walked is met twice.
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

fn collect(dir: &CgroupDir, pids: &mut Vec<i32>) -> Result<()> {
    let doing = || format!("read {}", dir.path.join("cgroup.procs").display());
    match dir.read("cgroup.procs") {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
        // Gone meanwhile.
        Err(Errno::ENOENT | Errno::ENODEV) => return Ok(()),
        // A threaded group lists its threads; the processes are listed by the domain above, among others.
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

/// The process that a thread belongs to; None where it is gone.
fn process_of(thread: &str) -> Option<i32> {
    let thread = procfs::process::Process::new(thread.parse().ok()?).ok()?;
    Some(thread.status().ok()?.tgid)
}

/// The group below `dir` that holds a process; None where it is in `dir` itself or not there at all.
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

/// The groups directly below; none where the group is gone.
pub(super) fn children(dir: &CgroupDir) -> Result<Vec<PathBuf>> {
    match dir.children() {
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(Vec::new()),
        other => other.with_context(|| format!("list {}", dir.path.display())),
    }
}
