//! `delete`: removes everything that the record of a container names. It may be repeated.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use crate::cgroup::Group;
use crate::container::{Entry, Record, Status};
use crate::container_id::ContainerId;
use crate::error::{Context, Error, Kind, Result, matched};
use crate::lifecycle::load::{self, LoadedContainer};
use crate::lifecycle::options::{Delete, Globals, Targets};
use crate::lifecycle::{cleanup, id_pattern};
use crate::log;
use crate::sys::process::pidfd_send_signal;

/// How long a killed process may take to end, in milliseconds.
const KILL_TIMEOUT: u16 = 10_000;

/// Deletes each of `targets`.
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
    let record = match entry.read() {
        Ok(record) => record,
        Err(error) => return without_record(&entry, error, force),
    };
    let container = load::from_record(entry, record)?;
    match container.status {
        Status::Stopped if force => end_the_rest(&container.record)?,
        Status::Stopped => {}
        Status::Created => end(&container)?,
        _ if force => end(&container)?,
        other => {
            return Err(Error::new(Kind::State, matched::not_stopped(id, other.word())));
        }
    }
    cleanup::remove_container(&container.entry, &container.record)
}

/// A directory without a readable record. Only where that says so itself: what hindered us from reading it says nothing
/// of the container.
fn without_record(entry: &Entry, error: Error, force: bool) -> Result<()> {
    let absent = error.kind() == Kind::NotFound;
    if !absent && error.kind() != Kind::State {
        return Err(error);
    }
    // What is left of a creation that was killed: its id is freed, force or not.
    if absent && entry.is_bare()? {
        entry.remove()?;
        return if force { Ok(()) } else { Err(error) };
    }
    if !force {
        return Err(error);
    }
    let Some(record) = entry.salvage()? else { return unknown(entry, error) };
    log::warn(format_args!("{error}: deleting what is still known of the container"));
    let container = load::from_record(entry.clone(), record)?;
    end(&container)?;
    end_the_rest(&container.record)?;
    cleanup::remove_container(&container.entry, &container.record)
}

/// Nothing tells which processes and groups are the container's.
fn unknown(entry: &Entry, error: Error) -> Result<()> {
    if entry.is_bare()? {
        return entry.remove();
    }
    Err(error.context("its processes and control groups are not known").with_hint(format!(
        "end its processes, remove its control groups, then remove {}",
        entry.path().display()
    )))
}

/// Kills the first process, if it is still there, and waits for its end.
fn end(container: &LoadedContainer) -> Result<()> {
    let Some(pidfd) = container.pidfd_if_alive()? else { return Ok(()) };
    match pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => return Err(errno).context("kill the container's process"),
    }
    if container.status == Status::Paused {
        container.group()?.thaw()?;
    }
    let mut waiting = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut waiting, KILL_TIMEOUT) {
            Ok(0) => return Err(Error::new(Kind::State, matched::INIT_STILL_RUNNING)),
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("wait for the end of the container's process"),
        }
    }
}

/// Kills what is in the group of a container whose first process has ended, or is not the one that was remembered.
fn end_the_rest(record: &Record) -> Result<()> {
    let Some(group) = record.cgroup.as_ref().map(Group::from_record) else { return Ok(()) };
    if group.procs()?.is_empty() { Ok(()) } else { group.kill_all(libc::SIGKILL) }
}
