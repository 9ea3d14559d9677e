//! Stats and Pids, from the container's control group; and the event of its lack of memory.

use prost::Message;

use super::dispatch::Outcome;
use super::poller::Token;
use super::shim::{Shim, Watched};
use crate::shim::group::{Happened, Hierarchies};
use crate::shim::process::container::Container;
use crate::shim::wire::events::TaskOom;
use crate::shim::wire::options::ProcessDetails;
use crate::shim::wire::rpc::{Code, Failure};
use crate::shim::wire::task::{PidsRequest, PidsResponse, ProcessInfo, StatsRequest, StatsResponse};
use crate::shim::wire::types::Any;

impl Shim {
    pub(super) fn stats(&self, payload: &[u8]) -> Outcome {
        let request = StatsRequest::decode(payload)?;
        self.created(&request.id)?;
        let group = self.container(&request.id)?.group.as_ref().ok_or_else(no_group)?;
        Ok(Some(StatsResponse { stats: Some(group.metrics()?) }.encode_to_vec()))
    }

    pub(super) fn pids(&self, payload: &[u8]) -> Outcome {
        let request = PidsRequest::decode(payload)?;
        self.created(&request.id)?;
        let container = self.container(&request.id)?;
        let group = container.group.as_ref().ok_or_else(no_group)?;
        let processes = group.processes()?.into_iter().map(|pid| process_info(container, pid)).collect();
        Ok(Some(PidsResponse { processes }.encode_to_vec()))
    }

    /// Looks where a new container is. Without that it works, and has no figures.
    pub(super) fn find_group(&mut self, id: &str, pid: i32) {
        if self.hierarchies.is_none() {
            self.hierarchies = Hierarchies::read().ok();
        }
        let Some(Ok(group)) = self.hierarchies.as_ref().map(|found| found.of_process(pid)) else { return };
        let events = group.memory_events();
        if let Ok(container) = self.container_mut(id) {
            container.group = Some(group);
        }
        match events {
            Ok(Some(events)) => {
                let number = self.number();
                if self.poller.watch_priority(&events, Token::Memory(number)).is_ok() {
                    self.memory.insert(number, Watched { events, container: id.to_owned() });
                }
            }
            Ok(None) => {}
            Err(error) => crate::log::plain(format_args!("{error}")),
        }
    }

    /// The limit of memory was hit, or the group has gone.
    pub(super) fn memory_event(&mut self, number: u32) {
        let Some(watched) = self.memory.get_mut(&number) else { return };
        match watched.events.read() {
            Happened::Nothing => {}
            Happened::Killed => {
                let container_id = watched.container.clone();
                self.publish(&TaskOom { container_id });
            }
            Happened::Removed => drop(self.memory.remove(&number)),
        }
    }

    /// Looks for the last time, before the end of a container's first process is told: what killed it comes first.
    pub(super) fn last_memory_event(&mut self, id: &str) {
        let found =
            self.memory.iter().find(|(_, watched)| watched.container == id).map(|(&number, _)| number);
        if let Some(number) = found {
            self.memory_event(number);
        }
    }
}

fn no_group() -> Failure {
    Failure::new(Code::NotFound, "cgroup does not exist: not found")
}

/// A process that was added is told with its exec id.
fn process_info(container: &Container, pid: i32) -> ProcessInfo {
    let added = container.added.iter().find(|(_, process)| process.pid == pid && process.lives());
    let info = added.map(|(exec, _)| {
        Any::wrap("containerd.runc.v1.ProcessDetails", &ProcessDetails { exec_id: exec.clone() })
    });
    ProcessInfo { pid: pid as u32, info }
}
