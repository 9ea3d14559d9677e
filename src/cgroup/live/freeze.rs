//! Freezes every process of a group, and thaws them.

use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::group::Group;
use super::walk::{Visit, walk};
use crate::cgroup::dir::CgroupDir;
use crate::cgroup::plan::Location;
use crate::error::{Context, Error, Kind, Result};
use crate::fail;

/// How long a group may take to freeze.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

impl Group {
    pub fn freeze(&self) -> Result<()> {
        self.freeze_within(DEADLINE)
    }

    /// Freezes the group. If that takes longer than `deadline`, thaws it again.
    pub fn freeze_within(&self, timeout: Duration) -> Result<()> {
        let dir = self.freezer()?;
        let end = Instant::now() + timeout;
        let frozen = if dir.is_v2() { freeze_v2(dir, end) } else { freeze_v1(dir, end) };
        // A program that waits for a half frozen group would hang.
        frozen.inspect_err(|_| drop(thaw(dir)))
    }

    /// Thaws the group. Groups below that were frozen on their own stay frozen.
    pub fn thaw(&self) -> Result<()> {
        thaw(self.freezer()?)
    }

    /// Thaws what keeps killed processes from dying: the group and the groups below it, where a container may
    /// have frozen itself. On v2 frozen processes die.
    pub fn let_die(&self) -> Result<()> {
        if self.record().location_of("freezer").is_some() { self.thaw_all() } else { Ok(()) }
    }

    /// Thaws the group and the groups below it.
    pub(super) fn thaw_all(&self) -> Result<()> {
        match self.freezer_location().map(|location| self.dir_if_there(location)).transpose()?.flatten() {
            Some(dir) => thaw_tree(dir),
            None => Ok(()),
        }
    }

    /// Whether the group itself was frozen, and not a group above it. False if it is gone.
    pub fn is_frozen(&self) -> Result<bool> {
        self.is_frozen_in(&mut HierarchyRoots::default())
    }

    /// Like [`is_frozen`](Self::is_frozen), for a caller that asks about many groups: the file is opened from
    /// the hierarchy's root, without opening the group.
    pub fn is_frozen_in(&self, hierarchies: &mut HierarchyRoots) -> Result<bool> {
        let Some(location) = self.freezer_location().map(|location| &self.record().locations[location])
        else {
            return Ok(false);
        };
        let file = if location.is_unified() { FREEZE_FILE_V2 } else { FREEZE_FILE_V1 };
        let text = hierarchies.root_of(location)?.read_in_child(&location.path, file);
        frozen(text, &location.directory(), file)
    }

    /// Returns v1's freezer, otherwise the v2 tree, which freezes without a controller.
    fn freezer_location(&self) -> Option<usize> {
        self.record().location_of("freezer").or_else(|| self.unified())
    }

    fn freezer(&self) -> Result<&CgroupDir> {
        let missing =
            || fail!(Kind::Unsupported, "the container has no freezer: this host has no freezer controller");
        self.dir(self.freezer_location().ok_or_else(missing)?)
    }
}

/// The roots of hierarchies. Each is opened when it is first needed.
#[derive(Debug, Default)]
pub struct HierarchyRoots(Vec<CgroupDir>);

impl HierarchyRoots {
    fn root_of(&mut self, location: &Location) -> Result<&CgroupDir> {
        let known = self.0.iter().position(|dir| dir.path == location.mountpoint);
        let index = match known {
            Some(index) => index,
            None => {
                self.0.push(CgroupDir::open_root(&location.mountpoint)?);
                self.0.len() - 1
            }
        };
        Ok(&self.0[index])
    }
}

const FREEZE_FILE_V2: &str = "cgroup.freeze";
const FREEZE_FILE_V1: &str = "freezer.self_freezing";

/// Returns the file that shows whether a group is frozen.
pub(crate) fn state_file(dir: &CgroupDir) -> &'static str {
    if dir.is_v2() { FREEZE_FILE_V2 } else { FREEZE_FILE_V1 }
}

pub(crate) fn is_frozen(dir: &CgroupDir) -> Result<bool> {
    let file = state_file(dir);
    frozen(dir.read(file), &dir.path, file)
}

fn frozen(told: Result<String, Errno>, directory: &Path, file: &str) -> Result<bool> {
    match told {
        Ok(text) => Ok(text.trim() == "1"),
        // ENOENT/ENODEV: no freezer here, a kernel before 5.2, or the group is gone.
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(false),
        Err(errno) => Err(errno).with_context(|| format!("read {}", directory.join(file).display())),
    }
}

fn thaw(dir: &CgroupDir) -> Result<()> {
    if dir.is_v2() {
        dir.write_with_context("cgroup.freeze", "0")
    } else {
        dir.write_with_context("freezer.state", "THAWED")
    }
}

fn thaw_tree(dir: &CgroupDir) -> Result<()> {
    let thawed = walk::<()>(dir, |visit| {
        let Visit::Enter(group) = visit else { return Ok(ControlFlow::Continue(())) };
        match thaw(group) {
            Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::ENODEV)) => {}
            other => other?,
        }
        Ok(ControlFlow::Continue(()))
    });
    thawed.map(drop)
}

/// Freezes the group. The kernel reports the end of freezing by an event on cgroup.events.
fn freeze_v2(dir: &CgroupDir, end: Instant) -> Result<()> {
    dir.write_with_context("cgroup.freeze", "1")?;
    let events = dir.open_file("cgroup.events", OFlag::O_RDONLY);
    let events = events.with_context(|| format!("open {}/cgroup.events", dir.path.display()))?;
    loop {
        // The text is read through the polled descriptor: the event means "changed since you read".
        let mut text = [0; 256];
        let length = nix::sys::uio::pread(&events, &mut text, 0);
        let length = length.with_context(|| format!("read {}/cgroup.events", dir.path.display()))?;
        if text[..length].windows(8).any(|window| window == b"frozen 1") {
            return Ok(());
        }
        wait(&events, left(end).ok_or_else(|| too_slow(dir))?)?;
    }
}

/// Waits until the kernel reports that a control file has changed.
pub(crate) fn wait(file: &impl AsFd, time: Duration) -> Result<()> {
    let time = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLPRI)], time) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno).context("wait for a control group event"),
    }
}

/// Freezes a v1 group. The state is FREEZING until the last process has stopped. A process that forks at the
/// wrong moment can keep it so; then a thaw in between helps.
fn freeze_v1(dir: &CgroupDir, end: Instant) -> Result<()> {
    loop {
        let mut pause = Duration::from_micros(20);
        dir.write_with_context("freezer.state", "FROZEN")?;
        while pause < Duration::from_millis(200) {
            if dir.read_with_context("freezer.state")?.trim() == "FROZEN" {
                return Ok(());
            }
            std::thread::sleep(pause.min(left(end).ok_or_else(|| too_slow(dir))?));
            pause *= 2;
        }
        dir.write_with_context("freezer.state", "THAWED")?;
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn left(end: Instant) -> Option<Duration> {
    end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

fn too_slow(dir: &CgroupDir) -> Error {
    fail!(Kind::State, "freeze {}: some process did not stop in time", dir.path.display())
        .with_hint("a process in an uninterruptible wait (state D) cannot be frozen; it was thawed again")
}
