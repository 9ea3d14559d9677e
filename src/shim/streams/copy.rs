//! Copies one stream to another as far as neither waits: by splice(2) between pipes, otherwise through a small buffer.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{SpliceFFlags, splice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{read, write};

use super::unread::{Full, Held};

/// The most that one turn moves, so that a process that writes without end does not hold the others.
const TURN: usize = 1 << 20;
const PIECE: usize = 64 << 10;

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// One of the two sides has to move first.
    Waiting,
    /// There is more: this copy wants another turn.
    More,
    /// The source has ended, or the destination takes nothing more.
    Ended,
}

/// What becomes of data that the destination refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnError {
    /// It is lost, and the next is tried: a process does not stop because a disk was full for a moment.
    GoOn,
    /// Nobody will ever read: the copy ends, and the source is closed.
    End,
}

/// A source and a destination, neither of which blocks.
pub(crate) struct Copy {
    from: OwnedFd,
    to: OwnedFd,
    /// Whether both are pipes.
    splices: bool,
    on_error: OnError,
    /// What was read and not yet written. Only what is no pipe has it.
    pending: Vec<u8>,
    /// Whether the destination takes nothing any more, and the source is emptied all the same.
    discards: bool,
    /// Our reader of the destination, where that is a client's fifo.
    held: Option<Held>,
    /// Whether the destination is a terminal, which is told the end of its input by a character.
    to_terminal: bool,
}

impl Copy {
    pub(crate) fn new(from: OwnedFd, to: OwnedFd, on_error: OnError) -> Self {
        let splices = is_pipe(from.as_fd()) && is_pipe(to.as_fd());
        Self {
            from,
            to,
            splices,
            on_error,
            pending: Vec::new(),
            discards: false,
            held: None,
            to_terminal: false,
        }
    }

    /// A copy to a fifo that we read as well.
    pub(crate) fn holding(self, reader: Option<OwnedFd>) -> Self {
        Self { held: reader.map(Held::new), ..self }
    }

    /// Our reader of the fifo, for the time after the copy.
    pub(crate) fn take_held(&mut self) -> Option<Held> {
        let mut held = self.held.take()?;
        held.again(self.to.as_fd());
        Some(held)
    }

    /// A copy whose destination is a terminal.
    pub(crate) fn to_terminal(from: OwnedFd, to: OwnedFd) -> Self {
        Self { to_terminal: true, ..Self::new(from, to, OnError::End) }
    }

    pub(crate) fn from(&self) -> BorrowedFd<'_> {
        self.from.as_fd()
    }

    pub(crate) fn to(&self) -> BorrowedFd<'_> {
        self.to.as_fd()
    }

    /// Moves what can be moved now.
    pub(crate) fn turn(&mut self) -> Turn {
        let mut moved = 0;
        if let Some(held) = &mut self.held {
            held.again(self.to.as_fd());
        }
        while moved < TURN {
            let step = if self.splices && !self.discards { self.splice() } else { self.carry() };
            match step {
                Ok(0) => return self.ended(),
                Ok(count) => moved += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => match self.waits() {
                    None => return Turn::Waiting,
                    Some(0) => return self.ended(),
                    Some(lost) => moved += lost,
                },
                Err(_) => return Turn::Ended,
            }
        }
        Turn::More
    }

    /// Whether the source holds nothing that could still be moved. A destination that takes nothing for now is no
    /// reason to say so.
    pub(crate) fn is_drained(&self) -> bool {
        let mut source = [PollFd::new(self.from.as_fd(), PollFlags::POLLIN)];
        let readable = poll(&mut source, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
            && source[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN));
        self.pending.is_empty() && !readable
    }

    fn splice(&mut self) -> Result<usize, Errno> {
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        match splice(&self.from, None, &self.to, None, PIECE, flags) {
            Err(errno) if errno != Errno::EAGAIN && errno != Errno::EINTR => self.refused(errno),
            other => other,
        }
    }

    /// Whether the copy has to wait. Where nobody reads and the fifo is full, it does not: a piece is lost.
    fn waits(&mut self) -> Option<usize> {
        match self.held.as_mut()?.has_taken_nothing(self.to.as_fd()) {
            Full::Wait => None,
            Full::Again => Some(1),
            Full::Unread if !self.pending.is_empty() => Some(std::mem::take(&mut self.pending).len()),
            Full::Unread => match read(&self.from, &mut [0; 4096]) {
                Ok(count) => Some(count),
                Err(Errno::EIO) => Some(0),
                Err(_) => None,
            },
        }
    }

    /// The destination is gone. Then the source is emptied, so that the process goes on, or closed.
    fn refused(&mut self, errno: Errno) -> Result<usize, Errno> {
        if self.on_error == OnError::End {
            return Err(errno);
        }
        self.discards = true;
        self.pending.clear();
        self.carry()
    }

    /// Reads a piece and writes it; what is left over comes first the next time.
    fn carry(&mut self) -> Result<usize, Errno> {
        if !self.pending.is_empty() {
            return self.write_pending();
        }
        let mut piece = [0; 4096];
        let count = match read(&self.from, &mut piece) {
            // The other side of a terminal is closed.
            Err(Errno::EIO) => 0,
            other => other?,
        };
        if count == 0 || self.discards {
            return Ok(count);
        }
        match write(&self.to, &piece[..count]) {
            Ok(written) if written == count => Ok(count),
            Ok(written) => self.keep(&piece[written..count]),
            Err(Errno::EAGAIN | Errno::EINTR) => self.keep(&piece[..count]),
            Err(errno) => self.failed(errno, count),
        }
    }

    fn keep(&mut self, rest: &[u8]) -> Result<usize, Errno> {
        self.pending = rest.to_vec();
        Err(Errno::EAGAIN)
    }

    fn write_pending(&mut self) -> Result<usize, Errno> {
        match write(&self.to, &self.pending) {
            Ok(written) => {
                self.pending.drain(..written);
                if self.pending.is_empty() {
                    self.pending = Vec::new();
                }
                Ok(written)
            }
            Err(errno @ (Errno::EAGAIN | Errno::EINTR)) => Err(errno),
            Err(errno) => {
                let lost = self.pending.len();
                self.pending = Vec::new();
                self.failed(errno, lost)
            }
        }
    }

    /// A file may take the next piece again; a pipe without a reader never does.
    fn failed(&mut self, errno: Errno, lost: usize) -> Result<usize, Errno> {
        match self.on_error {
            OnError::End => Err(errno),
            OnError::GoOn => Ok(lost),
        }
    }

    fn ended(&mut self) -> Turn {
        if self.to_terminal
            && let Ok(Some(end)) = crate::sys::tty::end_of_file(self.to.as_fd())
        {
            let _ = write(&self.to, &[end]);
        }
        Turn::Ended
    }
}

fn is_pipe(fd: BorrowedFd<'_>) -> bool {
    nix::sys::stat::fstat(fd).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFIFO)
}

/// A file as a destination: the kernel appends.
pub(crate) fn append_to(path: &str) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(dir) = std::path::Path::new(path).parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}
