//! Runs hooks: for the parent those of the runtime, in the container's child those of the container.
//!
//! Nothing that a hook does can hold us up for longer than its timeout: its output is read as it comes and only the
//! end of it is kept, its input waits in a pipe until it reads it or ends, and a daemon that it leaves behind may
//! keep the pipes for a moment only. The texts are those of runc, which engines show.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, pipe2, read, write};

use crate::plan::hooks::Hook;
use crate::sys::process::pidfd_open;
use crate::sys::spawn::{Program, signal_name, spawn, wait};

/// How much of the end of each output stream is kept, in bytes.
const KEPT: usize = 4096;
/// How long output is still read after the hook itself has ended.
const DRAIN: Duration = Duration::from_millis(100);
/// How long a killed hook may take to go away; only one that hangs in the kernel takes any time.
const KILLED: Duration = Duration::from_secs(1);

/// The first hook that failed: `error running createRuntime hook #1: exit status 3, stdout: …, stderr: …`.
#[derive(Debug)]
pub struct Failed {
    pub text: String,
}

/// What a hook wrote, at most the last 4 KiB of each stream.
#[derive(Debug, Default)]
pub struct Output {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Runs the hooks one after the other, each with `state` (JSON) on its standard input; the first failure is the end.
///
/// A hook that brings no environment gets `default_env`, or else ours. The output of each comes back, for a log.
pub fn run_all(
    kind: &'static str,
    hooks: &[Hook],
    state: &[u8],
    default_env: Option<&[CString]>,
) -> Result<Vec<Output>, Failed> {
    let numbered = hooks.iter().enumerate();
    numbered
        .map(|(index, hook)| {
            run(hook, state, default_env)
                .map_err(|why| Failed { text: format!("error running {kind} hook #{index}: {why}") })
        })
        .collect()
}

fn run(hook: &Hook, state: &[u8], default_env: Option<&[CString]>) -> Result<Output, String> {
    let deadline = hook.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let mut running = Running::start(hook, state, default_env)?;
    let failed = |call: &str, errno: Errno| format!("{call}: {}", describe(errno));
    if !running.attend(deadline).map_err(|errno| failed("poll", errno))? {
        return Err(format!(
            "hook ran past specified timeout of {:.1}s",
            f64::from(hook.timeout.unwrap_or(0))
        ));
    }
    running.drain().map_err(|errno| failed("poll", errno))?;
    let status = running.reap().map_err(|errno| failed("wait", errno))?;
    let output = running.output();
    if status.success() {
        return Ok(output);
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Err(format!("{}, stdout: {}, stderr: {}", ending(status), text(&output.stdout), text(&output.stderr)))
}

/// As Go words it: `exit status 3`, `signal: killed`.
fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => {
            let core = if status.core_dumped() { " (core dumped)" } else { "" };
            format!("signal: {}{core}", signal_name(signal).to_lowercase())
        }
        (None, None) => status.to_string(),
    }
}

fn describe(errno: Errno) -> String {
    errno.desc().to_lowercase()
}

/// A hook that has been started. Whoever lets go of it before it has been reaped kills it and its process group.
struct Running<'a> {
    pid: i32,
    pidfd: OwnedFd,
    reaped: bool,
    input: Option<Input<'a>>,
    stdout: Tail,
    stderr: Tail,
}

/// What waits for us to do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Input,
    Stdout,
    Stderr,
    Exit,
}

impl<'a> Running<'a> {
    fn start(hook: &Hook, state: &'a [u8], default_env: Option<&[CString]>) -> Result<Self, String> {
        let failed = |errno| format!("pipe: {}", describe(errno));
        let (stdin, input) = pipe().map_err(failed)?;
        let (output, stdout) = pipe().map_err(failed)?;
        let (errors, stderr) = pipe().map_err(failed)?;
        for ours in [&input, &output, &errors] {
            fcntl(ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(failed)?;
        }
        let env = match hook.env.as_deref().or(default_env) {
            Some(env) => env,
            None => &own_environment(),
        };
        let stdio = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let pid = spawn(&Program { path: &hook.path, args: &hook.args, env, stdio })
            .map_err(|errno| format!("fork/exec {}: {}", hook.path.to_string_lossy(), describe(errno)))?;
        let pidfd = pidfd_open(pid).map_err(|errno| {
            end(pid);
            format!("pidfd_open: {}", describe(errno))
        })?;
        let input = Some(Input { pipe: input, rest: state, _reader: stdin });
        Ok(Self { pid, pidfd, reaped: false, input, stdout: Tail::of(output), stderr: Tail::of(errors) })
    }

    /// Serves its streams until it has ended; false if the deadline came first.
    fn attend(&mut self, deadline: Option<Instant>) -> Result<bool, Errno> {
        loop {
            let Some(timeout) = remaining(deadline) else { return Ok(false) };
            let events = self.events(true, timeout)?;
            self.serve(&events)?;
            if events.contains(&Event::Exit) {
                self.input = None;
                return Ok(true);
            }
        }
    }

    /// Reads what is left in the pipes. A daemon may hold them open for ever: it loses them.
    fn drain(&mut self) -> Result<(), Errno> {
        let deadline = Some(Instant::now() + DRAIN);
        while self.stdout.pipe.is_some() || self.stderr.pipe.is_some() {
            let Some(timeout) = remaining(deadline) else { break };
            let events = self.events(false, timeout)?;
            self.serve(&events)?;
        }
        Ok(())
    }

    fn events(&self, exit: bool, timeout: PollTimeout) -> Result<Vec<Event>, Errno> {
        let input = self.input.as_ref().map(|input| input.pipe.as_fd());
        let sources = [
            (Event::Input, input, PollFlags::POLLOUT),
            (Event::Stdout, self.stdout.fd(), PollFlags::POLLIN),
            (Event::Stderr, self.stderr.fd(), PollFlags::POLLIN),
            (Event::Exit, exit.then(|| self.pidfd.as_fd()), PollFlags::POLLIN),
        ];
        let open =
            sources.into_iter().filter_map(|(event, fd, flags)| Some((event, PollFd::new(fd?, flags))));
        let (events, mut fds): (Vec<Event>, Vec<PollFd<'_>>) = open.unzip();
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        }
        let ready = events.into_iter().zip(&fds).filter(|(_, fd)| fd.any() != Some(false));
        Ok(ready.map(|(event, _)| event).collect())
    }

    fn serve(&mut self, events: &[Event]) -> Result<(), Errno> {
        for event in events {
            match event {
                Event::Input => {
                    let more = self.input.as_mut().is_some_and(Input::feed);
                    self.input = self.input.take().filter(|_| more);
                }
                Event::Stdout => self.stdout.fill()?,
                Event::Stderr => self.stderr.fill()?,
                Event::Exit => {}
            }
        }
        Ok(())
    }

    fn reap(&mut self) -> Result<ExitStatus, Errno> {
        self.reaped = true;
        wait(self.pid)
    }

    fn output(&mut self) -> Output {
        Output { stdout: self.stdout.take(), stderr: self.stderr.take() }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        end(self.pid);
        let mut gone = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        let deadline = Some(Instant::now() + KILLED);
        while let Some(timeout) = remaining(deadline) {
            match poll(&mut gone, timeout) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => {
                    let _ = wait(self.pid);
                    return;
                }
                Err(_) => return,
            }
        }
    }
}

/// Kills the hook's process group, and the hook, which may have left it. It has not been waited for, so neither id
/// can have become that of another.
fn end(pid: i32) {
    let pid = Pid::from_raw(pid);
    let _ = killpg(pid, Signal::SIGKILL);
    let _ = kill(pid, Signal::SIGKILL);
}

/// The state, on its way to the hook.
struct Input<'a> {
    pipe: OwnedFd,
    rest: &'a [u8],
    /// Held so that a hook that does not read costs us no SIGPIPE: whoever runs us may have it at its default.
    _reader: OwnedFd,
}

impl Input<'_> {
    /// Whether there is more to write. A failure is none: hooks need not read.
    fn feed(&mut self) -> bool {
        match write(&self.pipe, self.rest) {
            Ok(written) => self.rest = &self.rest[written..],
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => return false,
        }
        !self.rest.is_empty()
    }
}

/// The end of what comes through a pipe.
struct Tail {
    /// None once the other end is closed.
    pipe: Option<OwnedFd>,
    bytes: Vec<u8>,
}

impl Tail {
    fn of(pipe: OwnedFd) -> Self {
        Self { pipe: Some(pipe), bytes: Vec::new() }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads what there is, once.
    fn fill(&mut self) -> Result<(), Errno> {
        let mut chunk = [0; 16384];
        let Some(pipe) = &self.pipe else { return Ok(()) };
        match read(pipe, &mut chunk) {
            Ok(0) => self.pipe = None,
            Ok(length) => self.keep(&chunk[..length]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    fn keep(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        self.bytes.drain(..self.bytes.len().saturating_sub(KEPT));
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

/// Both ends, the reading one first.
fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    pipe2(OFlag::O_CLOEXEC)
}

fn own_environment() -> Vec<CString> {
    let variables = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        CString::new(name.into_vec())
    });
    // The environment ends each variable with a NUL, so none holds one.
    variables.filter_map(Result::ok).collect()
}

/// For poll(2), rounded up so that it does not wake too early; none when the deadline has passed.
fn remaining(deadline: Option<Instant>) -> Option<PollTimeout> {
    let Some(deadline) = deadline else { return Some(PollTimeout::NONE) };
    let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
    Some(PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX))
}
