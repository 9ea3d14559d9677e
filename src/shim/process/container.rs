//! A container, with its first process and those that were added.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use super::state::State;
use super::{Process, Reply};
use crate::shim::group::ContainerGroup;
use crate::shim::runtime::command::Runtime;
use crate::shim::wire::rpc::{Code, Failure};
use crate::shim::wire::types::Mount;

/// A request that waits until the runtime has done the one before: what it needs to be handled.
pub(crate) struct Waiting {
    pub(crate) reply: Reply,
    pub(crate) method: String,
    pub(crate) payload: Vec<u8>,
}

pub(crate) struct Container {
    pub(crate) bundle: PathBuf,
    pub(crate) runtime: Runtime,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) first: Process,
    /// By their exec ids.
    pub(crate) added: BTreeMap<String, Process>,
    /// Whether a command of the runtime changes the container now. Others of its kind wait.
    pub(crate) busy: bool,
    pub(crate) waiting: VecDeque<Waiting>,
    pub(crate) checkpoint: String,
    pub(crate) group: Option<ContainerGroup>,
    /// Whether its processes end with its first one: it has a pid namespace of its own.
    pub(crate) ends_together: bool,
    /// Whether the rest was killed already, after the end of the first one.
    pub(crate) rest_killed: bool,
}

impl Container {
    /// Returns the process with this exec id; the empty one is the container's first.
    pub(crate) fn process(&self, exec: &str) -> Result<&Process, Failure> {
        if exec.is_empty() {
            return Ok(&self.first);
        }
        self.added.get(exec).ok_or_else(|| missing(exec))
    }

    pub(crate) fn process_mut(&mut self, exec: &str) -> Result<&mut Process, Failure> {
        if exec.is_empty() {
            return Ok(&mut self.first);
        }
        self.added.get_mut(exec).ok_or_else(|| missing(exec))
    }

    /// Whether none of its processes lives, and nothing is being done with it.
    pub(crate) fn has_ended(&self) -> bool {
        !self.busy && self.processes().all(|(_, process)| process.state == State::Stopped)
    }

    /// Every process with its exec id.
    pub(crate) fn processes(&self) -> impl Iterator<Item = (&str, &Process)> {
        std::iter::once(("", &self.first))
            .chain(self.added.iter().map(|(exec, process)| (exec.as_str(), process)))
    }
}

fn missing(exec: &str) -> Failure {
    Failure::new(Code::NotFound, format!("process does not exist {exec}: not found"))
}
