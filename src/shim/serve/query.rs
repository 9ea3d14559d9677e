//! What is answered from memory: State, Wait, Connect, Shutdown, Pids.

use prost::Message;

use super::dispatch::Outcome;
use super::shim::Shim;
use crate::shim::process::Reply;
use crate::shim::process::state::State;
use crate::shim::wire::task::{
    ConnectRequest, ConnectResponse, StateRequest, StateResponse, WaitRequest, WaitResponse,
};

impl Shim {
    pub(super) fn state(&self, payload: &[u8]) -> Outcome {
        let request = StateRequest::decode(payload)?;
        let container = self.created(&request.id)?;
        let process = container.process(&request.exec_id)?;
        let exit = process.exit.filter(|_| process.state == State::Stopped);
        // While the container stands still, so do all its processes.
        let state = match container.first.state {
            halted @ (State::Pausing | State::Paused) if process.state == State::Running => halted,
            _ => process.state,
        };
        let response = StateResponse {
            id: if request.exec_id.is_empty() { request.id } else { request.exec_id.clone() },
            bundle: container.bundle.to_string_lossy().into_owned(),
            pid: process.pid as u32,
            status: state.status() as i32,
            stdin: process.stdio.stdin.clone(),
            stdout: process.stdio.stdout.clone(),
            stderr: process.stdio.stderr.clone(),
            terminal: process.stdio.terminal,
            exit_status: exit.map_or(0, |exit| exit.status as u32),
            exited_at: exit.map(|exit| exit.at),
            exec_id: request.exec_id,
        };
        Ok(Some(response.encode_to_vec()))
    }

    pub(super) fn wait(&mut self, reply: Reply, payload: &[u8]) -> Outcome {
        let request = WaitRequest::decode(payload)?;
        self.created(&request.id)?;
        let process = self.container_mut(&request.id)?.process_mut(&request.exec_id)?;
        match process.exit.filter(|_| process.state == State::Stopped) {
            Some(exit) => {
                let response = WaitResponse { exit_status: exit.status as u32, exited_at: Some(exit.at) };
                Ok(Some(response.encode_to_vec()))
            }
            None => {
                process.waiters.push(reply);
                Ok(None)
            }
        }
    }

    pub(super) fn connect(&self, payload: &[u8]) -> Outcome {
        let request = ConnectRequest::decode(payload)?;
        let response = ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: self.containers.get(&request.id).map_or(0, |container| container.first.pid as u32),
            version: String::new(),
        };
        Ok(Some(response.encode_to_vec()))
    }

    /// Ends the shim, unless it has containers.
    pub(super) fn shutdown(&mut self) -> Outcome {
        if self.containers.is_empty() {
            self.end();
        }
        Ok(Some(Vec::new()))
    }

    /// A container that the runtime has made. Before, there is none for containerd.
    pub(super) fn created(
        &self,
        id: &str,
    ) -> Result<&crate::shim::process::container::Container, crate::shim::wire::rpc::Failure> {
        match self.container(id) {
            Ok(container) if container.first.state == State::Creating => self.container(""),
            other => other,
        }
    }
}
