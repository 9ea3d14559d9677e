//! Opens the streams of a process. Nothing here waits for the other side of a fifo.

use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, fchown, pipe2};

use super::copy::{Copy, OnError, append_to};
use super::uri::{Destination, parse};
use crate::error::describe;
use crate::shim::runtime::command::null_on_read_only_mount;
use crate::shim::wire::rpc::{Code, Failure};

/// The streams that a request names. An empty name is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stdio {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// What was opened.
#[derive(Default)]
pub(crate) struct Opened {
    /// The process's own three; none where it gets a terminal.
    pub(crate) ends: Option<[OwnedFd; 3]>,
    pub(crate) outputs: Vec<Copy>,
    /// Where the input is to be written. Its source is opened when the process is started.
    pub(crate) input: Option<OwnedFd>,
    /// The program that gets the output.
    pub(crate) logger: Option<LoggerEnds>,
}

/// A process's input, as it is copied.
pub(crate) struct Input {
    pub(crate) copy: Copy,
    /// Our own writer of the fifo: its end comes with CloseIO, not with a client that goes away.
    pub(crate) keeper: Option<OwnedFd>,
}

/// Opens the source of an input.
///
/// Not before the process is started: to open a fifo lets the client write, and `ctr` forgets to say that its input has
/// ended where it does so before it knows of the task.
pub(crate) fn open_input(stdio: &Stdio, to: OwnedFd, closed: bool) -> Result<Input, Failure> {
    let from = open_path(&stdio.stdin, OFlag::O_RDONLY)?;
    let keeper =
        if is_fifo(&from) && !closed { Some(open_path(&stdio.stdin, OFlag::O_WRONLY)?) } else { None };
    let copy = if stdio.terminal { Copy::to_terminal(from, to) } else { Copy::new(from, to, OnError::End) };
    Ok(Input { copy, keeper })
}

/// What a logger gets, to be started.
pub(crate) struct LoggerEnds {
    pub(crate) destination: Destination,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// Opens pipes for the process, and the other sides that `stdio` names. The pipes belong to these ids.
pub(crate) fn open_pipes(stdio: &Stdio, uid: u32, gid: u32) -> Result<Opened, Failure> {
    let mut opened = Opened::default();
    let owner = (Uid::from_raw(uid), Gid::from_raw(gid));
    let stdin = input(stdio, owner, &mut opened)?;
    let destination = parse(&stdio.stdout)?;
    if let Destination::Logger { .. } = destination {
        let (stdout, stderr) = (pipe(owner)?, pipe(owner)?);
        opened.logger = Some(LoggerEnds { destination, stdout: stdout.0, stderr: stderr.0 });
        opened.ends = Some([stdin, stdout.1, stderr.1]);
        return Ok(opened);
    }
    // As in containerd's own shim, a file takes both.
    let stderr = if matches!(destination, Destination::File(_)) { &stdio.stdout } else { &stdio.stderr };
    let ends = [stdin, output(&stdio.stdout, owner, &mut opened)?, output(stderr, owner, &mut opened)?];
    opened.ends = Some(ends);
    Ok(opened)
}

/// Connects a terminal with what `stdio` names.
pub(crate) fn open_terminal(stdio: &Stdio, master: &OwnedFd) -> Result<Opened, Failure> {
    let mut opened = Opened::default();
    unblock(master)?;
    if !stdio.stdin.is_empty() {
        opened.input = Some(duplicate(master)?);
    }
    let destination = parse(&stdio.stdout)?;
    if let Destination::Logger { .. } = destination {
        let (stdout, stderr) =
            (pipe((Uid::from_raw(0), Gid::from_raw(0)))?, pipe((Uid::from_raw(0), Gid::from_raw(0)))?);
        unblock(&stdout.1)?;
        opened.outputs.push(Copy::new(duplicate(master)?, stdout.1, OnError::GoOn));
        opened.logger = Some(LoggerEnds { destination, stdout: stdout.0, stderr: stderr.0 });
    } else if !stdio.stdout.is_empty() {
        let (to, held) = open_output(&destination)?;
        opened.outputs.push(Copy::new(duplicate(master)?, to, OnError::GoOn).holding(held));
    }
    Ok(opened)
}

type Owner = (Uid, Gid);

fn input(stdio: &Stdio, owner: Owner, opened: &mut Opened) -> Result<OwnedFd, Failure> {
    if stdio.stdin.is_empty() {
        return Ok(null_on_read_only_mount()?.into());
    }
    if let Err(error) = std::fs::metadata(&stdio.stdin) {
        return Err(failed(&stdio.stdin, &error.to_string()));
    }
    let (reader, writer) = pipe(owner)?;
    unblock(&writer)?;
    opened.input = Some(writer);
    Ok(reader)
}

fn output(name: &str, owner: Owner, opened: &mut Opened) -> Result<OwnedFd, Failure> {
    if name.is_empty() {
        return Ok(null_on_read_only_mount()?.into());
    }
    let (to, held) = open_output(&parse(name)?)?;
    let (reader, writer) = pipe(owner)?;
    unblock(&reader)?;
    opened.outputs.push(Copy::new(reader, to, OnError::GoOn).holding(held));
    Ok(writer)
}

/// The destination, and our reader of it where it is a fifo: what nobody has read when the process ends waits there for
/// who attaches anew, and a process does not get SIGPIPE while nobody reads.
fn open_output(destination: &Destination) -> Result<(OwnedFd, Option<OwnedFd>), Failure> {
    match destination {
        Destination::File(path) => {
            let file = append_to(path).map_err(|error| failed(path, &error.to_string()))?;
            Ok((file.into(), None))
        }
        Destination::Path(path) => {
            // The reader first: to write without one is refused.
            let reader = open_path(path, OFlag::O_RDONLY)?;
            if !is_fifo(&reader) {
                return Ok((open_path(path, OFlag::O_WRONLY | OFlag::O_APPEND)?, None));
            }
            Ok((open_path(path, OFlag::O_WRONLY)?, Some(reader)))
        }
        Destination::Logger { .. } => {
            Err(Failure::new(Code::InvalidArgument, "a program can be named for stdout only"))
        }
    }
}

fn open_path(path: &str, access: OFlag) -> Result<OwnedFd, Failure> {
    let flags = access | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    open(path, flags, Mode::empty()).map_err(|errno| failed(path, &describe(errno)))
}

fn failed(path: &str, why: &str) -> Failure {
    Failure::new(Code::Unknown, format!("opening the stream {path}: {why}"))
}

fn pipe((uid, gid): Owner) -> Result<(OwnedFd, OwnedFd), Failure> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| failed("pipe", &describe(errno)))?;
    if !uid.is_root() || gid.as_raw() != 0 {
        fchown(&reader, Some(uid), Some(gid)).map_err(|errno| failed("pipe", &describe(errno)))?;
    }
    Ok((reader, writer))
}

fn duplicate(fd: &OwnedFd) -> Result<OwnedFd, Failure> {
    fd.try_clone().map_err(|error| failed("terminal", &error.to_string()))
}

/// Only our own end: the process's is another open file.
pub(crate) fn unblock(fd: &OwnedFd) -> Result<(), Failure> {
    let flags = OFlag::from_bits_retain(
        fcntl(fd, FcntlArg::F_GETFL).map_err(|errno| failed("pipe", &describe(errno)))?,
    );
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))
        .map(drop)
        .map_err(|errno| failed("pipe", &describe(errno)))
}

fn is_fifo(fd: &OwnedFd) -> bool {
    nix::sys::stat::fstat(fd.as_fd()).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFIFO)
}
