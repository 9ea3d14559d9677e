//! The live group of a container.

use std::cell::{OnceCell, RefCell};
use std::path::PathBuf;

use nix::errno::Errno;

use super::procs;
use crate::cgroup::dir::{CgroupDir, is_permission_error};
use crate::cgroup::plan::{Location, Permission, Record};
use crate::cgroup::systemd::placeholder::Placeholder;
use crate::cgroup::systemd::scope;
use crate::error::{Context, Result};
use crate::host::cgroup::Mode;

/// The live group of a container. Its directories are opened when they are first needed.
#[derive(Debug)]
pub struct Group {
    record: Record,
    dirs: Vec<OnceCell<CgroupDir>>,
    pub(super) permission: Permission,
    /// This process created the group, and not systemd, so no device program is attached.
    fresh: bool,
    /// Keeps a new scope alive until the first process joins.
    placeholder: RefCell<Option<Placeholder>>,
    /// The groups above it that were made for it, each as its parent and its name.
    pub(super) above: Vec<(CgroupDir, PathBuf)>,
}

impl Group {
    pub(super) fn new(
        record: Record,
        dirs: Vec<CgroupDir>,
        permission: Permission,
        placeholder: Option<Placeholder>,
        above: Vec<(CgroupDir, PathBuf)>,
    ) -> Self {
        let dirs = dirs.into_iter().map(OnceCell::from).collect();
        let fresh = record.unit.is_none();
        Self { record, dirs, permission, fresh, placeholder: placeholder.into(), above }
    }

    /// Makes the group from the record that another command wrote.
    pub fn from_record(record: &Record) -> Self {
        let dirs = record.locations.iter().map(|_| OnceCell::new()).collect();
        Self {
            record: record.clone(),
            dirs,
            permission: Permission::Needed,
            fresh: false,
            placeholder: None.into(),
            above: Vec::new(),
        }
    }

    /// Returns the record for `state.json`. It does not contain the hierarchies that a rootless container
    /// does without.
    pub fn record(&self) -> &Record {
        &self.record
    }

    pub(super) fn dir(&self, location: usize) -> Result<&CgroupDir> {
        if let Some(dir) = self.dirs[location].get() {
            return Ok(dir);
        }
        let dir = self.open(location)?;
        Ok(self.dirs[location].get_or_init(|| dir))
    }

    fn open(&self, location: usize) -> Result<CgroupDir> {
        let location = &self.record.locations[location];
        let dir = CgroupDir::open_root(&location.mountpoint)?.open_child(&location.path);
        dir.with_context(|| format!("open control group {}", location.directory().display()))
    }

    /// Whether this process created the group, and not systemd, so that no device program is attached yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Whether a process still keeps a new scope alive.
    pub(super) fn has_placeholder(&self) -> bool {
        self.placeholder.borrow().is_some()
    }

    pub(super) fn may_lack_permission(&self) -> bool {
        self.permission != Permission::Needed
    }

    /// Returns the directory of a location; `None` if the group is gone.
    pub(super) fn dir_if_there(&self, location: usize) -> Result<Option<&CgroupDir>> {
        if_there(self.dir(location))
    }

    pub(super) fn unified(&self) -> Option<usize> {
        self.record.locations.iter().position(crate::cgroup::plan::Location::is_unified)
    }

    /// Returns the hierarchy in which processes are looked up: if possible one that a container's own init
    /// system does not change.
    fn process_hierarchy(&self) -> Option<usize> {
        let location =
            ["devices", "freezer", "memory", "pids"].iter().find_map(|name| self.record.location_of(name));
        location.or(if self.record.locations.is_empty() { None } else { Some(0) })
    }

    /// Moves a process into the group in every hierarchy, if it was not cloned into the group and does not
    /// join by itself. The kernel waits for a grace period.
    pub fn join(&self, pid: i32) -> Result<()> {
        for location in 0..self.record.locations.len() {
            let dir = self.dir(location)?;
            let joined = dir.write("cgroup.procs", &pid.to_string());
            let joined =
                joined.with_context(|| format!("adding pid {pid} to {}/cgroup.procs", dir.path.display()));
            match (joined, &self.record.unit) {
                // Only systemd may move a user's processes out of the session's scope.
                (Err(error), Some(unit)) if unit.user && is_permission_error(&error) => {
                    scope::attach(unit, &self.record, pid)?;
                }
                (Err(error), _)
                    if self.permission == Permission::NotNeeded && is_permission_error(&error) => {}
                (other, _) => other?,
            }
        }
        self.release_placeholder();
        Ok(())
    }

    /// Ends the placeholder after a process has come into the group in every hierarchy: nothing else must
    /// keep it alive.
    pub fn release_placeholder(&self) {
        drop(self.placeholder.take());
    }

    /// Returns the host's pids of every process in the group and in groups below it, sorted.
    pub fn procs(&self) -> Result<Vec<i32>> {
        let Some(dir) =
            self.process_hierarchy().map(|location| self.dir_if_there(location)).transpose()?.flatten()
        else {
            return Ok(Vec::new());
        };
        Ok(procs::all(dir)?.into_iter().filter(|&pid| pid > 0).collect())
    }

    /// Whether the group exists in any hierarchy.
    pub fn exists(&self) -> Result<bool> {
        for location in 0..self.record.locations.len() {
            // The directory is opened anew: an open descriptor outlives a removed directory.
            if if_there(self.open(location))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the first location that has no directory.
    pub fn missing(&self) -> Result<Option<&Location>> {
        for (location, named) in self.record.locations.iter().enumerate() {
            if if_there(self.open(location))?.is_none() {
                return Ok(Some(named));
            }
        }
        Ok(None)
    }

    /// Returns how many processes of the group the kernel has killed for lack of memory; `None` if it does
    /// not say.
    pub fn oom_kills(&self) -> Option<u64> {
        let dir = self.dir(self.record.location_of("memory")?).ok()?;
        let file = if self.record.mode == Mode::V2 { "memory.events" } else { "memory.oom_control" };
        let text = dir.read(file).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
    }
}

fn if_there<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::ENODEV)) => Ok(None),
        other => other.map(Some),
    }
}
