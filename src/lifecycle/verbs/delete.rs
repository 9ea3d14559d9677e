//! `delete`: everything that the record names is removed; repeating it is harmless.

use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, poll};

use crate::container::{Entry, Status};
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result, matched};
use crate::lifecycle::load::{self, LoadedContainer};
use crate::lifecycle::options::{Delete, Globals, Targets};
use crate::lifecycle::{cleanup, id_pattern};
use crate::sys::process::pidfd_send_signal;

/// How long a killed process may take to end, in milliseconds.
const DEADLINE: u16 = 10_000;

pub(crate) fn delete(globals: &Globals, targets: &Targets, options: &Delete) -> Result<()> {
    match targets {
        Targets::One(id) => delete_container(globals, id, options.force),
        Targets::Matching(pattern) => {
            id_pattern::for_each_match(globals, pattern, |id| delete_container(globals, id, options.force))
        }
    }
}

fn delete_container(globals: &Globals, id: &ContainerId, force: bool) -> Result<()> {
    let entry = load::entry(globals, id);
    let _lock = match entry.lock() {
        Err(error) if error.kind() == Kind::NotFound && force => return Ok(()),
        other => other?,
    };
    let container = match load::from_entry(entry.clone()) {
        Ok(container) => container,
        Err(error) => return unreadable(&entry, error, force),
    };
    match container.status {
        Status::Stopped => {}
        Status::Created => end(&container)?,
        _ if force => end(&container)?,
        other => {
            return Err(Error::new(Kind::State, matched::not_stopped(id, other.word())));
        }
    }
    cleanup::remove_container(&container.entry, &container.record)
}

/// A directory without a readable record: what is left of a creation that was killed. Its id is freed all the same.
fn unreadable(entry: &Entry, error: Error, force: bool) -> Result<()> {
    let absent = error.kind() == Kind::NotFound;
    if absent || force {
        entry.remove()?;
    }
    if force { Ok(()) } else { Err(error) }
}

/// Kills the first process and waits for its end.
fn end(container: &LoadedContainer) -> Result<()> {
    let Ok(pidfd) = container.pidfd() else { return Ok(()) };
    let _ = pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
    if container.status == Status::Paused {
        container.group()?.thaw()?;
    }
    let mut waiting = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    match poll(&mut waiting, DEADLINE) {
        Ok(1) => Ok(()),
        _ => Err(Error::new(Kind::State, matched::INIT_STILL_RUNNING)),
    }
}
