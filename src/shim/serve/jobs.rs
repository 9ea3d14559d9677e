//! Commands of the runtime: started without waiting, and told to the file that has asked when they end.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;

use super::job::{Ended, Job, Work, own_streams};
use super::shim::{Shim, not_created};
use crate::error::Context;
use crate::shim::process::Reply;
use crate::shim::runtime::command::{Call, null};
use crate::shim::runtime::log_file;
use crate::shim::wire::rpc::{Code, Failure};

/// How long a command may take. Hooks that set up a network or a device are the slowest of what is right.
const LONGEST: Duration = Duration::from_secs(300);
/// How long one may take that ends or removes: containerd waits for it when it starts, with every other container.
const LONGEST_END: Duration = Duration::from_secs(60);

fn longest(work: &Work) -> Duration {
    match work {
        Work::Delete | Work::Kill | Work::KillRest | Work::Clear(_) => LONGEST_END,
        _ => LONGEST,
    }
}

impl Shim {
    /// Starts a command of the runtime for a container.
    pub(super) fn start_job(
        &mut self,
        container: &str,
        work: Work,
        reply: Option<Reply>,
        call: &Call,
        files: Vec<PathBuf>,
    ) -> Result<(), Failure> {
        self.start_job_or_give_back(container, work, reply, call, files).map_err(|(failure, _)| failure)
    }

    /// The same, for a caller who goes on with the work that was not started.
    pub(super) fn start_job_or_give_back(
        &mut self,
        container: &str,
        work: Work,
        reply: Option<Reply>,
        call: &Call,
        files: Vec<PathBuf>,
    ) -> Result<(), (Failure, Work)> {
        match self.start_command(container, &work, call) {
            Ok((pid, log_start, output)) => {
                let (log, deadline) = (call.log.clone(), Instant::now() + longest(&work));
                let container = container.to_owned();
                let job =
                    Job { work, container, reply, files, log, log_start, output, deadline, overdue: false };
                self.jobs.insert(pid, job);
                Ok(())
            }
            Err(failure) => Err((failure, work)),
        }
    }

    /// Starts the program. Returns its pid, where its lines in the log begin, and what it will print.
    fn start_command(
        &mut self,
        container: &str,
        work: &Work,
        call: &Call,
    ) -> Result<(i32, u64, Option<OwnedFd>), Failure> {
        let found = self.containers.get(container).ok_or_else(not_created)?;
        let log_start = log_file::length(&call.log);
        // These two seal themselves otherwise.
        let seals = matches!(work, Work::Create(_) | Work::Exec(..));
        let sealed = if seals { self.sealed.at(found.runtime.program()) } else { None };
        if let Some(stdio) = own_streams(work) {
            return Ok((found.runtime.start(call, &found.bundle, stdio, sealed)?, log_start, None));
        }
        let null = null()?;
        let (output, writer) =
            nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).context("making a pipe")?;
        let stdio = [null.as_fd(), writer.as_fd(), writer.as_fd()];
        let pid = found.runtime.start(call, &found.bundle, stdio, sealed)?;
        Ok((pid, log_start, Some(output)))
    }

    /// Hands the end of a command to whoever has asked for it.
    pub(super) fn job_ended(&mut self, mut job: Job, status: i32) {
        let ended = job.ended(status);
        let files = std::mem::take(&mut job.files);
        self.hand_on(job, ended);
        for file in files {
            let _ = std::fs::remove_file(file);
        }
    }

    pub(super) fn hand_on(&mut self, mut job: Job, ended: Ended) {
        let id = std::mem::take(&mut job.container);
        let reply = job.reply;
        if job.overdue {
            return self.clear(&id, job.work, reply);
        }
        match job.work {
            Work::Create(opening) => self.create_ended(&id, opening, reply, ended),
            Work::Restore(opening) => self.restore_ended(&id, opening, reply, ended),
            Work::Start => self.start_ended(&id, reply, ended),
            Work::Exec(exec, opening) => self.exec_ended(&id, &exec, opening, reply, ended),
            Work::Delete => self.delete_ended(&id, reply, ended),
            Work::Pause => self.pause_ended(&id, reply, ended),
            Work::Resume => self.resume_ended(&id, reply, ended),
            Work::Update => self.update_ended(&id, reply, ended),
            Work::Checkpoint(path) => self.checkpoint_ended(&id, path, reply, ended),
            Work::Kill => self.kill_ended(reply, ended),
            Work::KillRest => self.settle(&id),
            Work::Clear(failure) => self.cleared(&id, reply, failure),
        }
    }

    pub(super) fn jobs_deadline(&self) -> Option<Instant> {
        self.jobs.values().filter(|job| !job.overdue).map(|job| job.deadline).min()
    }

    /// Kills commands that have taken too long, with their children. Their end comes as a signal like every other.
    pub(super) fn jobs_overdue(&mut self, now: Instant) {
        for (&pid, job) in self.jobs.iter_mut().filter(|(_, job)| job.deadline <= now && !job.overdue) {
            job.overdue = true;
            let _ =
                nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }

    /// Whether a command runs that will tell the pid of a process.
    pub(super) fn makes_processes(&self) -> bool {
        self.jobs.values().any(|job| matches!(job.work, Work::Create(_) | Work::Restore(_) | Work::Exec(..)))
    }

    /// After a command that was killed: the container is in no known state, so it is removed where it is being made.
    fn clear(&mut self, id: &str, work: Work, reply: Option<Reply>) {
        let within = longest(&work).as_secs();
        let text = format!("the runtime has not ended within {within} seconds, and was killed");
        let failure = Failure::new(Code::DeadlineExceeded, text.clone());
        match work {
            Work::Create(_) => self.remove_unfinished(id, reply, failure),
            Work::Exec(exec, opening) => self.exec_ended(id, &exec, opening, reply, Err(text)),
            Work::Clear(failure) => self.cleared(id, reply, failure),
            Work::KillRest => self.settle(id),
            Work::Start => self.start_ended(id, reply, Err(text)),
            Work::Restore(opening) => self.restore_ended(id, opening, reply, Err(text)),
            _ => {
                if let Some(reply) = reply {
                    self.answer(reply, Err(failure));
                }
                self.release(id);
            }
        }
    }

    /// Has the runtime remove what it has made of a container, and then tells why.
    pub(super) fn remove_unfinished(&mut self, id: &str, reply: Option<Reply>, failure: Failure) {
        let found = self.container(id).map(|found| (found.runtime.clone(), found.bundle.join("log.json")));
        let call = found.and_then(|(runtime, log)| Ok(runtime.call(&log, ["delete", "--force", id])?));
        let work = Work::Clear(failure.clone());
        let started = call.and_then(|call| self.start_job(id, work, reply, &call, Vec::new()));
        if started.is_err() {
            self.cleared(id, reply, failure);
        }
    }

    pub(super) fn cleared(&mut self, id: &str, reply: Option<Reply>, failure: Failure) {
        self.forget_created(id);
        if let Some(reply) = reply {
            self.answer(reply, Err(failure));
        }
    }

    /// Answers with an empty message, or with what the runtime has said.
    pub(super) fn answer_ended(&mut self, reply: Option<Reply>, what: &str, ended: Ended) {
        let Some(reply) = reply else { return };
        let result =
            ended.map(|()| Vec::new()).map_err(|said| Failure::new(Code::Unknown, format!("{what}: {said}")));
        self.answer(reply, result);
    }
}
