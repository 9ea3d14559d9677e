//! Runs hooks: the parent runs those of the runtime's namespaces, the child runs those of the container's.
//!
//! No hook can hold us up for longer than its timeout. Its output is read as it comes, and only the end of it
//! is kept. Its input waits in a pipe until the hook reads it or ends. A daemon that it leaves behind can
//! keep the pipes open for a moment only. A signal that asks us to end kills the hook. The texts are runc's,
//! which engines show.

mod running;
mod streams;

use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::errno_words::words;
use crate::plan::hooks::Hook;
use crate::sys::interrupt::Interrupts;
use crate::sys::spawn::signal_name;
use running::{Outcome, Running};

/// A hook that failed: `error running createRuntime hook #1: exit status 3, stdout: …, stderr: …`.
#[derive(Debug)]
pub struct HookError {
    pub text: String,
}

/// The output of a hook: at most the last 4 KiB of each stream.
#[derive(Debug, Default)]
pub struct Output {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// The options that all hooks of one kind have in common.
#[derive(Debug, Clone, Copy, Default)]
pub struct HookOptions<'a> {
    /// The environment of a hook that has none of its own; `None` for ours.
    pub env: Option<&'a [CString]>,
    /// The working directory; `None` for ours.
    pub dir: Option<&'a CStr>,
    /// Files for stdout and stderr; `None` keeps the end of the output for [`Output`].
    pub output: [Option<BorrowedFd<'a>>; 2],
}

/// Runs the hooks one after the other, up to the first that fails. Returns the output of each, for a log.
pub fn run_all(
    kind: &'static str,
    hooks: &[Hook],
    state: &[u8],
    options: HookOptions<'_>,
) -> Result<Vec<Output>, HookError> {
    run_each(kind, hooks, state, options).collect()
}

/// Returns an iterator whose every step runs the next hook, with `state` (JSON) on its standard input. A
/// SIGHUP, SIGINT, SIGQUIT or SIGTERM meanwhile, blocked or not, is a failure of the running hook.
pub(crate) fn run_each(
    kind: &'static str,
    hooks: &[Hook],
    state: &[u8],
    options: HookOptions<'_>,
) -> impl Iterator<Item = Result<Output, HookError>> {
    hooks.iter().enumerate().map(move |(index, hook)| {
        run(hook, state, options)
            .map_err(|why| HookError { text: format!("error running {kind} hook #{index}: {why}") })
    })
}

/// Runs one hook to its end. The error becomes part of the message of [`HookError`].
fn run(hook: &Hook, state: &[u8], options: HookOptions<'_>) -> Result<Output, String> {
    let deadline = hook.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let env = hook.env.as_deref().or(options.env).map_or_else(own_environment, Cow::Borrowed);
    // Before the hook starts: a signal right after the start must not end us and leave the hook running.
    let interrupts = Interrupts::block().map_err(|errno| failed_call("signalfd", errno))?;
    let mut running = Running::start(hook, &env, options, state)?;
    match running.wait(deadline, &interrupts).map_err(|errno| failed_call("poll", errno))? {
        Outcome::Ended => {}
        Outcome::TimedOut => {
            let seconds = f64::from(hook.timeout.unwrap_or_default());
            return Err(format!("hook ran past specified timeout of {seconds:.1}s"));
        }
        Outcome::Interrupted(signal) => return Err(format!("interrupted by {}", signal_text(signal))),
    }
    let (status, output) = running.finish().map_err(|errno| failed_call("wait", errno))?;
    if status.success() {
        return Ok(output);
    }
    let text = String::from_utf8_lossy;
    Err(format!("{}, stdout: {}, stderr: {}", ending(status), text(&output.stdout), text(&output.stderr)))
}

/// Describes how a process ended, as Go does: `exit status 3`, `signal: killed`.
fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => {
            let core = if status.core_dumped() { " (core dumped)" } else { "" };
            format!("{}{core}", signal_text(signal))
        }
        (None, None) => status.to_string(),
    }
}

fn signal_text(signal: i32) -> String {
    format!("signal: {}", signal_name(signal).to_lowercase())
}

/// The name of a failed system call with its errno in words.
fn failed_call(call: &str, errno: Errno) -> String {
    format!("{call}: {}", words(errno))
}

/// Our own environment, as execve(2) takes it.
fn own_environment<'a>() -> Cow<'a, [CString]> {
    let variables = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        CString::new(name.into_vec())
    });
    // The environment separates variables by NUL, so no variable contains one.
    variables.filter_map(Result::ok).collect()
}
