//! Start: of a container's first process, of one that was added, and of a checkpoint.

use prost::Message;

use super::create::open_streams;
use super::dispatch::Outcome;
use super::job::{Ended, Opening, Work};
use super::shim::Shim;
use crate::shim::process::Reply;
use crate::shim::process::state::{State, Verb};
use crate::shim::wire::events::TaskStart;
use crate::shim::wire::rpc::{Code, Failure};
use crate::shim::wire::task::{StartRequest, StartResponse};

impl Shim {
    pub(super) fn start(&mut self, reply: Reply, payload: &[u8]) -> Outcome {
        let request = StartRequest::decode(payload)?;
        self.created(&request.id)?;
        if !request.exec_id.is_empty() {
            return self.start_added(&request.id, &request.exec_id, reply).map(|()| None);
        }
        let container = self.container_mut(&request.id)?;
        container.first.state.allows(Verb::Start)?;
        if container.first.state == State::Restorable {
            return self.start_restore(&request.id, reply).map(|()| None);
        }
        if container.first.exit.is_some() {
            return Err(Failure::new(Code::FailedPrecondition, "cannot start a stopped process"));
        }
        let call = container.runtime.call(&container.bundle.join("log.json"), ["start", &request.id])?;
        self.start_job(&request.id, Work::Start, Some(reply), &call, Vec::new())?;
        let container = self.container_mut(&request.id)?;
        container.busy = true;
        container.first.state = State::Starting;
        Ok(None)
    }

    pub(super) fn start_ended(&mut self, id: &str, reply: Option<Reply>, ended: Ended) {
        let Ok(container) = self.container_mut(id) else { return };
        container.first.state = if ended.is_ok() { State::Running } else { State::Created };
        let pid = container.first.pid as u32;
        match ended {
            Ok(()) => {
                if let Some(reply) = reply {
                    let response = match self.is_sandbox(id) {
                        true => self.sandbox_started(pid),
                        false => StartResponse { pid }.encode_to_vec(),
                    };
                    self.answer(reply, Ok(response));
                }
                self.publish(&TaskStart { container_id: id.to_owned(), pid });
                self.start_input(id, "");
            }
            failed => self.answer_ended(reply, "OCI runtime start failed", failed),
        }
        // It may have ended meanwhile.
        self.settle(id);
        self.release(id);
    }

    fn start_restore(&mut self, id: &str, reply: Reply) -> Result<(), Failure> {
        let container = self.container(id)?;
        let opening = open_streams(&container.first.stdio, container, "init.pid")?;
        let options = &container.runtime.options;
        let work_path = if options.criu_work_path.is_empty() {
            container.bundle.join("work")
        } else {
            options.criu_work_path.clone().into()
        };
        let mut words = vec!["restore".into(), "--detach".into(), "--no-subreaper".into()];
        words.extend(["--image-path".into(), container.checkpoint.clone().into()]);
        words.extend(["--work-path".into(), work_path.into_os_string()]);
        words.extend(["--bundle".into(), container.bundle.clone().into_os_string()]);
        words.extend(["--pid-file".into(), opening.pid_file.clone().into_os_string()]);
        if options.no_pivot_root {
            words.push("--no-pivot".into());
        }
        if let Some(console) = &opening.console {
            words.extend(["--console-socket".into(), console.path.clone().into_os_string()]);
        }
        words.push(id.into());
        let call = container.runtime.call(&container.bundle.join("log.json"), words)?;
        self.launch(id, Work::Restore(opening), Some(reply), call, Vec::new())?;
        self.container_mut(id)?.busy = true;
        Ok(())
    }

    pub(super) fn restore_ended(&mut self, id: &str, opening: Opening, reply: Option<Reply>, ended: Ended) {
        let result = ended
            .map_err(|said| Failure::new(Code::Unknown, format!("OCI runtime restore failed: {said}")))
            .and_then(|()| self.adopt(id, "", opening, State::Running));
        match result {
            Ok(pid) => {
                self.find_group(id, pid);
                self.publish(&TaskStart { container_id: id.to_owned(), pid: pid as u32 });
                self.start_input(id, "");
                if let Some(reply) = reply {
                    self.answer(reply, Ok(StartResponse { pid: pid as u32 }.encode_to_vec()));
                }
                self.take_early(id, "", pid);
            }
            Err(failure) => {
                if let Some(reply) = reply {
                    self.answer(reply, Err(failure));
                }
            }
        }
        self.release(id);
    }
}
