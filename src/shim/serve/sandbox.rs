//! The sandbox service: a pod that the shim itself makes, where containerd has `sandboxer = "shim"`. It is a container with
//! the pod's id, whose process does nothing; of it no task's events are told.

use std::path::Path;

use prost::Message;

use super::dispatch::Outcome;
use super::shim::Shim;
use crate::shim::pod;
use crate::shim::process::Reply;
use crate::shim::process::sandbox::Sandbox;
use crate::shim::process::state::State;
use crate::shim::runtime::options;
use crate::shim::wire::rpc::{Code, Failure};
use crate::shim::wire::sandbox::{
    CreateSandboxRequest, Metric, Platform, PlatformResponse, PodSandboxConfig, SandboxMetricsResponse,
    SandboxRequest, SandboxStatusResponse, StartSandboxResponse,
};
use crate::shim::wire::task::{
    CreateTaskRequest, DeleteRequest, StartRequest, StatsRequest, StatsResponse, WaitRequest,
};
use crate::shim::wire::types::{Any, Timestamp};

impl Shim {
    pub(super) fn sandbox_call(&mut self, reply: Reply, method: &str, payload: &[u8]) {
        let outcome = match method {
            "CreateSandbox" => self.create_sandbox(reply, payload),
            "StartSandbox" => self.start_sandbox(reply, payload),
            "StopSandbox" => self.stop_sandbox(reply, payload),
            "WaitSandbox" => self.wait_sandbox(reply, payload),
            "SandboxStatus" => self.sandbox_status(payload),
            "PingSandbox" => self.sandbox(payload).map(|_| Some(Vec::new())),
            "Platform" => self.platform(payload),
            "SandboxMetrics" => self.sandbox_metrics(payload),
            "ShutdownSandbox" => self.shutdown_sandbox(reply, payload),
            _ => Err(Failure::new(Code::Unimplemented, format!("method {method}"))),
        };
        match outcome {
            Ok(None) => {}
            Ok(Some(payload)) => self.answer(reply, Ok(payload)),
            Err(failure) => self.answer(reply, Err(failure)),
        }
    }

    /// Whether a container is the pod itself, and no task.
    pub(super) fn is_sandbox(&self, id: &str) -> bool {
        self.sandbox.as_ref().is_some_and(|sandbox| sandbox.id == id)
    }

    /// The id of the pod, which has to be the one that is asked for.
    fn sandbox(&self, payload: &[u8]) -> Result<String, Failure> {
        let request = SandboxRequest::decode(payload)?;
        if self.is_sandbox(&request.sandbox_id) {
            return Ok(request.sandbox_id);
        }
        Err(Failure::new(Code::NotFound, format!("sandbox {}: not found", request.sandbox_id)))
    }

    fn create_sandbox(&mut self, reply: Reply, payload: &[u8]) -> Outcome {
        let request = CreateSandboxRequest::decode(payload)?;
        if self.sandbox.is_some() || !self.containers.is_empty() {
            return Err(Failure::new(
                Code::AlreadyExists,
                format!("sandbox {}: already exists", request.sandbox_id),
            ));
        }
        if !request.rootfs.is_empty() {
            return Err(Failure::new(Code::Unimplemented, "a sandbox with a root filesystem of its own"));
        }
        crate::shim::id::check(&request.sandbox_id)?;
        let config = match &request.options {
            Some(any) if any.type_name() == "runtime.v1.PodSandboxConfig" => {
                PodSandboxConfig::decode(any.value.as_slice())?
            }
            _ => PodSandboxConfig::default(),
        };
        let bundle = Path::new(&request.bundle_path);
        // `start` has them, and has left them there.
        let options = options::load(bundle)?.unwrap_or_default();
        pod::write(bundle, &request.sandbox_id, &config, &request.netns_path, options.systemd_cgroup)?;
        let (id, started, ending) = (request.sandbox_id, None, None);
        let create = CreateTaskRequest {
            id: id.clone(),
            bundle: request.bundle_path,
            options: Some(Any::wrap(options::RUNC, &options)),
            ..CreateTaskRequest::default()
        };
        self.sandbox = Some(Sandbox { id, started, ending });
        let outcome = self.create(reply, &create.encode_to_vec());
        if outcome.is_err() {
            self.sandbox = None;
        }
        outcome
    }

    fn start_sandbox(&mut self, reply: Reply, payload: &[u8]) -> Outcome {
        let id = self.sandbox(payload)?;
        let start = StartRequest { id, ..StartRequest::default() };
        self.handle(reply, "Start".to_owned(), start.encode_to_vec());
        Ok(None)
    }

    /// What is answered when the pod has been started: its moment besides the pid.
    pub(super) fn sandbox_started(&mut self, pid: u32) -> Vec<u8> {
        let now = Some(Timestamp::now());
        if let Some(sandbox) = &mut self.sandbox {
            sandbox.started = now;
        }
        StartSandboxResponse { pid, created_at: now }.encode_to_vec()
    }

    /// Answers when the process has ended. One that has ended already is no error.
    fn stop_sandbox(&mut self, reply: Reply, payload: &[u8]) -> Outcome {
        let id = self.sandbox(payload)?;
        let Ok(container) = self.container_mut(&id) else { return Ok(Some(Vec::new())) };
        let process = &mut container.first;
        if process.pid == 0 || process.state == State::Stopped {
            return Ok(Some(Vec::new()));
        }
        // Its answer is that of Wait, whose fields this message has not.
        process.waiters.push(reply);
        if process.lives() {
            let _ = crate::sys::signal::send(process.pid, libc::SIGKILL);
        }
        Ok(None)
    }

    fn wait_sandbox(&mut self, reply: Reply, payload: &[u8]) -> Outcome {
        let id = self.sandbox(payload)?;
        let wait = WaitRequest { id, ..WaitRequest::default() };
        self.handle(reply, "Wait".to_owned(), wait.encode_to_vec());
        Ok(None)
    }

    fn sandbox_status(&self, payload: &[u8]) -> Outcome {
        let id = self.sandbox(payload)?;
        let process = self.container(&id).ok().map(|container| &container.first);
        let ready = process.is_some_and(|process| process.state == State::Running);
        let response = SandboxStatusResponse {
            pid: process.map_or(0, |process| process.pid as u32),
            state: if ready { "SANDBOX_READY" } else { "SANDBOX_NOTREADY" }.to_owned(),
            created_at: self.sandbox.as_ref().and_then(|sandbox| sandbox.started),
            exited_at: process.and_then(|process| process.exit).map(|exit| exit.at),
            sandbox_id: id,
        };
        Ok(Some(response.encode_to_vec()))
    }

    fn platform(&self, payload: &[u8]) -> Outcome {
        self.sandbox(payload)?;
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "aarch64" => ("arm64", "v8"),
            other => (other, ""),
        };
        let platform = Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        };
        Ok(Some(PlatformResponse { platform: Some(platform) }.encode_to_vec()))
    }

    fn sandbox_metrics(&self, payload: &[u8]) -> Outcome {
        let id = self.sandbox(payload)?;
        let stats = self.stats(&StatsRequest { id: id.clone() }.encode_to_vec())?.unwrap_or_default();
        let data = StatsResponse::decode(stats.as_slice())?.stats;
        let metrics = Metric { timestamp: Some(Timestamp::now()), id, data };
        Ok(Some(SandboxMetricsResponse { metrics: Some(metrics) }.encode_to_vec()))
    }

    /// Ends the pod and then the shim. It may come when nothing was made, or a second time.
    fn shutdown_sandbox(&mut self, reply: Reply, payload: &[u8]) -> Outcome {
        let Ok(id) = self.sandbox(payload) else { return self.shutdown() };
        let Some(sandbox) = &mut self.sandbox else { return self.shutdown() };
        sandbox.ending = Some(reply);
        let Ok(container) = self.container(&id) else {
            self.sandbox_removed();
            return Ok(Some(Vec::new()));
        };
        let process = &container.first;
        if process.lives() && process.state != State::Created {
            let _ = crate::sys::signal::send(process.pid, libc::SIGKILL);
        } else {
            self.delete_sandbox();
        }
        Ok(None)
    }

    /// The pod's process has ended, or never ran.
    pub(super) fn delete_sandbox(&mut self) {
        let Some(sandbox) = &self.sandbox else { return };
        let Some(reply) = sandbox.ending else { return };
        let delete = DeleteRequest { id: sandbox.id.clone(), ..DeleteRequest::default() };
        self.handle(reply, "Delete".to_owned(), delete.encode_to_vec());
    }

    /// The pod is gone: so is the shim, if it has nothing else.
    pub(super) fn sandbox_removed(&mut self) {
        let Some(sandbox) = self.sandbox.take() else { return };
        if sandbox.ending.is_some() && self.containers.is_empty() {
            self.end();
        }
    }
}
