//! The program that runs the container: tare, or any other OCI runtime with the same command line.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Context, Kind, Result};
use crate::image::filesystem::directory::Directory;
use crate::image::userns::namespace::STAGE_VARIABLE;
use crate::sys::process::pidfd_open;
use crate::{fail, log};

/// The exit codes of Docker and Podman for a container that did not begin.
pub(crate) const NOT_RUN: i32 = 125;
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// The file that the runtime writes its errors to.
const LOG: &str = "runtime.log";
/// The file that the runtime writes the number of the container's process to.
const PID: &str = "pid";

/// A runtime, and where it keeps its state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Runtime {
    program: PathBuf,
    /// `--root`; None for the runtime's own place.
    root: Option<PathBuf>,
}

/// A container that the runtime is told of.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) id: &'a str,
    /// The directory for what the runtime writes.
    pub(super) dir: &'a Directory,
    /// The path of that directory, absolute.
    pub(super) path: PathBuf,
}

impl Target<'_> {
    fn bundle(&self) -> PathBuf {
        self.path.join("bundle")
    }
}

/// Whose a container of the runtime is.
#[derive(Debug, PartialEq, Eq)]
enum Whose {
    Ours,
    /// One of the same name, with another bundle.
    Others,
    /// There is none, or what is left of one.
    Nobodys,
}

/// A container's process, a child of this one.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
}

/// Why a container did not begin: what the runtime said, and the exit code that says the same.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) message: String,
    pub(super) code: i32,
}

impl Runtime {
    /// Finds the runtime: `program`, or the `tare` beside this program, or that in PATH.
    pub(crate) fn find(program: Option<PathBuf>, root: Option<PathBuf>) -> Result<Self> {
        let beside = || {
            let own = std::env::current_exe().ok()?;
            Some(own.with_file_name("tare")).filter(|path| path.is_file())
        };
        let program = program.or_else(beside).unwrap_or_else(|| "tare".into());
        // Another command may use it from another directory.
        let absolute = |path: PathBuf| std::path::absolute(&path).with_context(|| path.display().to_string());
        let program = if program.components().count() > 1 { absolute(program)? } else { in_path(&program)? };
        if !program.is_file() {
            return Err(fail!(Kind::NotFound, "there is no runtime {}", program.display()));
        }
        Ok(Self { program, root: root.map(absolute).transpose()? })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(root) = &self.root {
            command.arg("--root").arg(root);
        }
        command.env_remove(STAGE_VARIABLE);
        command
    }

    fn running(&self) -> String {
        format!("run {}", self.program.display())
    }

    /// The command that runs the container, with the standard streams that the caller gives it.
    pub(super) fn run_command(&self, target: &Target<'_>) -> Command {
        let mut command = self.command();
        command.arg("--log").arg(target.path.join(LOG)).args(["--log-format", "json", "run", "--bundle"]);
        command.arg(target.bundle());
        command
    }

    /// Starts the container with these standard streams. The caller must be a child subreaper: the process is
    /// its child then.
    pub(super) fn start(
        &self,
        target: &Target<'_>,
        mut command: Command,
        streams: [Stdio; 3],
    ) -> Result<Result<Process, Refusal>> {
        let [stdin, stdout, stderr] = streams;
        command.arg("--detach").arg("--pid-file").arg(target.path.join(PID)).arg("--").arg(target.id);
        let status =
            command.stdin(stdin).stdout(stdout).stderr(stderr).status().with_context(|| self.running())?;
        if !status.success() {
            return Ok(Err(refusal(target, status)));
        }
        let text = target.dir.read_small(PID, 32)?.unwrap_or_default();
        let pid = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
        let pid =
            pid.ok_or_else(|| fail!(Kind::Child, "{}: its file {PID} has no number", self.running()))?;
        // It is nobody's before this process has waited for it: the number is still its own.
        let pidfd = pidfd_open(pid).with_context(|| format!("open process {pid}"))?;
        Ok(Ok(Process { pid, pidfd }))
    }

    /// Ends the container, if it is still there, and removes the runtime's record of it.
    pub(super) fn delete(&self, target: &Target<'_>) -> Result<()> {
        // A runtime that was killed may have left a record that it does not understand itself any more.
        if self.whose(target)? == Whose::Others { Ok(()) } else { self.delete_own(target) }
    }

    /// Does the same for a container that this process has started: no other has its name.
    pub(super) fn delete_own(&self, target: &Target<'_>) -> Result<()> {
        let delete = || {
            let mut command = self.command();
            command.args(["delete", "--force", "--"]).arg(target.id).stdin(Stdio::null());
            command.output().with_context(|| self.running())
        };
        let mut output = delete()?;
        if output.status.signal().is_some() {
            // Killed halfway, it may have left what no longer tells whose it is.
            output = delete()?;
        }
        // Somebody else may have deleted it meanwhile.
        if output.status.success() || self.whose(target)? != Whose::Ours {
            return Ok(());
        }
        Err(fail!(Kind::Child, "{}: {}", self.running(), String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// Returns what the runtime tells of kills for lack of memory in a container that has ended, if it tells
    /// anything: tare does.
    pub(super) fn out_of_memory(&self, target: &Target<'_>) -> Option<String> {
        let mut command = self.command();
        command.args(["inspect", "--format", "json", "--"]).arg(target.id);
        let output = command.stdin(Stdio::null()).output().ok()?;
        let seen: Value = serde_json::from_slice(&output.stdout).ok()?;
        let ended = &seen["ended"];
        ended["outOfMemory"].as_object()?;
        ended["reasons"].as_array()?.last()?.as_str().map(str::to_owned)
    }

    /// Whose container the runtime has by this name.
    fn whose(&self, target: &Target<'_>) -> Result<Whose> {
        let mut command = self.command();
        command.args(["state", "--"]).arg(target.id);
        let output = command.stdin(Stdio::null()).output().with_context(|| self.running())?;
        let state: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        Ok(match state.as_ref().and_then(|state| state["bundle"].as_str()) {
            Some(bundle) if Path::new(bundle) == target.bundle() => Whose::Ours,
            Some(_) => Whose::Others,
            None => Whose::Nobodys,
        })
    }
}

/// The place of a program that is looked for in PATH.
fn in_path(name: &Path) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        fail!(Kind::NotFound, "there is no runtime {} in PATH", name.display())
            .with_hint("tare stands beside tare-image where both are installed; --runtime names another")
    })
}

/// What the runtime said last, or how it has ended.
pub(super) fn refusal(target: &Target<'_>, status: ExitStatus) -> Refusal {
    let message = said(target).unwrap_or_else(|| format!("the runtime has ended: {status}"));
    let code = exit_code(&message);
    Refusal { message, code }
}

/// The last error in the runtime's log.
pub(super) fn said(target: &Target<'_>) -> Option<String> {
    let log = target.dir.read_small(LOG, 1 << 20).ok().flatten()?;
    let lines = log.split(|&byte| byte == b'\n').rev();
    let entries = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let is_error = |entry: &Value| matches!(entry["level"].as_str(), Some("error" | "fatal"));
    let entry = entries.into_iter().find(is_error)?;
    log::debug(format_args!("the runtime says: {entry}"));
    entry["msg"].as_str().map(str::to_owned)
}

/// The exit code for a container that did not begin, as Docker and Podman choose it by the same words.
pub(super) fn exit_code(message: &str) -> i32 {
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if !has(&["exec: ", "exec /", "exec \""]) {
        NOT_RUN
    } else if has(&["executable file not found", "no such file or directory"]) {
        NOT_FOUND
    } else if has(&["permission denied", "is a directory", "not a directory", "exec format error"]) {
        NOT_EXECUTABLE
    } else {
        NOT_RUN
    }
}
