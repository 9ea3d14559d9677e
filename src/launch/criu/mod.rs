//! Runs CRIU as a child (`criu swrk`) and talks to it over a socket: one request, then notifications, then
//! one answer.
//!
//! The command line of CRIU is not enough: only over the socket does CRIU announce the new process before it
//! runs, and hand over its terminal.

pub(crate) mod options;
pub(crate) mod wire;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};

use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::log;
use crate::sys::socket::receive_fd;
use wire::{Fields, Message};

/// The type of a request (`criu_req_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Features = 9,
}

const NOTIFY: i64 = 6;

/// The size of the buffer for answers, in bytes: larger than any of them.
const BUFFER_SIZE: usize = 40_960;

/// A notification. CRIU waits until it is answered.
#[derive(Debug)]
pub(crate) struct Event {
    /// The name of the action script, such as `setup-namespaces` (criu(8), --action-script).
    pub name: String,
    /// The pid of the container's first process in our pid namespace; 0 if the event does not give it.
    pub pid: i32,
    /// The master of the process's terminal (`orphan-pts-master`).
    pub fd: Option<OwnedFd>,
}

/// A running CRIU that waits for its request.
#[derive(Debug)]
pub(crate) struct Criu {
    process: Child,
    socket: OwnedFd,
}

impl Criu {
    /// Starts CRIU. It inherits the descriptors `keep` under the same numbers. With `streams` it also
    /// inherits our standard streams, for the processes that it restores.
    ///
    /// # Errors
    /// `Kind::Unsupported` if CRIU is not installed.
    pub(crate) fn start(keep: &[BorrowedFd<'_>], streams: bool) -> Result<Self> {
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
        let (socket, theirs) = pair.context("make socket pair for criu")?;
        for fd in keep.iter().copied().chain([theirs.as_fd()]) {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).context("pass a descriptor to criu")?;
        }
        let mut command = Command::new("criu");
        command.args(["swrk", &theirs.as_raw_fd().to_string()]);
        if !streams {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        }
        let process = command.spawn().map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT) => Error::new(Kind::Unsupported, "criu is not installed").with_hint(
                "checkpoint and restore are done by CRIU; install it where PATH leads to".to_owned(),
            ),
            _ => Error::from(error).context("execute criu"),
        })?;
        Ok(Self { process, socket })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.id().cast_signed()
    }

    /// Sends the request, answers notifications by `on_event`, and waits until CRIU has ended.
    ///
    /// # Errors
    /// `Kind::Child` with CRIU's own words if CRIU fails.
    pub(crate) fn ask(
        mut self,
        verb: Verb,
        options: &Message,
        on_event: &mut dyn FnMut(Event) -> Result<()>,
    ) -> Result<()> {
        let request = Message::default().number(1, verb as i32).message(2, options);
        let answered = self.send(&request).and_then(|()| self.receive_answer(verb, on_event));
        drop(self.socket);
        let ended = self.process.wait().context("wait for criu")?;
        answered?;
        // After a pre-dump CRIU waits for another request, and exits with an error when the socket is closed.
        match ended.success() || verb == Verb::PreDump {
            true => Ok(()),
            false => Err(fail!(Kind::Child, "criu failed: {ended}")),
        }
    }

    fn send(&self, message: &Message) -> Result<()> {
        let sent = send(self.socket.as_raw_fd(), message.encoded(), MsgFlags::MSG_NOSIGNAL);
        sent.map(drop).context("talk to criu")
    }

    fn receive_answer(&self, verb: Verb, on_event: &mut dyn FnMut(Event) -> Result<()>) -> Result<()> {
        let mut buffer = vec![0; BUFFER_SIZE];
        loop {
            let (length, fd) = receive_fd(self.socket.as_fd(), &mut buffer).context("listen to criu")?;
            if length == 0 {
                return Err(fail!(Kind::Child, "criu ended without an answer"));
            }
            let answer = Fields::new(&buffer[..length]);
            if answer.number(1) != NOTIFY {
                return outcome(answer, verb);
            }
            let event = answer.message(5);
            let name = String::from_utf8_lossy(event.bytes(1)).into_owned();
            log::debug(format_args!("criu: {name}"));
            let pid = i32::try_from(event.number(2)).unwrap_or(0);
            on_event(Event { name, pid, fd })?;
            self.send(&Message::default().number(1, NOTIFY).switch(3, true))?;
        }
    }
}

fn outcome(answer: Fields<'_>, verb: Verb) -> Result<()> {
    if answer.number(2) == 1 && answer.number(1) == verb as i64 {
        return Ok(());
    }
    let errno = Errno::from_raw(i32::try_from(answer.number(7)).unwrap_or(0));
    let text = String::from_utf8_lossy(answer.bytes(9)).trim().to_owned();
    let text = if text.is_empty() { errno.desc().to_lowercase() } else { text };
    Err(fail!(Kind::Child, "criu failed: {verb:?}: {text}"))
}

/// Checks that the kernel and CRIU have a feature: `field` of `criu_features`, `name` for the message.
pub(crate) fn check(name: &str, field: u32) -> Result<()> {
    let criu = Criu::start(&[], false)?;
    let asked = Message::default().switch(field, true);
    let request = Message::default().number(1, Verb::Features as i32).message(5, &asked);
    let mut buffer = vec![0; BUFFER_SIZE];
    criu.send(&request)?;
    let (length, _) = receive_fd(criu.socket.as_fd(), &mut buffer).context("listen to criu")?;
    let Criu { mut process, socket } = criu;
    drop(socket);
    process.wait().context("wait for criu")?;
    let features = Fields::new(&buffer[..length]).message(8);
    match features.number(field) {
        1 => Ok(()),
        _ => Err(fail!(Kind::Unsupported, "criu is missing features: [{name}]")),
    }
}

/// Copies the error lines of CRIU's log into ours, as warnings. `path` is where it is.
pub(crate) fn log_errors_of(text: &[u8], path: &Path) {
    let text = String::from_utf8_lossy(text);
    for (number, line) in text.lines().enumerate().filter(|(_, line)| line.contains("Error")) {
        log::warn(format_args!("{}:{}: {line}", path.display(), number + 1));
    }
}
