//! The standard streams of a hook, as pipes that never block us.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, read, write};

/// How much of the end of each output stream is kept, in bytes.
const KEPT: usize = 4096;

/// The state, on its way to the hook.
pub(super) struct Input<'a> {
    pipe: OwnedFd,
    rest: &'a [u8],
    /// Held so that a hook that does not read costs us no SIGPIPE: whoever runs us may have it at its default.
    reader: OwnedFd,
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Errno> {
        let (reader, pipe) = pipe2(OFlag::O_CLOEXEC)?;
        never_block(&pipe)?;
        Ok(Self { pipe, rest: bytes, reader })
    }

    /// What the hook reads from.
    pub(super) fn theirs(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    pub(super) fn ours(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Whether there is more to write. A failure is none: hooks need not read.
    pub(super) fn feed(&mut self) -> bool {
        match write(&self.pipe, self.rest) {
            Ok(written) => self.rest = &self.rest[written..],
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => return false,
        }
        !self.rest.is_empty()
    }
}

/// The end of what a hook writes.
pub(super) struct Tail {
    /// None once every other end is closed.
    pipe: Option<OwnedFd>,
    bytes: Vec<u8>,
}

impl Tail {
    /// And what the hook writes to.
    pub(super) fn new() -> Result<(Self, OwnedFd), Errno> {
        let (pipe, writer) = pipe2(OFlag::O_CLOEXEC)?;
        never_block(&pipe)?;
        Ok((Self { pipe: Some(pipe), bytes: Vec::new() }, writer))
    }

    pub(super) fn ours(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads what there is, once.
    pub(super) fn fill(&mut self) -> Result<(), Errno> {
        let mut chunk = [0; 16384];
        let Some(pipe) = &self.pipe else { return Ok(()) };
        match read(pipe, &mut chunk) {
            Ok(0) => self.pipe = None,
            Ok(length) => self.keep(&chunk[..length]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    fn keep(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        self.bytes.drain(..self.bytes.len().saturating_sub(KEPT));
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

fn never_block(fd: &OwnedFd) -> Result<(), Errno> {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop)
}
