//! Reports when the kernel kills for lack of memory.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::group::Group;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::host::cgroup::Mode;

/// Watches for OOM kills. Poll its descriptor for input, then call [`read_event`](Self::read_event).
#[derive(Debug)]
pub struct OomWatch<'a> {
    group: &'a Group,
    source: Source,
    seen: u64,
}

#[derive(Debug)]
enum Source {
    /// v1: counts how often the limit was hit with nothing left to reclaim. The file must stay open.
    Event(EventFd, #[allow(dead_code)] OwnedFd),
    /// v2: memory.events has changed.
    Inotify(Inotify),
}

/// What has happened since the last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomEvent {
    /// The number of kills; 0 after another change of the file.
    Kills(u64),
    /// The group is gone.
    GroupRemoved,
}

impl AsFd for OomWatch<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::Event(event, _) => event.as_fd(),
            Source::Inotify(inotify) => inotify.as_fd(),
        }
    }
}

impl Group {
    /// Starts to watch. Earlier kills do not count.
    pub fn watch_oom(&self) -> Result<OomWatch<'_>> {
        let Some(location) = self.record().location_of("memory") else {
            return Err(fail!(Kind::Unsupported, "watch for OOM kills: this host has no memory controller"));
        };
        let dir = self.dir(location)?;
        let source = if self.record().mode == Mode::V2 { inotify(dir) } else { event(dir) };
        let source = source.with_context(|| format!("watch for OOM kills in {}", dir.path.display()))?;
        Ok(OomWatch { group: self, source, seen: self.oom_kills().unwrap_or(0) })
    }
}

fn event(dir: &crate::cgroup::dir::CgroupDir) -> Result<Source, Errno> {
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let control = dir.open_file("memory.oom_control", OFlag::O_RDONLY)?;
    dir.write("cgroup.event_control", &format!("{} {}", event.as_fd().as_raw_fd(), control.as_raw_fd()))?;
    Ok(Source::Event(event, control))
}

/// Watches memory.events. inotify takes only a path, and the file's descriptor has one in /proc.
fn inotify(dir: &crate::cgroup::dir::CgroupDir) -> Result<Source, Errno> {
    let file = dir.open_file("memory.events", OFlag::O_PATH)?;
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    inotify.add_watch(path.as_str(), AddWatchFlags::IN_MODIFY)?;
    Ok(Source::Inotify(inotify))
}

impl OomWatch<'_> {
    /// Reads the next event. Call this when the descriptor is readable.
    pub fn read_event(&mut self) -> Result<OomEvent> {
        let notified = match &self.source {
            Source::Event(event, _) => event.read(),
            Source::Inotify(inotify) => inotify.read_events().map(|events| events.len() as u64),
        };
        match notified {
            Ok(_) | Err(Errno::EAGAIN) => {}
            Err(errno) => return Err(errno).context("read OOM notification"),
        }
        // v1 also notifies when the group is removed.
        if !self.group.exists()? {
            return Ok(OomEvent::GroupRemoved);
        }
        Ok(OomEvent::Kills(match self.source {
            // v1 notifies before the kill, and only once: so the notifications are counted.
            Source::Event(..) => notified.unwrap_or(0),
            Source::Inotify(_) => {
                let now = self.group.oom_kills().unwrap_or(self.seen);
                now.saturating_sub(std::mem::replace(&mut self.seen, now))
            }
        }))
    }
}
