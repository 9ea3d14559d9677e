//! Removes everything that a container has on the host: after its end, or if its creation fails.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use super::load::{self, LoadedContainer};
use crate::cgroup::Group;
use crate::container::{Entry, Record, Status};
use crate::error::{Context, Error, Kind, Result, matched};
use crate::init::hook_state::HookState;
use crate::launch::{Child, rdt};
use crate::sys::process::pidfd_send_signal;
use crate::timeline::{Phase, begin};
use crate::{log, spec};

/// How long a killed process may take to end.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often, in milliseconds, a killed process is thawed while it has not ended.
const THAW_AFTER_MS: u16 = 100;

/// Undoes a failed creation, as far as it has come.
///
/// The last step of the lifecycle follows (runtime-spec, runtime.md, "Lifecycle"): hooks may have created
/// something that the poststop hooks remove. A failure here is only a warning: the error to report is that of
/// the creation.
pub(super) fn undo_creation(entry: &Entry, record: &Record, group: Option<&Group>, child: Option<&Child>) {
    let mut results = Vec::new();
    if let Some(group) = group {
        // Before we wait for the child: a startContainer hook may have frozen it.
        results.push(group.kill_all(libc::SIGKILL));
    }
    if let Some(child) = child {
        child.kill();
    }
    if let Some(group) = group {
        results.push(group.undo());
        // The resctrl directories are made after the group: without a group there are none yet.
        results.push(record.rdt.as_ref().map_or(Ok(()), rdt::remove));
    }
    // If something could not be removed, the record is kept, so that `delete --force` can try again.
    if results.iter().all(Result::is_ok) {
        results.push(entry.remove());
    }
    results.push(run_poststop_hooks(record, Some(&record.bundle)));
    for error in results.into_iter().filter_map(Result::err) {
        log::warn(format_args!("{error}"));
    }
}

/// Removes processes, cgroup and directory, and runs poststop hooks, in runc's order. An interrupted delete
/// can be repeated, except for the poststop hooks: their list is removed with the directory. They run in
/// `dir`, or in our working directory if there is none.
pub(super) fn remove_container(entry: &Entry, record: &Record, dir: Option<&Path>) -> Result<()> {
    begin(Phase::RemoveCgroup);
    if let Some(group) = record.cgroup.as_ref().map(Group::from_record) {
        if may_be_left(record) {
            group.kill_all(libc::SIGKILL)?;
        }
        group.remove()?;
    }
    record.rdt.as_ref().map_or(Ok(()), rdt::remove)?;
    begin(Phase::RemoveRecord);
    entry.remove()?;
    begin(Phase::Finish);
    run_poststop_hooks(record, dir)
}

/// Ends a container and removes it.
pub(super) fn kill_and_remove(container: &LoadedContainer) -> Result<()> {
    begin(Phase::Kill);
    kill_init(container)?;
    if container.status == Status::Stopped {
        kill_remaining(&container.record)?;
    }
    remove_container(&container.entry, &container.record, None)
}

/// Kills the first process, if it is still alive, and waits for its end.
fn kill_init(container: &LoadedContainer) -> Result<()> {
    let Some(pidfd) = container.pidfd_if_alive()? else { return Ok(()) };
    match pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => return Err(errno).context("kill the container's process"),
    }
    let group = container.record.cgroup.as_ref().map(Group::from_record);
    let let_die = || group.as_ref().map_or(Ok(()), Group::let_die);
    if container.status == Status::Paused {
        let_die()?;
    }
    wait_for_end(pidfd.as_fd(), let_die)
}

/// Waits until a killed process has ended. Meanwhile it is thawed repeatedly: another process of the
/// container may have frozen it, in a v1 group that the container made itself.
fn wait_for_end(pidfd: BorrowedFd<'_>, let_die: impl Fn() -> Result<()>) -> Result<()> {
    let mut waiting = [PollFd::new(pidfd, PollFlags::POLLIN)];
    let begin = Instant::now();
    let mut thawed = Ok(());
    loop {
        match poll(&mut waiting, THAW_AFTER_MS) {
            Ok(0) if begin.elapsed() >= TIMEOUT => {
                return thawed.and_then(|_| Err(Error::new(Kind::State, matched::INIT_STILL_RUNNING)));
            }
            Ok(0) => thawed = let_die(),
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("wait for the end of the container's process"),
        }
    }
}

/// Whether processes of a container may be left when its first one has ended. Its own pid namespace ends with that one:
/// what is in its group then is another container's, which has the same `cgroupsPath`.
pub(super) fn may_be_left(record: &Record) -> bool {
    !record.own_pid_namespace || record.init.is_none()
}

/// Kills the processes in the group of a container whose first process has ended, or is not the recorded one.
fn kill_remaining(record: &Record) -> Result<()> {
    let Some(group) = record.cgroup.as_ref().filter(|_| may_be_left(record)).map(Group::from_record) else {
        return Ok(());
    };
    if group.procs()?.is_empty() { Ok(()) } else { group.kill_all(libc::SIGKILL) }
}

/// Removes the container like `remove_container`, for the command that stood for the container from its
/// start. All poststop hooks run in the bundle.
pub(super) fn remove_attached_container(entry: &Entry, record: &Record) -> Result<()> {
    let _lock = entry.lock()?;
    // Somebody has deleted it before us: another container may have the id by now.
    if entry.is_gone()? {
        return Ok(());
    }
    remove_container(entry, record, Some(&record.bundle).filter(|path| path.is_dir()).map(|path| &**path))
}

/// Runs the poststop hooks. A failure is a warning, and the others still run (runtime-spec, runtime.md,
/// "Lifecycle"): no later step could depend on them.
pub(super) fn run_poststop_hooks(record: &Record, dir: Option<&Path>) -> Result<()> {
    let state = HookState::new(spec::VERSION, &record.id, &record.bundle, &record.annotations);
    load::run_each_hook("poststop", &record.poststop, &state.to_json("stopped", 0), record, dir)
}
