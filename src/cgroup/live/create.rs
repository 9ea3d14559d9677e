//! Makes a group: its directories, and on v2 the controllers on the way down.

use std::path::{Component, Path};

use nix::errno::Errno;

use super::group::Group;
use super::{cpuset, freeze, realtime, subtree};
use crate::cgroup::dir::{CgroupDir, is_permission_error};
use crate::cgroup::plan::Location;
use crate::cgroup::plan::Record;
use crate::cgroup::plan::pointer::CGROUPS_PATH;
use crate::cgroup::plan::systemd::Unit;
use crate::cgroup::plan::write::Write;
use crate::cgroup::plan::{DELEGATE, Permission, Plan};
use crate::cgroup::systemd::placeholder::Placeholder;
use crate::cgroup::systemd::scope;
use crate::error::{Context, Error, Kind, Result, matched};
use crate::host::cgroup::Mode;
use crate::{fail, log};

impl Plan {
    /// Makes the group in every hierarchy, empty and without limits.
    ///
    /// Refuses a group that has processes or is frozen, because it belongs to somebody else. After a failure,
    /// everything that was made is removed.
    pub fn create(&self) -> Result<Group> {
        let mut made = CreatedDirs::default();
        let mut record = self.record();
        let mut unit = StartedUnit::default();
        if let Some(named) = &record.unit.clone() {
            self.locations.iter().try_for_each(refuse_used_location)?;
            match StartedUnit::start(named, self, &mut record) {
                Ok(started) => unit = started,
                Err(error) if self.can_run_without_unit(&error) => {
                    log::warn(format_args!("the container gets no cgroup of its own: {error}"));
                    record.locations.clear();
                    record.unit = None;
                }
                Err(error) => return Err(error),
            }
        }
        let mut dirs = Vec::with_capacity(record.locations.len());
        for location in std::mem::take(&mut record.locations) {
            let before = made.0.len();
            match self.make(&location, &mut made) {
                Ok(dir) => {
                    dirs.push(dir);
                    record.locations.push(location);
                }
                Err(error) if self.permission == Permission::NotNeeded && is_permission_error(&error) => {
                    self.check_dispensable(&location, error)?;
                    made.back_to(before);
                }
                Err(error) => return Err(error),
            }
        }
        let above = made.keep(&record.locations);
        Ok(Group::new(record, dirs, self.permission, unit.keep(), above))
    }

    fn make(&self, location: &Location, made: &mut CreatedDirs) -> Result<CgroupDir> {
        let root = CgroupDir::open_root(&location.mountpoint)?;
        // Usually engines have done this: the group's parent exists and hands everything down.
        let parent = match self.mode {
            Mode::V2 => subtree::open_parent(&root, location, &self.available_controllers),
            Mode::V1 | Mode::Hybrid => None,
        };
        let to_enable = self.mode == Mode::V2 && parent.is_none();
        let (mut dir, path) = parent.unwrap_or((root, &location.path));
        let mut existed = false;
        let mut available_controllers = None;
        let mut parts = path.components().peekable();
        while let Some(part) = parts.next() {
            let Component::Normal(name) = part else { continue };
            if to_enable {
                available_controllers = Some(subtree::enable_controllers(&dir, self, available_controllers)?);
            }
            let (child, fresh) = create_child(&dir, Path::new(name)).context(CGROUPS_PATH)?;
            existed = !fresh;
            if location.controllers.iter().any(|name| name == "cpuset") {
                let inherited = cpuset::inherit(&dir, &child);
                inherited.inspect_err(|_| unmake_if(fresh, &dir, name.as_ref())).context(CGROUPS_PATH)?;
            }
            if fresh {
                made.push(dir, name.as_ref());
                if parts.peek().is_some() && location.controllers.iter().any(|name| name == "cpu") {
                    realtime::grant_to_parent(&child, self)?;
                }
            }
            dir = child;
        }
        if existed && self.unit.is_none() {
            refuse_used(&dir)?;
        }
        if self.mode == Mode::V2 {
            subtree::ensure_domain_or_threaded(&dir, self)?;
        }
        Ok(dir)
    }

    fn has_limits(&self) -> bool {
        self.writes.iter().any(Write::needs_controller)
    }

    /// A user without a systemd of their own may still run a container that asks for no limit and no place.
    fn can_run_without_unit(&self, error: &Error) -> bool {
        let absent = matches!(error.errno(), Some(Errno::ENOENT | Errno::ECONNREFUSED));
        self.permission == Permission::NotNeeded
            && !self.has_limits()
            && (absent || error.kind() == Kind::Unsupported)
    }

    /// Without permission in one hierarchy, a container may do without it if it asks nothing of it.
    fn check_dispensable(&self, location: &Location, error: Error) -> Result<()> {
        if self.mode == Mode::V2 && !self.has_limits() {
            return Ok(());
        }
        if self.mode == Mode::V2 {
            let why = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";
            return Err(error.context(why).with_hint(DELEGATE));
        }
        let is_lost =
            |write: &&Write| write.needs_controller() && location.controllers.contains(&write.controller);
        match self.writes.iter().find(is_lost) {
            None => Ok(()),
            Some(write) => {
                let what = format!(
                    "{}: cannot set {} limit: container could not join or create cgroup",
                    write.pointer, write.controller
                );
                Err(error.context(what).with_hint(DELEGATE))
            }
        }
    }
}

/// Makes or finds the group `name`. Returns true if it was made.
fn create_child(dir: &CgroupDir, name: &Path) -> Result<(CgroupDir, bool)> {
    let path = || dir.path.join(name);
    // Several attempts: a finished container may remove an empty parent between the two calls.
    for _ in 0..3 {
        let fresh = dir.create_child(name).map_err(|errno| create_error(errno, &path()))?;
        match dir.open_child(name) {
            Err(Errno::ENOENT) => {}
            other => {
                // Nobody else knows of the group yet who could remove it.
                let child = other.inspect_err(|_| unmake_if(fresh, dir, name));
                let child = child.with_context(|| format!("open control group {}", path().display()))?;
                return Ok((child, fresh));
            }
        }
    }
    Err(fail!(
        Kind::System(Errno::ENOENT),
        "make control group {}: it is removed again and again",
        path().display()
    ))
}

fn unmake_if(fresh: bool, dir: &CgroupDir, name: &Path) {
    if fresh {
        let _ = dir.remove_child(name);
    }
}

fn create_error(errno: Errno, path: &Path) -> Error {
    let mut error = Error::from(errno);
    // This is the kernel's reason for "try again".
    if errno == Errno::EAGAIN {
        error = error.with_hint("see cgroup.max.descendants and cgroup.max.depth of the groups above");
    }
    error.context(format!("make control group {}", path.display()))
}

/// Must be called before a unit of that name is started: afterwards there is always a process.
fn refuse_used_location(location: &Location) -> Result<()> {
    match CgroupDir::open_root(&location.mountpoint)?.open_child(&location.path) {
        Ok(dir) => refuse_used(&dir),
        Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno).with_context(|| format!("open {}", location.directory().display())),
    }
}

fn refuse_used(dir: &CgroupDir) -> Result<()> {
    let refused = |what: std::borrow::Cow<'static, str>, file: &str| {
        let file = dir.path.join(file);
        let hint = format!("see {}; is another container using this cgroupsPath?", file.display());
        Err(Error::new(Kind::State, what)
            .with_hint(hint)
            .context(dir.path.display().to_string())
            .context(CGROUPS_PATH))
    };
    let pids = super::procs::all(dir)?;
    if !pids.is_empty() {
        return refused(matched::cgroup_not_empty(pids.len()).into(), "cgroup.procs");
    }
    if freeze::is_frozen(dir)? {
        return refused(matched::CGROUP_FROZEN.into(), freeze::state_file(dir));
    }
    Ok(())
}

/// A started unit. If it is dropped without `keep`, it is stopped again.
#[derive(Default)]
struct StartedUnit {
    unit: Option<Unit>,
    placeholder: Option<Placeholder>,
}

impl StartedUnit {
    fn start(unit: &Unit, plan: &Plan, record: &mut Record) -> Result<Self> {
        let placeholder = scope::start(unit, plan, record)?;
        Ok(Self { unit: Some(unit.clone()), placeholder })
    }

    fn keep(mut self) -> Option<Placeholder> {
        self.unit = None;
        self.placeholder.take()
    }
}

impl Drop for StartedUnit {
    fn drop(&mut self) {
        drop(self.placeholder.take());
        if let Some(unit) = &self.unit {
            scope::stop(unit);
        }
    }
}

/// The directories made so far. If this is dropped without `keep`, they are removed.
#[derive(Default)]
struct CreatedDirs(Vec<(CgroupDir, std::path::PathBuf)>);

impl CreatedDirs {
    fn push(&mut self, parent: CgroupDir, name: &Path) {
        self.0.push((parent, name.to_owned()));
    }

    /// Removes the directories that were made after the first `length` ones.
    fn back_to(&mut self, length: usize) {
        for (parent, name) in self.0.drain(length..).rev() {
            let _ = parent.remove_child(&name);
        }
    }

    /// Keeps all directories. Returns those above the `locations`, for a creation that fails later.
    fn keep(mut self, locations: &[Location]) -> Vec<(CgroupDir, std::path::PathBuf)> {
        let is_location =
            |path: std::path::PathBuf| locations.iter().any(|location| location.directory() == path);
        self.0.retain(|(parent, name)| !is_location(parent.path.join(name)));
        std::mem::take(&mut self.0)
    }
}

impl Drop for CreatedDirs {
    fn drop(&mut self) {
        self.back_to(0);
    }
}
