//! Kill. The shim is the parent of a container's processes: it sends a signal itself, and no pid can stand for another.

use nix::errno::Errno;
use prost::Message;

use super::dispatch::Outcome;
use super::job::{Ended, Work};
use super::shim::Shim;
use crate::error::describe;
use crate::shim::process::Reply;
use crate::shim::process::state::{State, Verb};
use crate::shim::wire::rpc::{Code, Failure};
use crate::shim::wire::task::KillRequest;

impl Shim {
    pub(super) fn kill(&mut self, reply: Reply, payload: &[u8]) -> Outcome {
        let request = KillRequest::decode(payload)?;
        self.created(&request.id)?;
        let container = self.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        if process.pid == 0 {
            return Err(Failure::new(Code::FailedPrecondition, "process not created: failed precondition"));
        }
        process.state.allows(Verb::Kill)?;
        if !process.lives() {
            return Err(Failure::new(Code::NotFound, "process already finished: not found"));
        }
        let signal = i32::try_from(request.signal).unwrap_or(-1);
        // The runtime knows the cgroup, and how to wake what is frozen.
        let halted = matches!(container.first.state, State::Paused | State::Pausing);
        if request.exec_id.is_empty() && (request.all || halted) {
            return self.kill_by_runtime(&request, reply).map(|()| None);
        }
        match crate::sys::signal::send(process.pid, signal) {
            Ok(()) => Ok(Some(Vec::new())),
            Err(Errno::ESRCH) => Err(Failure::new(Code::NotFound, "process already finished: not found")),
            Err(errno) => {
                let code = if errno == Errno::EINVAL { Code::InvalidArgument } else { Code::Unknown };
                Err(Failure::new(code, format!("sending signal {}: {}", request.signal, describe(errno))))
            }
        }
    }

    fn kill_by_runtime(&mut self, request: &KillRequest, reply: Reply) -> Result<(), Failure> {
        let number = self.number();
        let container = self.container(&request.id)?;
        let log = container.bundle.join(format!(".kill-{number}.log"));
        let all = request.all.then_some("--all");
        let signal = request.signal.to_string();
        let words = ["kill"].into_iter().chain(all).chain([request.id.as_str(), &signal]);
        let call = container.runtime.call(&log, words)?;
        self.start_job(&request.id, Work::Kill, Some(reply), &call, vec![log])
    }

    pub(super) fn kill_ended(&mut self, reply: Option<Reply>, ended: Ended) {
        let gone = |said: &str| {
            ["not running", "already finished", "no such process"].iter().any(|text| said.contains(text))
        };
        match (ended, reply) {
            (Err(said), Some(reply)) if gone(&said.to_lowercase()) => {
                self.answer(reply, Err(Failure::new(Code::NotFound, "process already finished: not found")));
            }
            (Err(said), Some(reply)) if said.contains("does not exist") => {
                self.answer(reply, Err(Failure::new(Code::NotFound, "no such container: not found")));
            }
            (ended, reply) => self.answer_ended(reply, "unknown error after kill", ended),
        }
    }
}
