//! A fifo of a client, and whether anybody but us reads it.
//!
//! We hold a reader, so that what is in the fifo waits for who attaches anew. Then the kernel does not tell that everybody
//! else has gone. So our reader is closed while the fifo is full: its content stays, as we have its writer, and a writer
//! without a reader is in error, which also epoll tells.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

/// What waits in a fifo for a client that comes back: what the kernel allows everybody.
const ROOM: i32 = 1 << 20;

/// Our reader of a fifo.
pub(crate) struct Held {
    reader: Option<OwnedFd>,
    widened: bool,
}

/// What is to be done about a fifo that has taken nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// To wait: there is room, or somebody reads, and the kernel tells when he goes.
    Wait,
    /// To try again: there is more room now.
    Again,
    /// Nobody reads. To wait would stop the process for good.
    Unread,
}

impl Held {
    pub(super) fn new(reader: OwnedFd) -> Self {
        Self { reader: Some(reader), widened: false }
    }

    /// Holds the fifo again, if it was let go while it was full.
    pub(super) fn again(&mut self, writer: BorrowedFd<'_>) {
        if self.reader.is_none() {
            let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
            let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            self.reader = open(path.as_str(), flags, Mode::empty()).ok();
        }
    }

    pub(super) fn has_taken_nothing(&mut self, writer: BorrowedFd<'_>) -> Full {
        if events(writer).contains(PollFlags::POLLOUT) {
            return Full::Wait;
        }
        self.reader = None;
        if !events(writer).contains(PollFlags::POLLERR) {
            return Full::Wait;
        }
        self.again(writer);
        if !std::mem::replace(&mut self.widened, true) && fcntl(writer, FcntlArg::F_SETPIPE_SZ(ROOM)).is_ok()
        {
            return Full::Again;
        }
        Full::Unread
    }
}

fn events(fd: BorrowedFd<'_>) -> PollFlags {
    let mut polled = [PollFd::new(fd, PollFlags::POLLOUT)];
    let _ = poll(&mut polled, PollTimeout::ZERO);
    polled[0].revents().unwrap_or(PollFlags::empty())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::errno::Errno;
    use nix::unistd::{mkfifo, read, write};

    use super::*;

    fn open_fifo(path: &std::path::Path, access: OFlag) -> OwnedFd {
        open(path, access | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty()).expect("opening a fifo")
    }

    fn fill(writer: &OwnedFd) -> usize {
        let mut all = 0;
        loop {
            match write(writer, &[b'x'; 4096]) {
                Ok(count) => all += count,
                Err(Errno::EAGAIN) => return all,
                Err(errno) => panic!("writing: {errno}"),
            }
        }
    }

    #[test]
    fn a_full_fifo_is_waited_for_only_while_somebody_reads() {
        let dir = nix::unistd::mkdtemp("/tmp/tare-unread-XXXXXX").expect("a directory");
        let path = dir.join("fifo");
        mkfifo(&path, Mode::S_IRWXU).expect("a fifo");
        let mut held = Held::new(open_fifo(&path, OFlag::O_RDONLY));
        let writer = open_fifo(&path, OFlag::O_WRONLY);
        let client = open_fifo(&path, OFlag::O_RDONLY);
        let first = fill(&writer);
        assert_eq!(held.has_taken_nothing(writer.as_fd()), Full::Wait);
        drop(client);
        held.again(writer.as_fd());
        assert_eq!(held.has_taken_nothing(writer.as_fd()), Full::Again);
        let more = fill(&writer);
        assert_eq!(held.has_taken_nothing(writer.as_fd()), Full::Unread);
        let late = open_fifo(&path, OFlag::O_RDONLY);
        assert_eq!(held.has_taken_nothing(writer.as_fd()), Full::Wait);
        let mut got = 0;
        while let Ok(count @ 1..) = read(&late, &mut [0; 65536]) {
            got += count;
        }
        assert_eq!(got, first + more, "nothing of what was in it is lost");
        std::fs::remove_dir_all(dir).expect("removing the directory");
    }
}
