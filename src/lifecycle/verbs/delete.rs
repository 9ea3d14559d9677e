//! `delete`: everything that the record names is removed; repeating it is harmless.

use std::os::fd::AsFd;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, poll};

use crate::container::{Entry, Record, Status};
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result, matched};
use crate::init::hook_state::HookState;
use crate::launch::rdt;
use crate::lifecycle::id_pattern;
use crate::lifecycle::load::{self, Known};
use crate::lifecycle::options::{Delete, Globals, Targets};
use crate::spec;
use crate::sys::process::pidfd_send_signal;

/// How long a killed process may take to be gone, in milliseconds.
const DEADLINE: u16 = 10_000;

pub fn delete(globals: &Globals, targets: &Targets, options: &Delete) -> Result<()> {
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
    let known = match load::of_entry(entry.clone()) {
        Ok(known) => known,
        Err(error) => return unreadable(&entry, error, force),
    };
    match known.status {
        Status::Stopped => {}
        Status::Created => end(&known)?,
        _ if force => end(&known)?,
        other => {
            return Err(Error::new(Kind::State, matched::not_stopped(id, other.word())));
        }
    }
    remove(&known.entry, &known.record)
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
fn end(known: &Known) -> Result<()> {
    let Ok(pidfd) = known.pidfd() else { return Ok(()) };
    let _ = pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
    if known.status == Status::Paused {
        known.group()?.thaw()?;
    }
    let mut waiting = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    match poll(&mut waiting, DEADLINE) {
        Ok(1) => Ok(()),
        _ => Err(Error::new(Kind::State, matched::INIT_STILL_RUNNING)),
    }
}

/// Processes, group, directory, poststop hooks: the order is runc's. What is interrupted can be done again, but for the
/// hooks: they are named in the directory.
pub fn remove(entry: &Entry, record: &Record) -> Result<()> {
    if let Some(group) = record.cgroup.as_ref().map(crate::cgroup::Group::from_record) {
        // Its own pid namespace ends with its first process; any other processes are still there.
        if !record.own_pid_namespace || record.init.is_none() {
            group.kill_all(libc::SIGKILL)?;
        }
        group.remove()?;
    }
    record.rdt.as_ref().map_or(Ok(()), rdt::remove)?;
    entry.remove()?;
    poststop(record, None)
}

/// Of these, a failure is a warning, and the others run (runtime-spec, runtime.md, "Lifecycle"): there is nothing left
/// that could fail.
pub(super) fn poststop(record: &Record, dir: Option<&Path>) -> Result<()> {
    let state = HookState::new(spec::VERSION, &record.id, &record.bundle, &record.annotations);
    load::run_each_hook("poststop", &record.poststop, &state.document("stopped", 0), record, dir)
}
