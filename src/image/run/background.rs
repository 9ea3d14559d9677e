//! A container in the background: its output goes to its log, and this process leaves its caller's session.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;

use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use super::log_file;
use super::record::{Owned, Record};
use super::runtime::{Process, Refusal};
use super::supervise::Output;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::sys::socket::receive_fd;

/// What is held as long as the container runs.
pub(super) struct Started {
    pub(super) process: Process,
    pub(super) output: Output,
    /// The other end of its standard input, which never ends.
    pub(super) _input: Option<std::io::PipeWriter>,
}

/// Starts the container with its output in pipes, or at a terminal of its own.
pub(super) fn start(
    owned: &Owned,
    record: &Record,
    interactive: bool,
    tty: bool,
) -> Result<Result<Started, Refusal>> {
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(owned.path_of(log_file::NAME));
    let log = log.context("make the log")?;
    if tty {
        return start_with_terminal(owned, record, log);
    }
    let pipe = || std::io::pipe().context("make a pipe");
    let (out, err) = (pipe()?, pipe()?);
    let (stdin, input) = match interactive {
        true => pipe().map(|(reader, writer)| (Stdio::from(reader), Some(writer)))?,
        false => (Stdio::null(), None),
    };
    let command = record.runtime.run_command(&owned.target());
    let streams = [stdin, out.1.into(), err.1.into()];
    let started = record.runtime.start(&owned.target(), command, streams)?;
    let process = match started {
        Ok(process) => process,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let output = Output::new(log, [Some(out.0.into()), Some(err.0.into())])?;
    Ok(Ok(Started { process, output, _input: input }))
}

/// Starts the container at a terminal, whose other end the runtime sends through a socket.
fn start_with_terminal(owned: &Owned, record: &Record, log: File) -> Result<Result<Started, Refusal>> {
    const SOCKET: &str = "console.sock";
    // Through the descriptor: the path of a socket may have 107 bytes at most.
    let fd = owned.dir.as_fd().as_raw_fd();
    let listener = UnixListener::bind(format!("/proc/self/fd/{fd}/{SOCKET}")).context("make a socket")?;
    listener.set_nonblocking(true).context("make a socket")?;
    let mut command = record.runtime.run_command(&owned.target());
    command.arg("--console-socket").arg(format!("/proc/{}/fd/{fd}/{SOCKET}", std::process::id()));
    let streams = [Stdio::null(), Stdio::null(), Stdio::null()];
    let process = match record.runtime.start(&owned.target(), command, streams)? {
        Ok(process) => process,
        Err(refusal) => return Ok(Err(refusal)),
    };
    owned.dir.remove_file(SOCKET)?;
    // It is sent before the runtime ends.
    let (stream, _) = listener.accept().context("take the container's terminal")?;
    let (_, master) = receive_fd(stream.as_fd(), &mut [0; 256]).context("take the container's terminal")?;
    let master = master.ok_or_else(|| fail!(Kind::Child, "the runtime has sent no terminal"))?;
    Ok(Ok(Started { process, output: Output::new(log, [Some(master), None])?, _input: None }))
}

/// Leaves the session and the directory of the caller, and its standard streams, which it may wait for.
pub(crate) fn leave_caller() -> Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").context("open /dev/null")?;
    let null: OwnedFd = null.into();
    dup2_stdin(&null)
        .and_then(|()| dup2_stdout(&null))
        .and_then(|()| dup2_stderr(&null))
        .context("close the standard streams")?;
    std::env::set_current_dir(Path::new("/")).context("enter /")?;
    // The leader of a group of processes has no session to leave: its caller made it one for itself.
    let _ = setsid();
    Ok(())
}
