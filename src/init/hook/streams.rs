//! Makes the pipes of a hook's standard streams; our ends of them never block.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, read, write};

use crate::sys::uninterrupted;

/// How many bytes of the end of each output stream are kept.
const KEPT: usize = 4096;

/// The standard input of a hook: the rest of the state document that is still to be written.
pub(super) struct Input<'a> {
    pipe: OwnedFd,
    rest: &'a [u8],
    /// The hook's end, kept open here: otherwise a hook that does not read would cause us a SIGPIPE.
    reader: OwnedFd,
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Errno> {
        let (reader, pipe) = pipe2(OFlag::O_CLOEXEC)?;
        never_block(&pipe)?;
        Ok(Self { pipe, rest: bytes, reader })
    }

    /// Returns the hook's end.
    pub(super) fn theirs(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    pub(super) fn ours(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Writes as much as the pipe takes. Returns whether there is more to write; after a failed write there
    /// is not, because hooks need not read.
    pub(super) fn feed(&mut self) -> bool {
        match uninterrupted(|| write(&self.pipe, self.rest)) {
            Ok(written) => self.rest = &self.rest[written..],
            Err(Errno::EAGAIN) => {}
            Err(_) => return false,
        }
        !self.rest.is_empty()
    }
}

/// The end of one output stream of a hook: its last [`KEPT`] bytes.
pub(super) struct Tail {
    /// Our end; `None` after end of file.
    pipe: Option<OwnedFd>,
    bytes: Vec<u8>,
}

impl Tail {
    /// Makes the pipe. Returns our end and the hook's.
    pub(super) fn new() -> Result<(Self, OwnedFd), Errno> {
        let (pipe, writer) = pipe2(OFlag::O_CLOEXEC)?;
        never_block(&pipe)?;
        Ok((Self { pipe: Some(pipe), bytes: Vec::new() }, writer))
    }

    pub(super) fn ours(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads once.
    pub(super) fn fill(&mut self) -> Result<(), Errno> {
        let mut chunk = [0; 16384];
        let Some(pipe) = &self.pipe else { return Ok(()) };
        match uninterrupted(|| read(pipe, &mut chunk)) {
            Ok(0) => self.pipe = None,
            Ok(length) => self.keep(&chunk[..length]),
            Err(Errno::EAGAIN) => {}
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
