//! Takes the listeners of recorded processes and lets their calls go on, one after the other.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Deserialize;

use crate::error::{Context, Error, Kind, Result};
use crate::plan::seccomp::record::Calls;
use crate::sys::process::{pidfd_open, pidfd_send_signal};
use crate::sys::seccomp::{self, WaitingCall};
use crate::sys::socket::receive_fd;

/// The largest message that comes with a listener, in bytes: it contains the container's annotations.
const LARGEST_MESSAGE: u64 = 1 << 20;
/// How long a process of ours may take to send it.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// A directory that only we may enter, removed at the end.
#[derive(Debug)]
pub(super) struct PrivateDir(pub PathBuf);

impl PrivateDir {
    pub(super) fn new() -> Result<Self> {
        let pattern = std::env::temp_dir().join("tare-record-XXXXXX");
        let made = nix::unistd::mkdtemp(&pattern);
        made.map(Self).with_context(|| format!("make a directory like {}", pattern.display()))
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The part of the message (`launch::seccomp_agent`) that is needed here.
#[derive(Deserialize)]
struct ProcessState {
    pid: i32,
}

/// The calls of one process that the runtime has made, and of all that descend from it.
#[derive(Debug)]
struct Listener {
    fd: OwnedFd,
    process: i32,
    /// Whether what the process calls counts: not our own calls before its program, if its filter is loaded
    /// only after them in an unrecorded start.
    counts: bool,
}

#[derive(Debug)]
pub(super) struct Recorder {
    socket: UnixListener,
    memory: seccomp::Calls,
    listeners: Vec<Listener>,
    /// The first recorded process, for signals.
    main: Option<OwnedFd>,
    /// Whether hooks run under the filter, before the program.
    has_hooks: bool,
    pub calls: Calls,
    /// Whether every process so far had no_new_privs.
    pub no_new_privileges: bool,
    /// Whether any program has been executed.
    pub has_begun: bool,
}

impl Recorder {
    /// Listens at `path`, which only we can reach.
    pub(super) fn listen(path: &Path, has_hooks: bool) -> Result<Self> {
        let socket = UnixListener::bind(path).with_context(|| format!("listen at {}", path.display()))?;
        socket.set_nonblocking(true).context("listen for seccomp listeners")?;
        let memory = seccomp::Calls::new().context("ask the kernel how it reports system calls")?;
        Ok(Self {
            socket,
            memory,
            listeners: Vec::new(),
            main: None,
            has_hooks,
            calls: Calls::default(),
            no_new_privileges: true,
            has_begun: false,
        })
    }

    /// Waits until something happens here or to `signals`, for `timeout` at most, and does what there is to do
    /// here. Returns whether there are signals.
    pub(super) fn poll_once(&mut self, signals: BorrowedFd<'_>, timeout: PollTimeout) -> Result<bool> {
        let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut watched = vec![watch(signals), watch(self.socket.as_fd())];
        watched.extend(self.listeners.iter().map(|listener| watch(listener.fd.as_fd())));
        match poll(&mut watched, timeout) {
            Err(Errno::EINTR) => return Ok(false),
            other => other.context("wait for system calls")?,
        };
        let ready: Vec<PollFlags> =
            watched.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
        for (index, ready) in ready[2..].iter().enumerate() {
            if ready.contains(PollFlags::POLLIN) {
                self.answer(index)?;
            }
        }
        let mut ended = ready[2..].iter().map(|ready| is_unused(*ready));
        self.listeners.retain(|_| !ended.next().unwrap_or(false));
        if ready[1].contains(PollFlags::POLLIN) {
            self.accept()?;
        }
        Ok(!ready[0].is_empty())
    }

    /// Whether no recorded process lives.
    pub(super) fn is_idle(&self) -> bool {
        self.listeners.is_empty()
    }

    /// Sends a signal to the first recorded process, if there is one.
    pub(super) fn signal(&self, signal: i32) {
        if let Some(main) = &self.main {
            let _ = pidfd_send_signal(main.as_fd(), signal);
        }
    }

    fn accept(&mut self) -> Result<()> {
        let stream = match self.socket.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("accept a seccomp listener"),
        };
        let (state, fd) = receive(stream).context("receive a seccomp listener")?;
        seccomp::wake_on_the_same_cpu(fd.as_fd());
        if self.main.is_none() {
            self.main = pidfd_open(state.pid).ok();
        }
        let no_new_privileges = has_no_new_privileges(state.pid);
        self.no_new_privileges &= no_new_privileges;
        let counts = !no_new_privileges || self.has_hooks;
        self.listeners.push(Listener { fd, process: state.pid, counts });
        Ok(())
    }

    fn answer(&mut self, index: usize) -> Result<()> {
        let listener = &mut self.listeners[index];
        let received = match self.memory.receive(listener.fd.as_fd()) {
            Err(Errno::EINTR) => return Ok(()),
            other => other.context("receive a system call")?,
        };
        let Some(call) = received else { return Ok(()) };
        if call.thread != listener.process || is_execve(call) {
            listener.counts = true;
            self.has_begun = true;
        }
        if listener.counts {
            self.calls.add(call.audit, call.number, call.first_argument);
        }
        seccomp::let_go_on(listener.fd.as_fd(), &call).context("let a system call go on")
    }
}

fn is_execve(call: WaitingCall) -> bool {
    [libc::SYS_execve, libc::SYS_execveat].contains(&call.number.into())
}

/// Whether no process uses the listener's filter any more. KERNEL(5.9).
fn is_unused(ready: PollFlags) -> bool {
    ready.contains(PollFlags::POLLHUP) && !ready.contains(PollFlags::POLLIN)
}

fn receive(mut stream: UnixStream) -> Result<(ProcessState, OwnedFd)> {
    // Accepted sockets do not inherit the mode.
    stream.set_read_timeout(Some(SEND_TIMEOUT))?;
    let mut message = vec![0; 64 << 10];
    let (length, fd) = receive_fd(stream.as_fd(), &mut message)?;
    message.truncate(length);
    (&mut stream).take(LARGEST_MESSAGE).read_to_end(&mut message)?;
    let state =
        serde_json::from_slice(&message).map_err(|error| Error::new(Kind::State, error.to_string()))?;
    fd.map(|fd| (state, fd)).ok_or_else(|| Error::new(Kind::State, "a message without a descriptor"))
}

fn has_no_new_privileges(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("NoNewPrivs:").is_some_and(|value| value.trim() == "1"))
}
