//! Carries bytes between the caller's standard streams and the master of the container's terminal, without ever waiting.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Context, Result};
use crate::sys::tty::{self, STDIN, STDOUT};

/// A pipe that can take anything can take this much (PIPE_BUF), so a write after poll does not block even where the
/// descriptor is not a non-blocking one; and it is about what a terminal gives at once.
const CAPACITY: usize = 4096;

/// What a poll waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Signals,
    Exit,
    Input,
    Master,
    Output,
}

pub(super) type Watch<'a> = (Source, BorrowedFd<'a>, PollFlags);

/// Waits until something happens at one of them.
pub(super) fn wait_for(watches: &[Watch<'_>]) -> Result<Vec<Source>> {
    let mut fds: Vec<_> = watches.iter().map(|(_, fd, events)| PollFd::new(*fd, *events)).collect();
    while let Err(errno) = poll(&mut fds, PollTimeout::NONE) {
        if errno != Errno::EINTR {
            return Err(errno).context("poll");
        }
    }
    // An answer that nix has no name for is one all the same.
    let happened = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
    Ok(watches.iter().zip(&fds).filter(|(_, fd)| happened(fd)).map(|(watch, _)| watch.0).collect())
}

/// Both directions, a buffer each. Only an empty buffer is read into, so neither side can flood the other.
pub(super) struct Relay {
    /// None once the terminal is hung up.
    pair: Option<Pair>,
    /// None after the end of the input.
    input: Option<Stream>,
    output: Stream,
    typed: Buffer,
    printed: Buffer,
}

struct Pair {
    master: OwnedFd,
    /// Held open, because a master without any peer reads as hung up: an init that is a service manager closes
    /// /dev/console and opens it again.
    peer: OwnedFd,
}

impl Relay {
    pub(super) fn new(master: OwnedFd) -> Result<Self> {
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK;
        fcntl(&master, FcntlArg::F_SETFL(flags)).context("make terminal of container non-blocking")?;
        let peer = tty::peer(master.as_fd()).context("open other end of terminal of container")?;
        Ok(Self {
            pair: Some(Pair { master, peer }),
            input: Some(Stream::new(STDIN, OFlag::O_RDONLY)),
            output: Stream::new(STDOUT, OFlag::O_WRONLY),
            typed: Buffer::new(),
            printed: Buffer::new(),
        })
    }

    pub(super) fn resize(&self, size: tty::Size) {
        if let Some(pair) = &self.pair {
            // A failure is no reason to end a container: it goes on at its former size.
            let _ = tty::set_size(pair.master.as_fd(), size);
        }
    }

    /// What to wait for before a [`handle`](Self::handle): only what can be acted on, for the rest may be ready for ever.
    pub(super) fn watches(&self) -> Vec<Watch<'_>> {
        let Some(pair) = &self.pair else { return Vec::new() };
        let mut watches = Vec::with_capacity(3);
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, self.printed.is_empty());
        events.set(PollFlags::POLLOUT, !self.typed.is_empty());
        if !events.is_empty() {
            watches.push((Source::Master, pair.master.as_fd(), events));
        }
        if let Some(input) = self.input.as_ref().filter(|_| self.typed.is_empty()) {
            watches.push((Source::Input, input.as_fd(), PollFlags::POLLIN));
        }
        watches.extend(self.watch_output());
        watches
    }

    /// The output, while there is something to write to it.
    pub(super) fn watch_output(&self) -> Option<Watch<'_>> {
        (!self.printed.is_empty()).then(|| (Source::Output, self.output.as_fd(), PollFlags::POLLOUT))
    }

    /// Moves what can be moved where something happened.
    pub(super) fn handle(&mut self, source: Source) {
        match source {
            Source::Input => self.take_input(),
            Source::Master => {
                self.give_input();
                self.take_output_or_revive();
            }
            Source::Output => self.give_output(),
            Source::Signals | Source::Exit => {}
        }
    }

    fn take_input(&mut self) {
        let Some(input) = &self.input else { return };
        if self.typed.fill(input.as_fd()) == Flow::End {
            self.end_of_input();
        }
        self.give_input();
    }

    /// Who reads lines inside learns of the end as from a person: by ^D, after an unfinished line twice.
    fn end_of_input(&mut self) {
        let was_terminal = self.input.take().is_some_and(|input| tty::mode(input.as_fd()).is_ok());
        let (false, Some(pair)) = (was_terminal, &self.pair) else { return };
        if let Ok(Some(end)) = tty::end_of_file(pair.master.as_fd()) {
            let unfinished = !matches!(self.typed.last, None | Some(b'\n'));
            self.typed.put(&[end, end][usize::from(!unfinished)..]);
        }
    }

    fn give_input(&mut self) {
        if let Some(pair) = &self.pair
            && self.typed.empty_into(pair.master.as_fd()) == Flow::End
        {
            self.typed.clear();
        }
    }

    /// Takes what the terminal has to print, if the last of it is written. False at the terminal's end.
    pub(super) fn take_output(&mut self) -> bool {
        match &self.pair {
            Some(pair) if self.printed.is_empty() => self.printed.fill(pair.master.as_fd()) != Flow::End,
            Some(_) => true,
            None => false,
        }
    }

    /// A login inside hangs up its terminal to be alone on it (vhangup(2)), ours too, and opens it anew.
    fn take_output_or_revive(&mut self) {
        if self.take_output() {
            return;
        }
        if let Some(pair) = &mut self.pair
            && let Ok(peer) = tty::peer(pair.master.as_fd())
        {
            pair.peer = peer;
        }
        if !self.take_output() {
            self.hang_up();
        }
    }

    fn give_output(&mut self) {
        // Nobody reads any more: as when a terminal's window is closed, programs inside see it hung up. To throw
        // their output away would leave them running for nobody.
        if self.printed.empty_into(self.output.as_fd()) == Flow::End {
            self.hang_up();
        }
    }

    fn hang_up(&mut self) {
        self.pair = None;
        self.printed.clear();
        self.typed.clear();
    }
}

/// A standard stream, where possible as an open file of our own that does not block.
struct Stream {
    inherited: BorrowedFd<'static>,
    own: Option<OwnedFd>,
}

impl Stream {
    fn new(inherited: BorrowedFd<'static>, access: OFlag) -> Self {
        Self { inherited, own: tty::without_blocking(inherited, access) }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.own.as_ref().map_or(self.inherited, AsFd::as_fd)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    /// End of file, or nobody at the other end.
    End,
}

struct Buffer {
    bytes: Box<[u8; CAPACITY]>,
    start: usize,
    end: usize,
    /// The byte that was put in last.
    last: Option<u8>,
}

impl Buffer {
    fn new() -> Self {
        Self { bytes: Box::new([0; CAPACITY]), start: 0, end: 0, last: None }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn clear(&mut self) {
        self.start = self.end;
    }

    /// Of an empty buffer; `bytes` are few.
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[..bytes.len()].copy_from_slice(bytes);
        self.filled(bytes.len());
    }

    fn filled(&mut self, count: usize) {
        (self.start, self.end) = (0, count);
        self.last = self.bytes[..count].last().copied().or(self.last);
    }

    /// One read into an empty buffer.
    fn fill(&mut self, from: BorrowedFd<'_>) -> Flow {
        match nix::unistd::read(from, &mut self.bytes[..]) {
            Ok(0) => Flow::End,
            Ok(count) => {
                self.filled(count);
                Flow::On
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Flow::On,
            Err(_) => Flow::End,
        }
    }

    /// One write of what is in it.
    fn empty_into(&mut self, to: BorrowedFd<'_>) -> Flow {
        if self.is_empty() {
            return Flow::On;
        }
        match nix::unistd::write(to, &self.bytes[self.start..self.end]) {
            Ok(count) => self.start += count,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => return Flow::End,
        }
        Flow::On
    }
}
