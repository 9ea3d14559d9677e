//! Exec: a process is added to a container, and started later.

use std::fs;

use prost::Message;

use super::create::open_streams;
use super::dispatch::Outcome;
use super::job::{Ended, Opening, Work};
use super::shim::Shim;
use crate::error::Context;
use crate::shim::process::state::{State, Verb};
use crate::shim::process::{Process, Reply};
use crate::shim::streams::open::Stdio;
use crate::shim::wire::events::{TaskExecAdded, TaskExecStarted};
use crate::shim::wire::rpc::{Code, Failure};
use crate::shim::wire::task::{ExecProcessRequest, StartResponse};

impl Shim {
    pub(super) fn exec(&mut self, reply: Reply, payload: &[u8]) -> Outcome {
        let request = ExecProcessRequest::decode(payload)?;
        self.created(&request.id)?;
        let container = self.container_mut(&request.id)?;
        if request.exec_id.is_empty() {
            return Err(Failure::new(Code::InvalidArgument, "an added process needs an id"));
        }
        if container.added.contains_key(&request.exec_id) {
            return Err(Failure::new(Code::AlreadyExists, format!("id {}: already exists", request.exec_id)));
        }
        container.first.state.allows(Verb::Exec)?;
        let stdio = Stdio {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let mut process = Process::new(stdio, State::Created);
        process.document = document(&request.spec.unwrap_or_default().value, request.terminal)?;
        container.added.insert(request.exec_id.clone(), process);
        self.answer(reply, Ok(Vec::new()));
        self.publish(&TaskExecAdded { container_id: request.id, exec_id: request.exec_id });
        Ok(None)
    }

    /// Starts a process that was added. Several may start at once: each has its own files.
    pub(super) fn start_added(&mut self, id: &str, exec: &str, reply: Reply) -> Result<(), Failure> {
        let number = self.number();
        let container = self.container(id)?;
        let process = container.process(exec)?;
        process.state.allows(Verb::Start)?;
        if container.first.exit.is_some() || container.first.state == State::Stopped {
            let text = format!("container {id} init process is not running");
            return Err(Failure::new(Code::FailedPrecondition, text));
        }
        let opening = open_streams(&process.stdio, container, &format!(".exec-{number}.pid"))?;
        let file = container.bundle.join(format!(".exec-{number}.json"));
        let log = container.bundle.join(format!(".exec-{number}.log"));
        fs::write(&file, &process.document).with_context(|| format!("writing {}", file.display()))?;
        let mut words =
            vec!["exec".into(), "--process".into(), file.clone().into_os_string(), "--detach".into()];
        words.extend(["--pid-file".into(), opening.pid_file.clone().into_os_string()]);
        if let Some(console) = &opening.console {
            words.extend(["--console-socket".into(), console.path.clone().into_os_string()]);
        }
        words.push(id.into());
        let call = container.runtime.call(&log, words)?;
        let files = vec![file, log, opening.pid_file.clone()];
        let started = self.launch(id, Work::Exec(exec.to_owned(), opening), Some(reply), call, files.clone());
        if started.is_err() {
            files.iter().for_each(|file| drop(fs::remove_file(file)));
        }
        started?;
        self.container_mut(id)?.process_mut(exec)?.state = State::Starting;
        Ok(())
    }

    pub(super) fn exec_ended(
        &mut self,
        id: &str,
        exec: &str,
        opening: Opening,
        reply: Option<Reply>,
        ended: Ended,
    ) {
        let result = ended
            .map_err(|said| Failure::new(Code::Unknown, format!("OCI runtime exec failed: {said}")))
            .and_then(|()| self.adopt(id, exec, opening, State::Running));
        match result {
            Ok(pid) => {
                if let Some(reply) = reply {
                    self.answer(reply, Ok(StartResponse { pid: pid as u32 }.encode_to_vec()));
                }
                let (container_id, exec_id) = (id.to_owned(), exec.to_owned());
                self.publish(&TaskExecStarted { container_id, exec_id, pid: pid as u32 });
                self.start_input(id, exec);
                self.take_early(id, exec, pid);
            }
            Err(failure) => {
                self.exec_failed(id, exec);
                if let Some(reply) = reply {
                    self.answer(reply, Err(failure));
                }
            }
        }
        // The exit of the first process may have waited for this.
        self.settle(id);
    }
}

/// The process document, with what the request says of the terminal.
fn document(bytes: &[u8], terminal: bool) -> Result<Vec<u8>, Failure> {
    let wrong = |error: serde_json::Error| {
        Failure::new(Code::InvalidArgument, format!("the process document: {error}"))
    };
    let mut document: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(bytes).map_err(wrong)?;
    document.insert("terminal".to_owned(), terminal.into());
    serde_json::to_vec(&document).map_err(wrong)
}
