//! Delete: of an added process, and of a container with all that belongs to it.

use std::time::{Duration, Instant};

use prost::Message;

use super::dispatch::Outcome;
use super::job::{Ended, Work};
use super::shim::Shim;
use crate::shim::process::state::{State, Verb};
use crate::shim::process::{Process, Reply};
use crate::shim::rootfs;
use crate::shim::wire::events::TaskDelete;
use crate::shim::wire::rpc::{Code, Failure};
use crate::shim::wire::task::{DeleteRequest, DeleteResponse};
use crate::shim::wire::types::Timestamp;

/// How long a grandchild that holds a stream open is waited for, as in containerd's own shim.
const LONGEST: Duration = Duration::from_secs(2);

impl Shim {
    pub(super) fn delete(&mut self, reply: Reply, payload: &[u8]) -> Outcome {
        let request = DeleteRequest::decode(payload)?;
        self.created(&request.id)?;
        let first = request.exec_id.is_empty();
        let container = self.container_mut(&request.id)?;
        let process = container.process_mut(&request.exec_id)?;
        process.state.allows(Verb::Delete)?;
        if process.deleting.is_some() {
            return Err(Failure::new(Code::FailedPrecondition, "the process is being deleted already"));
        }
        process.deleting = Some((reply, Instant::now() + LONGEST));
        container.busy |= first;
        self.delete_when_done(&request.id, &request.exec_id);
        Ok(None)
    }

    /// Goes on with a delete whose streams have ended, or have had their time.
    pub(super) fn delete_when_done(&mut self, id: &str, exec: &str) {
        let Ok(process) = self.container_mut(id).and_then(|container| container.process_mut(exec)) else {
            return;
        };
        let Some((reply, until)) = process.deleting else { return };
        if !process.outputs.is_empty() && until > Instant::now() && process.state == State::Stopped {
            return;
        }
        process.deleting = None;
        self.drop_copies(id, exec);
        self.leave_loggers(id, exec);
        if exec.is_empty() {
            self.delete_container(id, reply);
        } else {
            self.delete_added(id, exec, reply);
        }
    }

    fn delete_added(&mut self, id: &str, exec: &str, reply: Reply) {
        let Ok(container) = self.container_mut(id) else { return };
        let Some(process) = container.added.remove(exec) else { return };
        self.answer(reply, Ok(response(&process).encode_to_vec()));
    }

    fn delete_container(&mut self, id: &str, reply: Reply) {
        let Ok(container) = self.container_mut(id) else { return };
        // A container that was made and not started lives: its first process waits.
        let force = if container.first.state == State::Stopped { None } else { Some("--force") };
        container.busy = true;
        let words = ["delete"].into_iter().chain(force).chain([id]);
        let call = container.runtime.call(&container.bundle.join("log.json"), words);
        let started = call
            .map_err(Failure::from)
            .and_then(|call| self.start_job(id, Work::Delete, Some(reply), &call, Vec::new()));
        if let Err(failure) = started {
            self.answer(reply, Err(failure));
            self.release(id);
        }
    }

    pub(super) fn delete_ended(&mut self, id: &str, reply: Option<Reply>, ended: Ended) {
        // The runtime removes a container itself that was stopped by a checkpoint.
        let ended = ended.or_else(|said| if said.contains("does not exist") { Ok(()) } else { Err(said) });
        let Ok(container) = self.container(id) else { return };
        let unmounted = ended.and_then(|()| match container.mounts.is_empty() {
            true => Ok(()),
            false => rootfs::unmount(&rootfs::place(&container.bundle)).map_err(|error| error.to_string()),
        });
        if let Err(said) = unmounted {
            self.answer_ended(reply, "failed to delete task", Err(said));
            return self.release(id);
        }
        self.removed(id, reply);
    }

    /// Forgets the container, and answers all who still wait for something of it.
    fn removed(&mut self, id: &str, reply: Option<Reply>) {
        let Some(container) = self.containers.remove(id) else { return };
        self.memory.retain(|_, watched| watched.container != id);
        let response = response(&container.first);
        if let Some(reply) = reply {
            self.answer(reply, Ok(response.encode_to_vec()));
        }
        for waiting in container.waiting {
            self.handle(waiting.reply, waiting.method, waiting.payload);
        }
        let waiters =
            container.added.into_values().flat_map(|process| process.waiters).chain(container.first.waiters);
        for waiter in waiters {
            self.answer(waiter, Err(Failure::new(Code::NotFound, "container not created")));
        }
        self.publish(&TaskDelete {
            container_id: id.to_owned(),
            pid: response.pid,
            exit_status: response.exit_status,
            exited_at: response.exited_at,
            id: String::new(),
        });
        if self.is_sandbox(id) {
            self.sandbox_removed();
        }
        // Then a shim is only asked to end. Killed before that it could not remove its socket, and containerd, which removes
        // the bundle meanwhile, does not get to `delete`.
        if self.containers.is_empty() && self.sandbox.is_none() {
            self.leave_socket();
        }
    }
}

fn response(process: &Process) -> DeleteResponse {
    DeleteResponse {
        pid: process.pid as u32,
        exit_status: process.exit.map_or(0, |exit| exit.status as u32),
        exited_at: Some(process.exit.map_or_else(Timestamp::now, |exit| exit.at)),
    }
}
