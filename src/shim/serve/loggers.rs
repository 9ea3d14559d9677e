//! Programs that get a process's output. Each is started before the process, and is waited for until it is ready.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::job::{Job, Work};
use super::logger::{AwaitsLogger, Logger};
use super::poller::Token;
use super::shim::Shim;
use crate::error::Context;
use crate::shim::process::Reply;
use crate::shim::runtime::command::{Call, null};
use crate::shim::streams::copy::{Copy, OnError};
use crate::shim::streams::open::{LoggerEnds, unblock};
use crate::shim::streams::uri::Destination;
use crate::shim::wire::rpc::{Code, Failure};
use crate::sys::spawn::{Program, spawn_in_place};

/// How long a logger may take to be ready.
const READY: Duration = Duration::from_secs(10);
/// How long it may go on after the end of the output, until it is asked to end.
const LAST_LINES: Duration = Duration::from_secs(2);
/// And how long then, until it is killed.
const CLEANUP: Duration = Duration::from_secs(10);

impl Shim {
    /// Starts a command of the runtime; where the process has a logger, that first.
    pub(super) fn launch(
        &mut self,
        id: &str,
        mut work: Work,
        reply: Option<Reply>,
        call: Call,
        files: Vec<std::path::PathBuf>,
    ) -> Result<(), Failure> {
        let (exec, opening) = match &mut work {
            Work::Create(opening) | Work::Restore(opening) => (String::new(), opening),
            Work::Exec(exec, opening) => (exec.clone(), opening),
            _ => return self.start_job(id, work, reply, &call, files),
        };
        let Some(ends) = opening.opened.logger.take() else {
            return self.start_job(id, work, reply, &call, files);
        };
        let (strict, ready) = self.start_logger(id, &exec, ends)?;
        let number = self.number();
        self.poller.watch_input(&ready, Token::Ready(number)).context("watching a logger")?;
        let container = id.to_owned();
        let waits = AwaitsLogger {
            ready,
            strict,
            until: Instant::now() + READY,
            container,
            work,
            reply,
            call,
            files,
        };
        self.loggers.awaited.insert(number, waits);
        Ok(())
    }

    /// Starts a logger with the output as its descriptors 3 and 4. It says that it is ready by its descriptor 5.
    pub(super) fn start_logger(
        &mut self,
        id: &str,
        exec: &str,
        ends: LoggerEnds,
    ) -> Result<(bool, OwnedFd), Failure> {
        let Destination::Logger { program, arguments, strict } = ends.destination else {
            return Err(Failure::new(Code::Internal, "no program is named"));
        };
        let nul = |_| Failure::new(Code::InvalidArgument, format!("{program}: an argument holds a NUL"));
        let path = CString::new(program.clone()).map_err(nul)?;
        let mut args = vec![path.clone()];
        for word in arguments {
            args.push(CString::new(word).map_err(nul)?);
        }
        let name = if exec.is_empty() { id } else { exec };
        let env = [format!("CONTAINER_ID={name}"), format!("CONTAINER_NAMESPACE={}", self.namespace)];
        let env: Vec<CString> = env.into_iter().map(CString::new).collect::<Result<_, _>>().map_err(nul)?;
        let (ready, writer) = pipe2(OFlag::O_CLOEXEC).context("making a pipe")?;
        let null = null()?;
        let started = Program {
            path: &path,
            args: &args,
            env: &env,
            dir: None,
            stdio: [null.as_fd(), null.as_fd(), null.as_fd()],
            more: &[ends.stdout.as_fd(), ends.stderr.as_fd(), writer.as_fd()],
            ends_with_us: false,
        };
        let pid = spawn_in_place(&started, None).with_context(|| format!("starting the logger {program}"))?;
        unblock(&ready)?;
        let (container, exec) = (id.to_owned(), exec.to_owned());
        let logger =
            Logger { container, exec, ends: vec![ends.stdout, ends.stderr], ask_at: None, kill_at: None };
        self.loggers.running.insert(pid, logger);
        Ok((strict, ready))
    }

    /// A logger has said that it is ready, or has closed its descriptor, which counts as well for the older form.
    pub(super) fn logger_ready(&mut self, number: u32) {
        let Some(waits) = self.loggers.awaited.get(&number) else { return };
        let mut byte = [0; 1];
        let count = match nix::unistd::read(&waits.ready, &mut byte) {
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return,
            other => other.unwrap_or(0),
        };
        let Some(waits) = self.loggers.awaited.remove(&number) else { return };
        if waits.strict && count == 0 {
            return self.logger_failed(waits, "the logger has ended without saying that it is ready");
        }
        let AwaitsLogger { container, work, reply, call, files, .. } = waits;
        if let Err((failure, work)) = self.start_job_or_give_back(&container, work, reply, &call, files) {
            self.hand_on(Job::never_started(work, &container, reply), Err(failure.message));
        }
    }

    fn logger_failed(&mut self, waits: AwaitsLogger, why: &str) {
        self.hand_on(Job::never_started(waits.work, &waits.container, waits.reply), Err(why.to_owned()));
    }

    /// A logger has died. Its process must not get SIGPIPE or stand still for that: we empty its output.
    pub(super) fn logger_ended(&mut self, pid: i32) -> bool {
        let Some(logger) = self.loggers.running.remove(&pid) else { return false };
        let lives = self.containers.get(&logger.container).and_then(|found| found.process(&logger.exec).ok());
        if lives.is_none_or(|process| process.exit.is_some()) {
            return true;
        }
        crate::log::plain(format_args!(
            "the logger of {} has ended; what its process writes is lost",
            logger.container
        ));
        for end in logger.ends {
            let nothing = null().map(OwnedFd::from);
            if let (Ok(nothing), Ok(())) = (nothing, unblock(&end)) {
                self.start_copy(&logger.container, &logger.exec, Copy::new(end, nothing, OnError::GoOn));
            }
        }
        true
    }

    /// The output has ended: the logger gets time for its last lines.
    pub(super) fn leave_loggers(&mut self, id: &str, exec: &str) {
        let mine =
            |logger: &&mut Logger| logger.container == id && logger.exec == exec && logger.ask_at.is_none();
        for logger in self.loggers.running.values_mut().filter(mine) {
            logger.ends.clear();
            logger.ask_at = Some(Instant::now() + LAST_LINES);
        }
    }

    pub(super) fn loggers_overdue(&mut self, now: Instant) {
        let late: Vec<u32> = self
            .loggers
            .awaited
            .iter()
            .filter(|(_, waits)| waits.until <= now)
            .map(|(&number, _)| number)
            .collect();
        for number in late {
            if let Some(waits) = self.loggers.awaited.remove(&number) {
                self.logger_failed(waits, "the logger has not said within 10 seconds that it is ready");
            }
        }
        for (&pid, logger) in &mut self.loggers.running {
            if logger.ask_at.is_some_and(|at| at <= now) {
                logger.ask_at = None;
                logger.kill_at = Some(now + CLEANUP);
                let _ = crate::sys::signal::send(pid, libc::SIGTERM);
            } else if logger.kill_at.is_some_and(|at| at <= now) {
                logger.kill_at = None;
                let _ = crate::sys::signal::send(pid, libc::SIGKILL);
            }
        }
    }
}
