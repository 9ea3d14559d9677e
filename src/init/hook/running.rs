//! `Running` is a hook's process: serves its streams until it has ended, and kills it at its timeout or on a
//! signal.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::streams::{Input, Tail};
use super::{HookOptions, Output, failed_call};
use crate::init::refusal;
use crate::plan::hooks::Hook;
use crate::sys::interrupt::Interrupts;
use crate::sys::spawn::{Program, spawn, wait};

/// How long output is still read after the hook itself has ended: a daemon that it leaves behind may hold the
/// pipes open.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(100);
/// How long we wait for a killed hook to end. Only one that hangs in the kernel needs any time.
const KILL_TIMEOUT: Duration = Duration::from_secs(1);

/// More interruptions of one wait than signals make.
const MOST_INTERRUPTED: u32 = 1000;

/// How the wait for a hook ended.
pub(super) enum Outcome {
    Ended,
    TimedOut,
    /// The number of a signal that asks us to end.
    Interrupted(i32),
}

/// A hook's process with our ends of its streams.
pub(super) struct Running<'a> {
    process: Process,
    input: Option<Input<'a>>,
    stdout: Tail,
    stderr: Tail,
    /// How often poll(2) was interrupted: no signals do that so often, but a seccomp filter does for ever.
    interrupted: u32,
}

/// What poll(2) tells about a running hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Input,
    Stdout,
    Stderr,
    Ended,
    Interrupt,
}

impl<'a> Running<'a> {
    /// Starts the hook's program.
    pub(super) fn start(
        hook: &Hook,
        env: &[CString],
        options: HookOptions<'_>,
        state: &'a [u8],
    ) -> Result<Self, String> {
        let no_pipe = |errno| failed_call("pipe", errno);
        let input = Input::new(state).map_err(no_pipe)?;
        let (stdout, out) = Tail::new().map_err(no_pipe)?;
        let (stderr, err) = Tail::new().map_err(no_pipe)?;
        let [to_out, to_err] = options.output;
        let stdio =
            [input.theirs(), to_out.unwrap_or_else(|| out.as_fd()), to_err.unwrap_or_else(|| err.as_fd())];
        let program = Program {
            path: &hook.path,
            args: &hook.args,
            env,
            dir: options.dir,
            stdio,
            more: &[],
            ends_with_us: false,
        };
        let (pid, pidfd) = spawn(&program).map_err(|errno| refused(hook, env, errno))?;
        let process = Process { pid, pidfd, reaped: false };
        Ok(Self { process, input: Some(input), stdout, stderr, interrupted: 0 })
    }

    /// Serves the streams until the hook has ended, its timeout has passed, or a signal asks us to end.
    pub(super) fn wait(
        &mut self,
        deadline: Option<Instant>,
        interrupts: &Interrupts,
    ) -> Result<Outcome, Errno> {
        loop {
            let Some(timeout) = remaining(deadline) else { return Ok(Outcome::TimedOut) };
            let events = self.events(Some(interrupts), timeout)?;
            self.serve(&events)?;
            if events.contains(&Event::Ended) {
                self.input = None;
                return Ok(Outcome::Ended);
            }
            if events.contains(&Event::Interrupt)
                && let Some(signal) = interrupts.take()?
            {
                return Ok(Outcome::Interrupted(signal));
            }
        }
    }

    /// Reaps the ended hook. Returns its status and its output, with what is still in the pipes; waits for
    /// more output for [`DRAIN_TIMEOUT`] at most.
    pub(super) fn finish(mut self) -> Result<(ExitStatus, Output), Errno> {
        let deadline = Some(Instant::now() + DRAIN_TIMEOUT);
        while self.stdout.ours().is_some() || self.stderr.ours().is_some() {
            let Some(timeout) = remaining(deadline) else { break };
            let events = self.events(None, timeout)?;
            self.serve(&events)?;
        }
        let status = self.process.reap()?;
        Ok((status, Output { stdout: self.stdout.into_bytes(), stderr: self.stderr.into_bytes() }))
    }

    /// Waits for the next events; without `interrupts`, only for events of the streams.
    fn events(&mut self, interrupts: Option<&Interrupts>, timeout: PollTimeout) -> Result<Vec<Event>, Errno> {
        let sources = [
            (Event::Input, self.input.as_ref().map(Input::ours), PollFlags::POLLOUT),
            (Event::Stdout, self.stdout.ours(), PollFlags::POLLIN),
            (Event::Stderr, self.stderr.ours(), PollFlags::POLLIN),
            (Event::Ended, interrupts.map(|_| self.process.pidfd.as_fd()), PollFlags::POLLIN),
            (Event::Interrupt, interrupts.map(AsFd::as_fd), PollFlags::POLLIN),
        ];
        let open =
            sources.into_iter().filter_map(|(event, fd, flags)| Some((event, PollFd::new(fd?, flags))));
        let (events, mut fds): (Vec<Event>, Vec<PollFd<'_>>) = open.unzip();
        let polled = poll(&mut fds, timeout);
        let ready = events.into_iter().zip(&fds).filter(|(_, fd)| fd.any() != Some(false));
        let ready = ready.map(|(event, _)| event).collect();
        match polled {
            Ok(_) => Ok(ready),
            Err(Errno::EINTR) if self.interrupted < MOST_INTERRUPTED => {
                self.interrupted += 1;
                Ok(Vec::new())
            }
            Err(errno) => Err(errno),
        }
    }

    /// Handles the events of the streams.
    fn serve(&mut self, events: &[Event]) -> Result<(), Errno> {
        for event in events {
            match event {
                Event::Input => {
                    let more = self.input.as_mut().is_some_and(Input::feed);
                    // The pipe is closed after the last byte, so that the hook reads end of file.
                    self.input = self.input.take().filter(|_| more);
                }
                Event::Stdout => self.stdout.fill()?,
                Event::Stderr => self.stderr.fill()?,
                Event::Ended | Event::Interrupt => {}
            }
        }
        Ok(())
    }
}

/// Says in words why the hook's program was not executed.
fn refused(hook: &Hook, env: &[CString], errno: Errno) -> String {
    let told = failed_call(&format!("fork/exec {}", hook.path.to_string_lossy()), errno);
    match refusal::reason(&hook.path, &hook.args, env, errno) {
        Some(why) => format!("{told}: {why}"),
        None => told,
    }
}

/// A child of ours. If it is dropped before it has been reaped, it is killed with its process group.
struct Process {
    pid: i32,
    pidfd: OwnedFd,
    reaped: bool,
}

impl Process {
    fn reap(&mut self) -> Result<ExitStatus, Errno> {
        self.reaped = true;
        wait(self.pid)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        kill_group(self.pid);
        let deadline = Some(Instant::now() + KILL_TIMEOUT);
        for _ in 0..MOST_INTERRUPTED {
            let Some(timeout) = remaining(deadline) else { return };
            match poll(&mut [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => {
                    let _ = self.reap();
                    return;
                }
                Err(_) => return,
            }
        }
    }
}

/// Kills the hook's process group, and the hook itself, which may have left the group. It has not been
/// reaped, so neither id can belong to another process.
fn kill_group(pid: i32) {
    let pid = Pid::from_raw(pid);
    let _ = killpg(pid, Signal::SIGKILL);
    let _ = kill(pid, Signal::SIGKILL);
}

/// Returns the time left until `deadline`, for poll(2), rounded up so that it does not wake too early.
/// Returns `None` if the deadline has passed.
fn remaining(deadline: Option<Instant>) -> Option<PollTimeout> {
    let Some(deadline) = deadline else { return Some(PollTimeout::NONE) };
    let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
    Some(PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX))
}
