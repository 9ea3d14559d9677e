//! A command of the runtime that runs: what it is for, and how it ended.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::error::{Context, Result};
use crate::shim::process::Reply;
use crate::shim::runtime::log_file;
use crate::shim::streams::open::Opened;
use crate::shim::wire::rpc::Failure;

/// What a command of the runtime is for.
pub(super) enum Work {
    Create(Opening),
    Restore(Opening),
    Start,
    Exec(String, Opening),
    Delete,
    Pause,
    Resume,
    Update,
    Checkpoint(String),
    /// Kills with a signal that the shim cannot send itself.
    Kill,
    /// Kills what is left when the first process has ended.
    KillRest,
    /// Takes away what a command has left that was too slow. Then this is told.
    Clear(Failure),
}

/// A socket at which the runtime is waited for. Its name goes with it, also when nothing comes.
pub(super) struct ConsoleSocket {
    pub(super) listener: UnixListener,
    pub(super) path: PathBuf,
}

impl ConsoleSocket {
    /// Listens in a directory that only we can enter, of a name that nobody foresees: in /tmp everybody may take a name
    /// before us, and no process would get a terminal. A bundle's path may exceed the 107 bytes of a socket's.
    pub(super) fn new() -> Result<Self> {
        let pattern = std::env::temp_dir().join(".tare-console-XXXXXX");
        let directory = nix::unistd::mkdtemp(&pattern)
            .with_context(|| format!("{}: making a directory for a socket", pattern.display()))?;
        let path = directory.join("s");
        let listening =
            UnixListener::bind(&path).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
        match listening {
            Ok(listener) => Ok(Self { listener, path }),
            Err(error) => {
                remove_console(&path);
                Err(error).with_context(|| format!("{}: making a socket", path.display()))
            }
        }
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        remove_console(&self.path);
    }
}

fn remove_console(path: &Path) {
    let _ = std::fs::remove_file(path);
    if let Some(directory) = path.parent() {
        let _ = std::fs::remove_dir(directory);
    }
}

/// The streams of a process that is being made.
pub(super) struct Opening {
    pub(super) opened: Opened,
    /// Where the runtime sends the terminal.
    pub(super) console: Option<ConsoleSocket>,
    pub(super) pid_file: PathBuf,
}

pub(super) struct Job {
    pub(super) work: Work,
    pub(super) container: String,
    pub(super) reply: Option<Reply>,
    /// Files that are only for this command.
    pub(super) files: Vec<PathBuf>,
    pub(super) log: PathBuf,
    pub(super) log_start: u64,
    /// What the command prints, where that is not the container's.
    pub(super) output: Option<OwnedFd>,
    pub(super) deadline: Instant,
    pub(super) overdue: bool,
}

/// How a command ended: what containerd is told of one that failed.
pub(super) type Ended = std::result::Result<(), String>;

/// The process's own streams: what the runtime starts inherits them.
pub(super) fn own_streams(work: &Work) -> Option<[BorrowedFd<'_>; 3]> {
    let (Work::Create(opening) | Work::Restore(opening) | Work::Exec(_, opening)) = work else { return None };
    opening
        .opened
        .ends
        .as_ref()
        .map(|[stdin, stdout, stderr]| [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])
}

impl Job {
    /// A command that could not be started, as one that has failed.
    pub(super) fn never_started(work: Work, container: &str, reply: Option<Reply>) -> Self {
        Self {
            work,
            container: container.to_owned(),
            reply,
            files: Vec::new(),
            log: PathBuf::new(),
            log_start: 0,
            output: None,
            deadline: Instant::now(),
            overdue: false,
        }
    }

    /// What is told: the last error of the log, otherwise what was printed, otherwise the status.
    pub(super) fn ended(&mut self, status: i32) -> Ended {
        let printed = self.output.take().map(|output| {
            let mut text = Vec::new();
            let _ = File::from(output).take(64 << 10).read_to_end(&mut text);
            String::from_utf8_lossy(&text).trim().to_owned()
        });
        if status == 0 {
            return Ok(());
        }
        let said = log_file::last_error(&self.log, self.log_start)
            .or_else(|| printed.filter(|text| !text.is_empty()));
        Err(said.unwrap_or_else(|| match status {
            128.. => format!("the runtime was killed by signal {}", status - 128),
            _ => format!("the runtime has ended with status {status}, and has said nothing"),
        }))
    }
}
