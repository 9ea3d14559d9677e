//! Pause, Resume, Update and Checkpoint.

use prost::Message;

use super::dispatch::Outcome;
use super::job::{Ended, Work};
use super::shim::Shim;
use crate::error::Context;
use crate::shim::process::Reply;
use crate::shim::process::state::{State, Verb};
use crate::shim::wire::events::{TaskCheckpointed, TaskPaused, TaskResumed};
use crate::shim::wire::options::CheckpointOptions;
use crate::shim::wire::rpc::{Code, Failure};
use crate::shim::wire::task::{CheckpointTaskRequest, PauseRequest, ResumeRequest, UpdateTaskRequest};

impl Shim {
    pub(super) fn pause(&mut self, reply: Reply, payload: &[u8]) -> Outcome {
        let request = PauseRequest::decode(payload)?;
        self.change(&request.id, Verb::Pause, Work::Pause, reply, &["pause", &request.id], Vec::new())?;
        self.container_mut(&request.id)?.first.state = State::Pausing;
        Ok(None)
    }

    pub(super) fn pause_ended(&mut self, id: &str, reply: Option<Reply>, ended: Ended) {
        self.set_state(id, if ended.is_ok() { State::Paused } else { State::Running });
        if ended.is_ok() {
            self.publish(&TaskPaused { container_id: id.to_owned() });
        }
        self.answer_ended(reply, "OCI runtime pause failed", ended);
        self.release(id);
    }

    pub(super) fn resume(&mut self, reply: Reply, payload: &[u8]) -> Outcome {
        let request = ResumeRequest::decode(payload)?;
        self.change(&request.id, Verb::Resume, Work::Resume, reply, &["resume", &request.id], Vec::new())?;
        Ok(None)
    }

    pub(super) fn resume_ended(&mut self, id: &str, reply: Option<Reply>, ended: Ended) {
        if ended.is_ok() {
            self.set_state(id, State::Running);
            self.publish(&TaskResumed { container_id: id.to_owned() });
        }
        self.answer_ended(reply, "OCI runtime resume failed", ended);
        self.release(id);
    }

    /// The resources are the JSON of the runtime specification, which the runtime reads from a file.
    pub(super) fn update(&mut self, reply: Reply, payload: &[u8]) -> Outcome {
        let request = UpdateTaskRequest::decode(payload)?;
        self.created(&request.id)?;
        let number = self.number();
        let file = self.container(&request.id)?.bundle.join(format!(".update-{number}.json"));
        let resources = request.resources.unwrap_or_default().value;
        if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&resources).is_err() {
            return Err(Failure::new(Code::InvalidArgument, "the resources are no JSON object"));
        }
        std::fs::write(&file, resources).with_context(|| format!("writing {}", file.display()))?;
        let path = file.to_string_lossy().into_owned();
        let words = ["update", "--resources", &path, &request.id];
        let started = self.change(&request.id, Verb::Update, Work::Update, reply, &words, vec![file.clone()]);
        if started.is_err() {
            let _ = std::fs::remove_file(file);
        }
        started.map(|()| None)
    }

    pub(super) fn update_ended(&mut self, id: &str, reply: Option<Reply>, ended: Ended) {
        self.answer_ended(reply, "OCI runtime update failed", ended);
        self.release(id);
    }

    pub(super) fn checkpoint(&mut self, reply: Reply, payload: &[u8]) -> Outcome {
        let request = CheckpointTaskRequest::decode(payload)?;
        self.created(&request.id)?;
        let options = request
            .options
            .as_ref()
            .map(|any| CheckpointOptions::decode(any.value.as_slice()))
            .transpose()?;
        let options = options.unwrap_or_default();
        let container = self.container(&request.id)?;
        let work = if options.work_path.is_empty() {
            container.bundle.join("criu-work").to_string_lossy().into_owned()
        } else {
            options.work_path.clone()
        };
        let words = checkpoint_words(&request, &options, &work);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let work = Work::Checkpoint(request.path.clone());
        self.change(&request.id, Verb::Checkpoint, work, reply, &words, Vec::new())?;
        Ok(None)
    }

    pub(super) fn checkpoint_ended(&mut self, id: &str, path: String, reply: Option<Reply>, ended: Ended) {
        if ended.is_ok() {
            self.publish(&TaskCheckpointed { container_id: id.to_owned(), checkpoint: path });
        }
        self.answer_ended(reply, "OCI runtime checkpoint failed", ended);
        self.release(id);
    }

    /// Starts a command that changes the container, if its state allows it.
    fn change(
        &mut self,
        id: &str,
        verb: Verb,
        work: Work,
        reply: Reply,
        words: &[&str],
        files: Vec<std::path::PathBuf>,
    ) -> Result<(), Failure> {
        self.created(id)?;
        let container = self.container(id)?;
        container.first.state.allows(verb)?;
        let call = container.runtime.call(&container.bundle.join("log.json"), words)?;
        self.start_job(id, work, Some(reply), &call, files)?;
        self.container_mut(id)?.busy = true;
        Ok(())
    }

    /// Not over the end of the process, which may have been told meanwhile.
    fn set_state(&mut self, id: &str, state: State) {
        if let Ok(container) = self.container_mut(id)
            && container.first.state != State::Stopped
        {
            container.first.state = state;
        }
    }
}

fn checkpoint_words(request: &CheckpointTaskRequest, options: &CheckpointOptions, work: &str) -> Vec<String> {
    let mut words: Vec<String> =
        ["checkpoint", "--image-path", &request.path, "--work-path", work].map(String::from).into();
    if !options.parent_path.is_empty() {
        words.extend(["--parent-path".to_owned(), options.parent_path.clone()]);
    }
    let switches = [
        (!options.exit, "--leave-running"),
        (options.open_tcp, "--tcp-established"),
        (options.external_unix_sockets, "--ext-unix-sk"),
        (options.terminal, "--shell-job"),
        (options.file_locks, "--file-locks"),
    ];
    words.extend(switches.iter().filter(|(on, _)| *on).map(|(_, word)| (*word).to_owned()));
    for namespace in &options.empty_namespaces {
        words.extend(["--empty-ns".to_owned(), namespace.clone()]);
    }
    words.push(request.id.clone());
    words
}
