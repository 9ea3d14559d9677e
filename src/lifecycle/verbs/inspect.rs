//! `inspect`: shows everything that can be seen of a container from outside, for a person who looks for a
//! fault. Only tare has this verb.

pub(crate) mod ended;
pub(crate) mod mounts;
mod namespaces;
mod proc_files;
mod process;
pub(crate) mod usage;
mod waiting;

use serde::Serialize;

use self::ended::Ended;
use self::mounts::MountSeen;
use self::namespaces::NamespaceSeen;
use self::process::{ProcessSeen, Session};
use self::usage::Usage;
use super::state::{self, State};
use crate::container::Status;
use crate::container_id::ContainerId;
use crate::error::{Error, Result};
use crate::lifecycle::load::{self, LoadedContainer};
use crate::lifecycle::options::Globals;

/// The output of `inspect`. A stopped container has only the state, the cgroup's directories, `ended` and `waiting`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Inspection {
    #[serde(flatten)]
    pub state: State,
    /// Why the container does not go on: one sentence for each reason, with the command that helps.
    pub waiting: Vec<String>,
    /// How it has ended, as far as that is known.
    pub ended: Option<Ended>,
    pub namespaces: Vec<NamespaceSeen>,
    /// Directories of the cgroup, one per hierarchy.
    pub cgroup: Vec<String>,
    /// Usage and limits.
    pub usage: Vec<Usage>,
    /// The first process.
    pub process: Option<ProcessSeen>,
    /// Processes in the container that `exec` started, each the first of its session.
    pub exec_sessions: Vec<Session>,
    pub mounts: Vec<MountSeen>,
    /// What could not be read, and why.
    pub unknown: Vec<String>,
}

impl Inspection {
    fn new(state: State) -> Self {
        Self {
            state,
            waiting: Vec::new(),
            ended: None,
            namespaces: Vec::new(),
            cgroup: Vec::new(),
            usage: Vec::new(),
            process: None,
            exec_sessions: Vec::new(),
            mounts: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Returns the value, or its default with the error among `unknown`: one unreadable value must not hide
    /// the others.
    fn known<T: Default>(&mut self, what: &str, result: Result<T>) -> T {
        result.unwrap_or_else(|error: Error| {
            self.unknown.push(format!("{what}: {error}"));
            T::default()
        })
    }
}

/// Looks at a container and its first process.
///
/// # Errors
/// `Kind::NotFound` if there is no such container. Values that cannot be read are among `unknown`.
pub(crate) fn inspect(globals: &Globals, id: &ContainerId) -> Result<Inspection> {
    let container = load::container(globals, id)?;
    let mut seen = Inspection::new(state::from_container(container.clone()));
    seen.cgroup = directories(&container);
    seen.waiting = waiting::of_container(&container);
    if container.status == Status::Stopped {
        seen.ended = Some(ended::of_container(&container));
    }
    if matches!(container.status, Status::Stopped | Status::Creating) {
        return Ok(seen);
    }
    // The pidfd is opened first and checked last: everything read from /proc in between belongs to this
    // process.
    let pidfd = container.pidfd()?;
    look(&mut seen, &container, container.pid()?);
    if crate::sys::process::pidfd_send_signal(std::os::fd::AsFd::as_fd(&pidfd), 0).is_err() {
        seen.unknown.push(String::from("the first process ended meanwhile"));
    }
    Ok(seen)
}

fn directories(container: &LoadedContainer) -> Vec<String> {
    let locations = container.record.cgroup.iter().flat_map(|record| &record.locations);
    locations.map(|location| location.directory().display().to_string()).collect()
}

fn look(seen: &mut Inspection, container: &LoadedContainer, pid: i32) {
    seen.namespaces = seen.known("namespaces", namespaces::of_process(pid));
    let process = process::of_process(pid);
    seen.process = seen.known("process", process.map(Some));
    let members = container.group().and_then(|group| group.procs());
    let members = seen.known("processes", members);
    // A frozen v1 process is in an uninterruptible wait, which the status shows already.
    if container.status != Status::Paused {
        seen.waiting.extend(waiting::of_processes(&members));
    }
    seen.exec_sessions = process::exec_sessions(&members, pid);
    let stats = container.group().and_then(|group| Ok((group.stats()?, group.oom_kills())));
    let stats = seen.known("cgroup", stats.map(Some));
    seen.usage = stats.map(|(stats, oom_kills)| usage::of_stats(&stats, oom_kills)).unwrap_or_default();
    let mounts = container.entry.config().and_then(|config| mounts::of_process(pid, &config));
    seen.mounts = seen.known("mounts", mounts);
}
