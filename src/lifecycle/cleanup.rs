//! Removes what a container has on the host: after its end, or where its creation fails.

use std::path::Path;

use super::load;
use crate::cgroup::Group;
use crate::container::{Entry, Record};
use crate::error::Result;
use crate::init::hook_state::HookState;
use crate::launch::{Child, rdt};
use crate::{log, spec};

/// Takes back a creation that fails, as far as it has come.
///
/// It goes on with the step step of the life (runtime-spec, runtime.md, "Lifecycle"): hooks that ran before may have
/// created what those of poststop undo. What fails here is no more than a warning: the creation's own error is the one
/// to tell.
pub(super) fn undo_creation(entry: &Entry, record: &Record, group: Option<&Group>, child: Option<&Child>) {
    if let Some(child) = child {
        child.kill();
    }
    let mut results = Vec::new();
    if let Some(group) = group {
        results.push(group.kill_all(libc::SIGKILL));
        results.push(group.undo());
        results.push(record.rdt.as_ref().map_or(Ok(()), rdt::remove));
    }
    // As long as something is left, so is the record, by which `delete --force` can remove it.
    if results.iter().all(Result::is_ok) {
        results.push(entry.remove());
    }
    results.push(run_poststop_hooks(record, Some(&record.bundle)));
    for error in results.into_iter().filter_map(Result::err) {
        log::warn(format_args!("{error}"));
    }
}

/// Removes processes, cgroup, directory, and runs poststop hooks: the order is runc's. What is interrupted can be done
/// again, but for the hooks: they are named in the directory.
pub(super) fn remove_container(entry: &Entry, record: &Record) -> Result<()> {
    if let Some(group) = record.cgroup.as_ref().map(Group::from_record) {
        // Its own pid namespace ends with its first process; any other processes are still there.
        if !record.own_pid_namespace || record.init.is_none() {
            group.kill_all(libc::SIGKILL)?;
        }
        group.remove()?;
    }
    record.rdt.as_ref().map_or(Ok(()), rdt::remove)?;
    entry.remove()?;
    run_poststop_hooks(record, None)
}

/// Runs the poststop hooks. A failure is a warning, and the others still run (runtime-spec, runtime.md, "Lifecycle"):
/// there is nothing left that could fail.
pub(super) fn run_poststop_hooks(record: &Record, dir: Option<&Path>) -> Result<()> {
    let state = HookState::new(spec::VERSION, &record.id, &record.bundle, &record.annotations);
    load::run_each_hook("poststop", &record.poststop, &state.document("stopped", 0), record, dir)
}
