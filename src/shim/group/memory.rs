//! Tells when the kernel kills for lack of memory, by a descriptor that epoll watches: no thread, and no instance of inotify,
//! of which a user has 128.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::error::{Context, Result};

pub(crate) struct MemoryEvents {
    source: Source,
    seen: u64,
}

enum Source {
    /// v1 counts how often the limit was hit with nothing left to reclaim. The file must stay open.
    Event(EventFd, #[allow(dead_code)] File, PathBuf),
    /// v2: the kernel wakes who polls the file for POLLPRI when it changes.
    File(File),
}

/// What has happened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    Nothing,
    Killed,
    /// The group is gone: the descriptor is to be closed.
    Removed,
}

impl AsFd for MemoryEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::Event(event, ..) => event.as_fd(),
            Source::File(file) => file.as_fd(),
        }
    }
}

impl MemoryEvents {
    pub(super) fn open(dir: &Path, unified: bool) -> Result<Self> {
        let source = if unified { Self::open_file(dir) } else { Self::open_event(dir) };
        let source = source.with_context(|| format!("watching for lack of memory in {}", dir.display()))?;
        let mut events = Self { source, seen: 0 };
        events.seen = events.kills().unwrap_or(0);
        Ok(events)
    }

    fn open_file(dir: &Path) -> std::io::Result<Source> {
        File::open(dir.join("memory.events")).map(Source::File)
    }

    fn open_event(dir: &Path) -> std::io::Result<Source> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let control = File::open(dir.join("memory.oom_control"))?;
        let line = format!("{} {}", event.as_fd().as_raw_fd(), control.as_raw_fd());
        fs::write(dir.join("cgroup.event_control"), line)?;
        Ok(Source::Event(event, control, dir.to_owned()))
    }

    /// Looks what has happened since the last call.
    pub(crate) fn read(&mut self) -> Happened {
        if let Source::Event(event, _, dir) = &self.source {
            let notified = event.read().is_ok();
            // v1 notifies of the end of the group as well.
            return match (!matches!(dir.try_exists(), Ok(false)), notified) {
                (false, _) => Happened::Removed,
                (true, true) => Happened::Killed,
                (true, false) => Happened::Nothing,
            };
        }
        match self.kills() {
            Err(_) => Happened::Removed,
            Ok(now) if now > self.seen => {
                self.seen = now;
                Happened::Killed
            }
            Ok(_) => Happened::Nothing,
        }
    }

    /// `oom_kill` of memory.events.
    fn kills(&mut self) -> std::io::Result<u64> {
        let Source::File(file) = &mut self.source else { return Ok(0) };
        let mut text = String::new();
        file.rewind()?;
        file.read_to_string(&mut text)?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(line.and_then(|number| number.trim().parse().ok()).unwrap_or(0))
    }
}
