//! From a frame to the file of its method.

use prost::Message;

use super::shim::Shim;
use crate::shim::process::Reply;
use crate::shim::process::container::Waiting;
use crate::shim::wire::frame::{Frame, REMOTE_OPEN, REQUEST};
use crate::shim::wire::rpc::{Code, Failure, Request};
use crate::shim::wire::sandbox;

/// What a method leaves behind: an answer, or none yet.
pub(super) type Outcome = Result<Option<Vec<u8>>, Failure>;

/// Both versions have the same messages.
const SERVICES: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];

/// Methods that change a container by the runtime: one at a time for each container.
const CHANGES: [&str; 6] = ["Start", "Delete", "Pause", "Resume", "Update", "Checkpoint"];

impl Shim {
    /// Handles a frame that a client has sent.
    pub(super) fn dispatch(&mut self, connection: u32, frame: &Frame) {
        if frame.kind != REQUEST {
            return;
        }
        let reply = Reply { connection, stream: frame.stream };
        if frame.stream.is_multiple_of(2) {
            let failure =
                Failure::new(Code::InvalidArgument, "StreamID must be odd for client initiated streams");
            return self.answer(reply, Err(failure));
        }
        match Self::read_request(frame) {
            Ok(request) if request.service == sandbox::SERVICE => {
                self.sandbox_call(reply, &request.method, &request.payload);
            }
            Ok(request) => self.handle(reply, request.method, request.payload),
            Err(failure) => self.answer(reply, Err(failure)),
        }
    }

    fn read_request(frame: &Frame) -> Result<Request, Failure> {
        let request = Request::decode(frame.data.as_slice())?;
        if request.service != sandbox::SERVICE && !SERVICES.contains(&request.service.as_str()) {
            return Err(Failure::new(Code::Unimplemented, format!("service {}", request.service)));
        }
        if frame.flags & REMOTE_OPEN != 0 {
            return Err(Failure::new(Code::Unimplemented, format!("{} takes one message", request.method)));
        }
        Ok(request)
    }

    /// Handles a call: now, or when the container is free.
    pub(super) fn handle(&mut self, reply: Reply, method: String, payload: Vec<u8>) {
        if let Some(container) = self.occupied(&method, &payload) {
            container.waiting.push_back(Waiting { reply, method, payload });
            return;
        }
        match self.call(reply, &method, &payload) {
            Ok(None) => {}
            Ok(Some(payload)) => self.answer(reply, Ok(payload)),
            Err(failure) => self.answer(reply, Err(failure)),
        }
    }

    /// The container that a call has to wait for. The id is the first field of every request.
    fn occupied(
        &mut self,
        method: &str,
        payload: &[u8],
    ) -> Option<&mut crate::shim::process::container::Container> {
        if !CHANGES.contains(&method) {
            return None;
        }
        let request = crate::shim::wire::task::StartRequest::decode(payload).ok();
        // Processes that were added are started and deleted on their own. (In the other requests field 2 is another
        // thing, and a text in Checkpoint alone.)
        let request = request.filter(|request| request.exec_id.is_empty() || method == "Checkpoint")?;
        self.containers.get_mut(&request.id).filter(|container| container.busy)
    }

    /// Goes on with what has waited for a container.
    pub(super) fn release(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.busy = false;
        while let Some(container) = self.containers.get_mut(id).filter(|container| !container.busy) {
            let Some(Waiting { reply, method, payload }) = container.waiting.pop_front() else { return };
            self.handle(reply, method, payload);
        }
    }

    fn call(&mut self, reply: Reply, method: &str, payload: &[u8]) -> Outcome {
        match method {
            "State" => self.state(payload),
            "Create" => self.create(reply, payload),
            "Start" => self.start(reply, payload),
            "Delete" => self.delete(reply, payload),
            "Pids" => self.pids(payload),
            "Pause" => self.pause(reply, payload),
            "Resume" => self.resume(reply, payload),
            "Checkpoint" => self.checkpoint(reply, payload),
            "Kill" => self.kill(reply, payload),
            "Exec" => self.exec(reply, payload),
            "ResizePty" => self.resize(payload),
            "CloseIO" => self.close_io(payload),
            "Update" => self.update(reply, payload),
            "Wait" => self.wait(reply, payload),
            "Stats" => self.stats(payload),
            "Connect" => self.connect(payload),
            "Shutdown" => self.shutdown(),
            _ => Err(Failure::new(Code::Unimplemented, format!("method {method}"))),
        }
    }
}
