//! What the shim remembers of a container and of each of its processes, and what may be asked in which state.

pub(crate) mod container;
pub(crate) mod sandbox;
pub(crate) mod state;

use std::os::fd::OwnedFd;
use std::time::Instant;

use crate::shim::streams::open::Stdio;
use crate::shim::streams::unread::Held;
use crate::shim::wire::types::Timestamp;
use state::State;

/// Where the answer of a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) connection: u32,
    pub(crate) stream: u32,
}

/// A process that has ended, as the kernel told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) status: i32,
    pub(crate) at: Timestamp,
}

/// A process of a container: its first one, or one that was added.
pub(crate) struct Process {
    pub(crate) stdio: Stdio,
    pub(crate) state: State,
    /// 0 until the runtime has told it.
    pub(crate) pid: i32,
    /// What the kernel has told. containerd hears of it when `state` becomes `Stopped`.
    pub(crate) exit: Option<Exit>,
    /// Until when the streams may hold the news of the exit.
    pub(crate) told_by: Option<Instant>,
    pub(crate) waiters: Vec<Reply>,
    /// Copies that still run, by their numbers.
    pub(crate) outputs: Vec<u32>,
    pub(crate) input: Option<u32>,
    /// Where the input is to be written, until the process is started.
    pub(crate) input_end: Option<OwnedFd>,
    /// Whether the client has said that there is no more input.
    pub(crate) input_closed: bool,
    pub(crate) keeper: Option<OwnedFd>,
    pub(crate) held: Vec<Held>,
    pub(crate) console: Option<OwnedFd>,
    /// The terminal's other end, as long as the process lives: a master without any reads as hung up, and a service
    /// manager closes its terminal and opens it again.
    pub(crate) peer: Option<OwnedFd>,
    /// A call to delete that waits for the end of the streams, and until when.
    pub(crate) deleting: Option<(Reply, Instant)>,
    /// The process document of an added process that was not started yet.
    pub(crate) document: Vec<u8>,
}

impl Process {
    pub(crate) fn new(stdio: Stdio, state: State) -> Self {
        Self {
            stdio,
            state,
            pid: 0,
            exit: None,
            told_by: None,
            waiters: Vec::new(),
            outputs: Vec::new(),
            input: None,
            input_end: None,
            input_closed: false,
            keeper: None,
            held: Vec::new(),
            console: None,
            peer: None,
            deleting: None,
            document: Vec::new(),
        }
    }

    /// Whether it is there and has not ended.
    pub(crate) fn lives(&self) -> bool {
        self.pid > 0 && self.exit.is_none()
    }
}
