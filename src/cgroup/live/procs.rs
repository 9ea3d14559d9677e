//! The processes of a group and of the groups below it.

use std::ops::ControlFlow;
use std::path::PathBuf;

use nix::errno::Errno;

use super::walk::{Visit, walk};
use crate::cgroup::dir::CgroupDir;
use crate::error::{Context, Result};
use crate::sys::file::read_small_at;

/// Returns the pids of all processes, sorted; 0 stands for a process of a pid namespace that we cannot see.
pub(super) fn all(dir: &CgroupDir) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    walk::<()>(dir, |visit| {
        if let Visit::Enter(group) = visit {
            collect(group, &mut pids)?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    // A process that moves meanwhile can be listed twice.
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Adds the processes of the group itself.
fn collect(group: &CgroupDir, pids: &mut Vec<i32>) -> Result<()> {
    match listed(group, "cgroup.procs") {
        // A threaded group lists only its threads. The group above lists their processes, but among others.
        Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => {
            for thread in listed(group, "cgroup.threads")? {
                pids.extend(process_of(thread)?);
            }
        }
        own => pids.extend(own?),
    }
    Ok(())
}

/// Reads a list of numbers; empty if the group is gone meanwhile.
fn listed(group: &CgroupDir, file: &str) -> Result<Vec<i32>> {
    match group.read(file) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(Vec::new()),
        Err(errno) => Err(errno).with_context(|| format!("read {}", group.path.join(file).display())),
    }
}

/// Returns the process of a thread; `None` if it is gone.
fn process_of(thread: i32) -> Result<Option<i32>> {
    let path = format!("/proc/{thread}/status");
    let status = match read_small_at(&*path) {
        Err(Errno::ENOENT | Errno::ESRCH) => return Ok(None),
        other => other.with_context(|| format!("read {path}"))?,
    };
    let status = String::from_utf8_lossy(&status);
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
    process.map(Some).ok_or(Errno::EINVAL).with_context(|| format!("read {path}: it tells no process"))
}

/// Returns the group below `dir` that has a process; `None` if the process is in `dir` itself or in neither.
pub(super) fn find(dir: &CgroupDir, pid: i32) -> Result<Option<PathBuf>> {
    walk(dir, |visit| {
        let Visit::Enter(group) = visit else { return Ok(ControlFlow::Continue(())) };
        let below = group.path.strip_prefix(&dir.path).unwrap_or(&group.path);
        if below.as_os_str().is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        match listed(group, "cgroup.procs") {
            // The process of a threaded group's threads is listed above it.
            Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => Ok(ControlFlow::Continue(())),
            pids => match pids?.contains(&pid) {
                true => Ok(ControlFlow::Break(below.to_owned())),
                false => Ok(ControlFlow::Continue(())),
            },
        }
    })
}
