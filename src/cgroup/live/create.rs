//! Making a group: its directories, and on v2 the controllers on the way down.

use std::path::{Component, Path};

use nix::errno::Errno;

use super::group::Group;
use super::{cpuset, freeze, realtime, subtree};
use crate::cgroup::dir::Dir;
use crate::cgroup::plan::path::{POINTER, Place};
use crate::cgroup::plan::record::Record;
use crate::cgroup::plan::systemd::Unit;
use crate::cgroup::plan::{Permission, Plan};
use crate::cgroup::systemd::placeholder::Placeholder;
use crate::cgroup::systemd::scope;
use crate::error::{Context, Error, Kind, Result, matched};
use crate::host::cgroup::Mode;
use crate::{fail, log};

impl Plan {
    /// Makes the group in every hierarchy, empty and without limits so far.
    ///
    /// Refuses a group that holds processes or is frozen: it is somebody else's. What was made before a failure is
    /// removed again.
    pub fn create(&self) -> Result<Group> {
        let mut made = Made::default();
        let mut record = self.record();
        let mut unit = Started::default();
        if let Some(named) = &record.unit.clone() {
            self.places.iter().try_for_each(refuse_used_place)?;
            match Started::start(named, self, &mut record) {
                Ok(started) => unit = started,
                Err(error) if self.goes_without(&error) => {
                    log::warn(format_args!("the container gets no cgroup of its own: {error}"));
                    record.places.clear();
                    record.unit = None;
                }
                Err(error) => return Err(error),
            }
        }
        let mut dirs = Vec::with_capacity(record.places.len());
        for place in std::mem::take(&mut record.places) {
            match self.make(&place, &mut made) {
                Ok(dir) => {
                    dirs.push(dir);
                    record.places.push(place);
                }
                Err(error) if self.permission == Permission::NotNeeded && is_permission(&error) => {
                    self.can_do_without(&place, error)?;
                }
                Err(error) => return Err(error),
            }
        }
        made.keep();
        Ok(Group::new(record, dirs, self.permission, unit.keep()))
    }

    fn make(&self, place: &Place, made: &mut Made) -> Result<Dir> {
        let root = Dir::mountpoint(&place.mountpoint)?;
        // As engines leave it: what is above the group exists, and hands everything down.
        let parent = match self.mode {
            Mode::V2 => subtree::open_parent(&root, place, &self.offered),
            Mode::V1 | Mode::Hybrid => None,
        };
        let to_enable = self.mode == Mode::V2 && parent.is_none();
        let (mut dir, path) = parent.unwrap_or((root, &place.path));
        let mut existed = false;
        let mut offered = None;
        let mut parts = path.components().peekable();
        while let Some(part) = parts.next() {
            let Component::Normal(name) = part else { continue };
            if to_enable {
                offered = Some(subtree::enable(&dir, self, offered)?);
            }
            let (child, fresh) = make_below(&dir, Path::new(name)).context(POINTER)?;
            existed = !fresh;
            if place.controllers.iter().any(|name| name == "cpuset") {
                let inherited = cpuset::inherit(&dir, &child);
                inherited.inspect_err(|_| unmake_if(fresh, &dir, name.as_ref())).context(POINTER)?;
            }
            if fresh {
                made.push(dir, name.as_ref());
                if parts.peek().is_some() && place.controllers.iter().any(|name| name == "cpu") {
                    realtime::provide(&child, self)?;
                }
            }
            dir = child;
        }
        if existed && self.unit.is_none() {
            refuse_used(&dir)?;
        }
        if self.mode == Mode::V2 {
            subtree::settle_type(&dir, self)?;
        }
        Ok(dir)
    }

    /// A user without a systemd of their own may still run what asks for no limit and no place.
    fn goes_without(&self, error: &Error) -> bool {
        let absent = matches!(error.errno(), Some(Errno::ENOENT | Errno::ECONNREFUSED));
        self.permission == Permission::NotNeeded
            && self.writes.is_empty()
            && (absent || error.kind() == Kind::Unsupported)
    }

    /// Without permission in one hierarchy, a container that asks nothing of it may go without.
    fn can_do_without(&self, place: &Place, error: Error) -> Result<()> {
        if self.mode == Mode::V2 && self.writes.is_empty() {
            return Ok(());
        }
        if self.mode == Mode::V2 {
            let why = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";
            return Err(error.context(why));
        }
        match self.writes.iter().find(|write| place.controllers.contains(&write.controller)) {
            None => Ok(()),
            Some(write) => {
                let what = format!(
                    "{}: cannot set {} limit: container could not join or create cgroup",
                    write.pointer, write.controller
                );
                Err(error.context(what))
            }
        }
    }
}

/// The group `name`, made or found; true when made.
fn make_below(dir: &Dir, name: &Path) -> Result<(Dir, bool)> {
    let path = || dir.path.join(name);
    // Twice: a finished container may take an empty parent away between the two calls.
    for _ in 0..3 {
        let fresh = dir.make(name).map_err(|errno| not_made(errno, &path()))?;
        match dir.below(name) {
            Err(Errno::ENOENT) => {}
            other => {
                // Nobody has been told of it yet who could remove it.
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

fn unmake_if(fresh: bool, dir: &Dir, name: &Path) {
    if fresh {
        let _ = dir.unmake(name);
    }
}

fn not_made(errno: Errno, path: &Path) -> Error {
    let mut error = Error::from(errno);
    // What the kernel means by "try again".
    if errno == Errno::EAGAIN {
        error = error.with_hint("see cgroup.max.descendants and cgroup.max.depth of the groups above");
    }
    error.context(format!("make control group {}", path.display()))
}

/// Before a unit of that name is started: afterwards there is always a process.
fn refuse_used_place(place: &Place) -> Result<()> {
    match Dir::mountpoint(&place.mountpoint)?.below(&place.path) {
        Ok(dir) => refuse_used(&dir),
        Err(_) => Ok(()),
    }
}

fn refuse_used(dir: &Dir) -> Result<()> {
    let refused = |what: std::borrow::Cow<'static, str>, file: &str| {
        let file = dir.path.join(file);
        let hint = format!("see {}; is another container using this cgroupsPath?", file.display());
        Err(Error::new(Kind::State, what)
            .with_hint(hint)
            .context(dir.path.display().to_string())
            .context(POINTER))
    };
    let pids = super::procs::all(dir)?;
    if !pids.is_empty() {
        return refused(matched::cgroup_not_empty(pids.len()).into(), "cgroup.procs");
    }
    if freeze::is_frozen(dir)? {
        return refused(matched::CGROUP_FROZEN.into(), freeze::shown_by(dir));
    }
    Ok(())
}

/// The errors of not being allowed to.
pub(super) fn is_permission(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::EPERM | Errno::EACCES | Errno::EROFS))
}

/// A unit that was started; dropped without `keep`, it is stopped again.
#[derive(Default)]
struct Started {
    unit: Option<Unit>,
    placeholder: Option<Placeholder>,
}

impl Started {
    fn start(unit: &Unit, plan: &Plan, record: &mut Record) -> Result<Self> {
        let placeholder = scope::start(unit, plan, record)?;
        Ok(Self { unit: Some(unit.clone()), placeholder })
    }

    fn keep(mut self) -> Option<Placeholder> {
        self.unit = None;
        self.placeholder.take()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        drop(self.placeholder.take());
        if let Some(unit) = &self.unit {
            scope::stop(unit);
        }
    }
}

/// Directories made so far; dropped without `keep`, they are removed.
#[derive(Default)]
struct Made(Vec<(Dir, std::path::PathBuf)>);

impl Made {
    fn push(&mut self, parent: Dir, name: &Path) {
        self.0.push((parent, name.to_owned()));
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for (parent, name) in self.0.iter().rev() {
            let _ = parent.unmake(name);
        }
    }
}
