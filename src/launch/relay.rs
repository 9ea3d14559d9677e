//! Copies bytes between the caller's standard streams and the master of the container's terminal, without
//! blocking.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Context, Result};
use crate::sys::tty::{self, STDIN, STDOUT};

/// The size of a buffer in bytes: PIPE_BUF, so that a write to a pipe after poll(2) does not block even if
/// the descriptor is a blocking one. A read from a terminal returns about as much.
const CAPACITY: usize = 4096;

/// The sources of events that one poll waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventSource {
    Signals,
    Exit,
    Input,
    Master,
    Output,
}

/// A descriptor to wait for, and the events on it.
pub(super) type Watch<'a> = (EventSource, BorrowedFd<'a>, PollFlags);

/// Waits until there is an event at one of `watches`. Returns the sources that have one.
pub(super) fn wait_for(watches: &[Watch<'_>]) -> Result<Vec<EventSource>> {
    let mut fds: Vec<_> = watches.iter().map(|(_, fd, events)| PollFd::new(*fd, *events)).collect();
    while let Err(errno) = poll(&mut fds, PollTimeout::NONE) {
        if errno != Errno::EINTR {
            return Err(errno).context("poll");
        }
    }
    // Events that nix has no name for count too.
    let has_event = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
    Ok(watches.iter().zip(&fds).filter(|(_, fd)| has_event(fd)).map(|(watch, _)| watch.0).collect())
}

/// Enough for shells in shells. A program that prints what is typed must not keep us typing.
const MOST_ENDS: u8 = 16;

/// The copying in both directions, with one buffer each. A buffer is filled only when it is empty, so neither
/// side can flood the other.
pub(super) struct Relay {
    /// `None` once the terminal is hung up.
    pair: Option<Pair>,
    /// `None` after the end of the input.
    input: Option<Stream>,
    /// How often the end of the input may be typed again, once it has ended.
    ends_left: u8,
    output: Stream,
    typed: Buffer,
    printed: Buffer,
}

struct Pair {
    master: OwnedFd,
    /// Kept open, because a master without any peer reads as hung up: an init that is a service manager
    /// closes /dev/console and opens it again.
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
            ends_left: 0,
            output: Stream::new(STDOUT, OFlag::O_WRONLY),
            typed: Buffer::new(),
            printed: Buffer::new(),
        })
    }

    pub(super) fn resize(&self, size: tty::Size) {
        if let Some(pair) = &self.pair {
            // A failure is no reason to end a container: it goes on with its former size.
            let _ = tty::set_size(pair.master.as_fd(), size);
        }
    }

    /// Returns what to wait for before [`handle`](Self::handle): only events that can be handled now. Others
    /// could stay ready for ever and make the loop spin.
    pub(super) fn watches(&self) -> Vec<Watch<'_>> {
        let Some(pair) = &self.pair else { return Vec::new() };
        let mut watches = Vec::with_capacity(3);
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, self.printed.is_empty());
        events.set(PollFlags::POLLOUT, !self.typed.is_empty());
        if !events.is_empty() {
            watches.push((EventSource::Master, pair.master.as_fd(), events));
        }
        if let Some(input) = self.input.as_ref().filter(|_| self.typed.is_empty()) {
            watches.push((EventSource::Input, input.as_fd(), PollFlags::POLLIN));
        }
        watches.extend(self.watch_output());
        watches
    }

    /// Watches standard output while there is something to write to it.
    pub(super) fn watch_output(&self) -> Option<Watch<'_>> {
        (!self.printed.is_empty()).then(|| (EventSource::Output, self.output.as_fd(), PollFlags::POLLOUT))
    }

    /// Handles an event at `source`: moves the bytes that can be moved.
    pub(super) fn handle(&mut self, source: EventSource) {
        match source {
            EventSource::Input => self.read_stdin(),
            EventSource::Master => {
                self.write_master();
                self.read_master_or_reopen();
                self.repeat_end_of_input();
            }
            EventSource::Output => self.write_stdout(),
            EventSource::Signals | EventSource::Exit => {}
        }
    }

    fn read_stdin(&mut self) {
        let Some(input) = &self.input else { return };
        if self.typed.read_from(input.as_fd()) == Flow::End {
            self.end_of_input();
        }
        self.write_master();
    }

    /// Signals the end of the input to a program that reads lines, as a person would: by ^D, twice after an
    /// unfinished line.
    fn end_of_input(&mut self) {
        let was_terminal = self.input.take().is_some_and(|input| tty::mode(input.as_fd()).is_ok());
        let (false, Some(pair)) = (was_terminal, &self.pair) else { return };
        self.ends_left = MOST_ENDS;
        if let Ok(Some(end)) = tty::end_of_file(pair.master.as_fd()) {
            let unfinished = !matches!(self.typed.last, None | Some(b'\n'));
            self.typed.put(&[end, end][usize::from(!unfinished)..]);
        } else if let Ok(Some(end)) = tty::end_of_file_at_a_prompt(pair.master.as_fd()) {
            self.typed.put(&[end]);
        }
    }

    /// Types ^D again behind a prompt. A shell that edits its lines takes the terminal out of its reading by lines
    /// first, and what was typed before that means nothing to it: it would wait for ever.
    fn repeat_end_of_input(&mut self) {
        let Some(pair) = &self.pair else { return };
        if self.ends_left == 0 || self.printed.is_empty() || !self.typed.is_empty() {
            return;
        }
        if let Ok(Some(end)) = tty::end_of_file_at_a_prompt(pair.master.as_fd()) {
            self.ends_left -= 1;
            self.typed.put(&[end]);
            self.write_master();
        }
    }

    fn write_master(&mut self) {
        if let Some(pair) = &self.pair
            && self.typed.write_to(pair.master.as_fd()) == Flow::End
        {
            self.typed.clear();
        }
    }

    /// Reads what the terminal has to print, once the previous output is written. Returns false at the end of
    /// the terminal.
    pub(super) fn read_master(&mut self) -> bool {
        match &self.pair {
            Some(pair) if self.printed.is_empty() => self.printed.read_from(pair.master.as_fd()) != Flow::End,
            Some(_) => true,
            None => false,
        }
    }

    /// Reads output. After a hang-up, opens the peer anew: login(1) inside hangs up its terminal with
    /// vhangup(2), and so our peer, and opens it again.
    fn read_master_or_reopen(&mut self) {
        if self.read_master() {
            return;
        }
        if let Some(pair) = &mut self.pair
            && let Ok(peer) = tty::peer(pair.master.as_fd())
        {
            pair.peer = peer;
        }
        if !self.read_master() {
            self.hang_up();
        }
    }

    fn write_stdout(&mut self) {
        // Nobody reads our output any more: hang up, as a closed terminal window does. Otherwise programs
        // inside would go on running for nobody.
        if self.printed.write_to(self.output.as_fd()) == Flow::End {
            self.hang_up();
        }
    }

    fn hang_up(&mut self) {
        self.pair = None;
        self.printed.clear();
        self.typed.clear();
    }
}

/// A standard stream. If possible it is opened again, as a file of our own that does not block.
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

/// Whether a stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    /// End of file, or nobody is at the other end.
    End,
}

struct Buffer {
    bytes: Box<[u8; CAPACITY]>,
    start: usize,
    end: usize,
    /// The last byte of the buffer's content.
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

    /// Puts a few bytes into an empty buffer.
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[..bytes.len()].copy_from_slice(bytes);
        self.filled(bytes.len());
    }

    fn filled(&mut self, count: usize) {
        (self.start, self.end) = (0, count);
        self.last = self.bytes[..count].last().copied().or(self.last);
    }

    /// Reads once into an empty buffer.
    fn read_from(&mut self, from: BorrowedFd<'_>) -> Flow {
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

    /// Writes once from the buffer.
    fn write_to(&mut self, to: BorrowedFd<'_>) -> Flow {
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
