//! The one place where the shim waits: epoll(7).

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// What a descriptor is for. It is the number that the kernel hands back with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Listener,
    Signals,
    Publisher,
    Connection(u32),
    Copy(u32),
    /// A logger says that it is ready.
    Ready(u32),
    /// A memory event of a container.
    Memory(u32),
}

impl Token {
    fn number(self) -> u64 {
        let (kind, id) = match self {
            Self::Listener => (0, 0),
            Self::Signals => (1, 0),
            Self::Publisher => (2, 0),
            Self::Connection(id) => (3, id),
            Self::Copy(id) => (4, id),
            Self::Ready(id) => (5, id),
            Self::Memory(id) => (6, id),
        };
        kind << 32 | u64::from(id)
    }

    fn from_number(number: u64) -> Self {
        let id = number as u32;
        match number >> 32 {
            0 => Self::Listener,
            1 => Self::Signals,
            2 => Self::Publisher,
            3 => Self::Connection(id),
            4 => Self::Copy(id),
            5 => Self::Ready(id),
            _ => Self::Memory(id),
        }
    }
}

fn connection_flags(room: bool) -> EpollFlags {
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
    if room { flags | EpollFlags::EPOLLOUT } else { flags }
}

pub(crate) struct Poller(Epoll);

impl Poller {
    pub(crate) fn new() -> Result<Self, Errno> {
        Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map(Self)
    }

    /// Tells of a descriptor whenever it can be read or written anew: who is told has to go on until EAGAIN.
    pub(crate) fn watch(&self, fd: impl AsFd, token: Token) -> Result<(), Errno> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        self.0.add(fd, EpollEvent::new(flags, token.number()))
    }

    /// Tells of a connection whenever it can be read anew.
    pub(crate) fn watch_connection(&self, fd: impl AsFd, token: Token) -> Result<(), Errno> {
        self.0.add(fd, EpollEvent::new(connection_flags(false), token.number()))
    }

    /// Tells of a connection that is watched also when it can be written, or no longer.
    pub(crate) fn watch_room(&self, fd: impl AsFd, token: Token, room: bool) -> Result<(), Errno> {
        self.0.modify(fd, &mut EpollEvent::new(connection_flags(room), token.number()))
    }

    /// Tells of a descriptor as long as it can be read.
    pub(crate) fn watch_input(&self, fd: impl AsFd, token: Token) -> Result<(), Errno> {
        self.0.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token.number()))
    }

    /// Tells of a file of the kernel's whenever it has changed, or of an event descriptor.
    pub(crate) fn watch_priority(&self, fd: impl AsFd, token: Token) -> Result<(), Errno> {
        let flags = EpollFlags::EPOLLPRI | EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        self.0.add(fd, EpollEvent::new(flags, token.number()))
    }

    pub(crate) fn forget(&self, fd: impl AsFd) {
        let _ = self.0.delete(fd);
    }

    /// Waits for at most `timeout` milliseconds (without end where it is `None`), and returns what has happened.
    pub(crate) fn wait(&self, timeout: Option<u64>) -> Result<Vec<Token>, Errno> {
        let mut events = [EpollEvent::empty(); 32];
        let timeout = match timeout {
            None => EpollTimeout::NONE,
            Some(most) => EpollTimeout::try_from(most.min(i32::MAX as u64)).unwrap_or(EpollTimeout::ZERO),
        };
        match self.0.wait(&mut events, timeout) {
            Ok(count) => Ok(events[..count].iter().map(|event| Token::from_number(event.data())).collect()),
            Err(Errno::EINTR) => Ok(Vec::new()),
            Err(errno) => Err(errno),
        }
    }
}
