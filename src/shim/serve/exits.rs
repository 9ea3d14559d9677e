//! Processes that end. Each exit is told once: after the process was told to have started, after what it has written is
//! out, and that of a container's first process after all others.

use std::time::{Duration, Instant};

use prost::Message;

use super::job::Work;
use super::shim::Shim;
use crate::shim::process::Exit;
use crate::shim::process::state::State;
use crate::shim::wire::events::TaskExit;
use crate::shim::wire::rpc::{Code, Failure};
use crate::shim::wire::task::WaitResponse;
use crate::shim::wire::types::Timestamp;
use crate::sys::signal;

/// How long a stream that nobody reads, or a process that does not end, may hold the news of an exit.
const LONGEST: Duration = Duration::from_secs(10);

impl Shim {
    /// Collects every process that has ended.
    pub(super) fn reap(&mut self) {
        while let Ok(Some((pid, status))) = signal::wait(-1, false) {
            if let Some(job) = self.jobs.remove(&pid) {
                self.job_ended(job, status);
            } else if self.publisher.process_ended(pid, status) {
                self.publish_turn();
            } else if !self.logger_ended(pid) {
                self.process_ended(pid, Exit { status, at: Timestamp::now() });
            }
        }
        if !self.makes_processes() {
            self.early.clear();
        }
    }

    /// A process of a container, one of which the runtime has not told yet, or a stranger: a grandchild without a parent.
    fn process_ended(&mut self, pid: i32, exit: Exit) {
        let owner = self.containers.iter().find_map(|(id, container)| {
            let mut processes = container.processes();
            processes
                .find(|(_, process)| process.pid == pid && process.lives())
                .map(|(exec, _)| (id.clone(), exec.to_owned()))
        });
        match owner {
            Some((id, exec)) => self.exited(&id, &exec, exit),
            None if self.makes_processes() => self.early.push((pid, exit)),
            None => {}
        }
    }

    /// Looks whether a process has ended before its pid was known.
    pub(super) fn take_early(&mut self, id: &str, exec: &str, pid: i32) {
        if let Some(at) = self.early.iter().position(|(early, _)| *early == pid) {
            let (_, exit) = self.early.remove(at);
            self.exited(id, exec, exit);
        }
    }

    fn exited(&mut self, id: &str, exec: &str, exit: Exit) {
        let Ok(container) = self.container_mut(id) else { return };
        let first = exec.is_empty();
        let kill_rest = first && !container.ends_together && !container.rest_killed;
        container.rest_killed |= first;
        let Ok(process) = container.process_mut(exec) else { return };
        process.exit = Some(exit);
        process.peer = None;
        process.told_by = Some(Instant::now() + LONGEST);
        let numbers: Vec<u32> = process.outputs.clone();
        if kill_rest {
            self.kill_rest(id);
        }
        for number in numbers {
            self.copy_turn(number);
        }
        self.settle(id);
    }

    /// Without a pid namespace of its own, a container's other processes live on when the first one ends.
    fn kill_rest(&mut self, id: &str) {
        let Ok(container) = self.container(id) else { return };
        let log = container.bundle.join(".kill.log");
        let call = container.runtime.call(&log, ["kill", "--all", id, "9"]);
        let started = call
            .map_err(Failure::from)
            .and_then(|call| self.start_job(id, Work::KillRest, None, &call, vec![log]));
        if let Err(failure) = started {
            crate::log::plain(format_args!("killing the rest of {id}: {}", failure.message));
        }
    }

    /// The earliest time at which something has waited long enough.
    pub(super) fn exits_deadline(&self) -> Option<Instant> {
        let processes = self.containers.values().flat_map(|container| container.processes());
        processes
            .flat_map(|(_, process)| [process.told_by, process.deleting.map(|(_, until)| until)])
            .flatten()
            .min()
    }

    pub(super) fn settle_all(&mut self) {
        for id in self.containers.keys().cloned().collect::<Vec<_>>() {
            self.settle(&id);
        }
    }

    /// Tells of exits that can be told now, and deletes what can be deleted now.
    pub(super) fn settle(&mut self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        let added: Vec<String> = container.added.keys().cloned().collect();
        for exec in added {
            self.settle_process(id, &exec);
        }
        self.settle_process(id, "");
    }

    fn settle_process(&mut self, id: &str, exec: &str) {
        if self.can_be_told(id, exec) {
            self.tell_exit(id, exec);
        }
        self.delete_when_done(id, exec);
    }

    fn can_be_told(&self, id: &str, exec: &str) -> bool {
        let Some(container) = self.containers.get(id) else { return false };
        let Ok(process) = container.process(exec) else { return false };
        let Some(until) = process.told_by else { return false };
        // Its start has not been told.
        if process.state == State::Starting {
            return false;
        }
        if until <= Instant::now() {
            return true;
        }
        let others = exec.is_empty()
            && (container
                .added
                .values()
                .any(|added| added.lives() || added.told_by.is_some() || added.state == State::Starting)
                || self.kills_rest(id));
        !others && self.is_drained(&process.outputs)
    }

    fn kills_rest(&self, id: &str) -> bool {
        self.jobs.values().any(|job| job.container == id && matches!(job.work, Work::KillRest))
    }

    fn tell_exit(&mut self, id: &str, exec: &str) {
        let Ok(process) = self.container_mut(id).and_then(|container| container.process_mut(exec)) else {
            return;
        };
        let Some(exit) = process.exit else { return };
        // What killed it comes first.
        if exec.is_empty() {
            self.last_memory_event(id);
        }
        let Ok(process) = self.container_mut(id).and_then(|container| container.process_mut(exec)) else {
            return;
        };
        process.state = State::Stopped;
        process.told_by = None;
        let waiters = std::mem::take(&mut process.waiters);
        let pid = process.pid as u32;
        let response =
            WaitResponse { exit_status: exit.status as u32, exited_at: Some(exit.at) }.encode_to_vec();
        for waiter in waiters {
            self.answer(waiter, Ok(response.clone()));
        }
        let name = if exec.is_empty() { id } else { exec };
        self.publish(&TaskExit {
            container_id: id.to_owned(),
            id: name.to_owned(),
            pid,
            exit_status: exit.status as u32,
            exited_at: Some(exit.at),
        });
        if exec.is_empty() && self.is_sandbox(id) {
            self.delete_sandbox();
        }
    }

    /// An added process that the runtime could not start: who waits for it hears that it has ended, without an event.
    pub(super) fn exec_failed(&mut self, id: &str, exec: &str) {
        let Ok(process) = self.container_mut(id).and_then(|container| container.process_mut(exec)) else {
            return;
        };
        process.state = State::Stopped;
        process.exit = Some(Exit { status: 0, at: Timestamp::now() });
        for waiter in std::mem::take(&mut process.waiters) {
            self.answer(waiter, Err(Failure::new(Code::Unknown, "the process was not started")));
        }
    }
}
