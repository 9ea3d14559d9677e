//! Removes a group after its last process has left, and its own subgroups before it.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::freeze::wait;
use super::group::Group;
use super::procs;
use super::walk::{Visit, walk};
use crate::cgroup::dir::CgroupDir;
use crate::cgroup::plan::Location;
use crate::cgroup::systemd::scope;
use crate::error::{Error, Kind, Result};
use crate::fail;

/// How long processes may take to leave. A killed process is in its group until it has died.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

impl Group {
    /// Removes the group from every hierarchy. A missing group is no failure.
    pub fn remove(&self) -> Result<()> {
        self.remove_within(TIMEOUT)
    }

    /// Undoes the creation: removes the group, and those groups above it that were made for it and are empty.
    pub fn undo(&self) -> Result<()> {
        let removed = self.remove();
        for (parent, name) in self.above.iter().rev() {
            // A failure means that the group is in use by now.
            let _ = parent.remove_child(name);
        }
        removed
    }

    /// Removes the group like `remove`, with another deadline. After it the error names the processes that
    /// are left.
    pub fn remove_within(&self, timeout: Duration) -> Result<()> {
        self.release_placeholder();
        if let Some(unit) = &self.record().unit {
            scope::stop(unit);
        }
        let end = Instant::now() + timeout;
        let results: Vec<_> = self.record().locations.iter().map(|location| remove(location, end)).collect();
        results.into_iter().collect()
    }
}

fn remove(location: &Location, end: Instant) -> Result<()> {
    let (Some(name), Some(parent)) = (location.path.file_name(), location.path.parent()) else {
        return Ok(());
    };
    let parent = match CgroupDir::open_root(&location.mountpoint)?.open_child(parent) {
        Err(Errno::ENOENT) => return Ok(()),
        other => other.map_err(|errno| cannot(&location.directory(), errno))?,
    };
    let mut pause = Duration::from_micros(250);
    loop {
        match remove_tree(&parent, Path::new(name)) {
            Ok(()) => return Ok(()),
            Err(Errno::EBUSY) => {}
            Err(errno) => return Err(cannot(&location.directory(), errno)),
        }
        let Some(left) = end.checked_duration_since(Instant::now()) else {
            return Err(busy(&parent, Path::new(name)));
        };
        until_empty(&parent, Path::new(name), pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Removes the group. Groups below it are removed first, but they are looked for only if removing the group
/// fails with EBUSY.
fn remove_tree(parent: &CgroupDir, name: &Path) -> Result<(), Errno> {
    match remove_group(parent, name) {
        Err(Errno::EBUSY) => {}
        other => return other,
    }
    let dir = match parent.open_child(name) {
        Err(Errno::ENOENT) => return Ok(()),
        other => other?,
    };
    let removed = walk::<()>(&dir, |visit| {
        if let Visit::Leave { parent, name } = visit {
            remove_group(parent, name)?;
        }
        Ok(ControlFlow::Continue(()))
    });
    match removed {
        Err(error) => Err(error.errno().unwrap_or(Errno::EIO)),
        Ok(_) => remove_group(parent, name),
    }
}

fn remove_group(parent: &CgroupDir, name: &Path) -> Result<(), Errno> {
    match parent.remove_child(name) {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}

/// Waits before the next attempt: for `time`, or on v2 until the group's processes have left. A v2 group
/// reports that, so the wait for it may be longer (at least 50 ms).
fn until_empty(parent: &CgroupDir, name: &Path, time: Duration) {
    let events = parent.open_child(name).ok().filter(CgroupDir::is_v2);
    let events = events.and_then(|dir| dir.open_file("cgroup.events", OFlag::O_RDONLY).ok());
    let mut text = [0; 256];
    let populated = |text: &[u8]| text.windows(11).any(|window| window == b"populated 1");
    match events.map(|file| (nix::sys::uio::pread(&file, &mut text, 0), file)) {
        Some((Ok(length), file)) if populated(&text[..length]) => {
            let _ = wait(&file, time.max(Duration::from_millis(50)));
        }
        _ => std::thread::sleep(time),
    }
}

fn cannot(path: &Path, errno: Errno) -> Error {
    Error::from(errno).context(format!("unable to remove cgroup {}", path.display()))
}

fn busy(parent: &CgroupDir, name: &Path) -> Error {
    let path = parent.path.join(name);
    let pids = parent.open_child(name).ok().and_then(|dir| procs::all(&dir).ok()).unwrap_or_default();
    if pids.is_empty() {
        return cannot(&path, Errno::EBUSY);
    }
    let named: Vec<_> = pids.iter().take(8).map(|&pid| named(pid)).collect();
    let rest = if pids.len() > named.len() {
        format!(" and {} more", pids.len() - named.len())
    } else {
        String::new()
    };
    fail!(
        Kind::System(Errno::EBUSY),
        "unable to remove cgroup {}: still in it: {}{rest}",
        path.display(),
        named.join(", ")
    )
}

/// Shows a process as `12 (sleep, D)`: the state tells why it does not leave.
fn named(pid: i32) -> String {
    match procfs::process::Process::new(pid).and_then(|process| process.stat()) {
        Ok(stat) => format!("{pid} ({}, {})", stat.comm, stat.state),
        Err(_) => pid.to_string(),
    }
}
