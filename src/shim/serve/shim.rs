//! Everything that the shim knows, and the few things that all its parts do with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::time::Instant;

use super::job::Job;
use super::logger::Loggers;
use super::poller::{Poller, Token};
use crate::shim::connection::Connection;
use crate::shim::events::Event;
use crate::shim::group::{Hierarchies, MemoryEvents};
use crate::shim::process::container::Container;
use crate::shim::process::sandbox::Sandbox;
use crate::shim::process::{Exit, Reply};
use crate::shim::publisher::{Change, Publisher};
use crate::shim::runtime::command::null;
use crate::shim::runtime::sealed::SealedProgram;
use crate::shim::streams::copy::Copy;
use crate::shim::wire::frame;
use crate::shim::wire::rpc::{Code, Failure, answer};

/// A copy that runs, and the process that it belongs to.
pub(super) struct Running {
    pub(super) copy: Copy,
    pub(super) container: String,
    pub(super) exec: String,
}

/// A container whose memory is watched.
pub(super) struct Watched {
    pub(super) events: MemoryEvents,
    pub(super) container: String,
}

pub(super) struct Shim {
    pub(super) namespace: String,
    /// As long as it has its name.
    pub(super) socket: Option<PathBuf>,
    pub(super) poller: Poller,
    pub(super) publisher: Publisher,
    pub(super) connections: BTreeMap<u32, Connection>,
    pub(super) containers: BTreeMap<String, Container>,
    pub(super) sealed: SealedProgram,
    /// Where the first call is told: until then, the rest of `start` would remove the socket after us.
    pub(super) called: Option<File>,
    /// Commands of the runtime that run now, by their pids.
    pub(super) jobs: BTreeMap<i32, Job>,
    pub(super) copies: BTreeMap<u32, Running>,
    /// Copies that want another turn at once.
    pub(super) eager: Vec<u32>,
    /// Processes that ended before the runtime had told their pids.
    pub(super) early: Vec<(i32, Exit)>,
    pub(super) loggers: Loggers,
    pub(super) memory: BTreeMap<u32, Watched>,
    pub(super) hierarchies: Option<Hierarchies>,
    /// The pod, where the shim has made it itself.
    pub(super) sandbox: Option<Sandbox>,
    /// Since when nobody has been connected and there is no container.
    pub(super) alone_since: Option<Instant>,
    /// Whether containerd has asked for the end.
    pub(super) ending: Option<Instant>,
    /// A descriptor that is closed when there is none left, to hang up on a client.
    pub(super) spare: Option<File>,
    last_number: u32,
}

impl Shim {
    pub(super) fn new(namespace: String, socket: PathBuf, poller: Poller, publisher: Publisher) -> Self {
        Self {
            namespace,
            socket: Some(socket),
            poller,
            publisher,
            connections: BTreeMap::new(),
            containers: BTreeMap::new(),
            sealed: SealedProgram::default(),
            called: None,
            jobs: BTreeMap::new(),
            copies: BTreeMap::new(),
            eager: Vec::new(),
            early: Vec::new(),
            loggers: Loggers::default(),
            memory: BTreeMap::new(),
            hierarchies: None,
            sandbox: None,
            alone_since: Some(Instant::now()),
            ending: None,
            spare: null().ok(),
            last_number: 0,
        }
    }

    /// A number that nothing else of this shim has.
    pub(super) fn number(&mut self) -> u32 {
        self.last_number = self.last_number.wrapping_add(1);
        self.last_number
    }

    /// Answers a call. Who has hung up gets nothing.
    pub(super) fn answer(&mut self, reply: Reply, result: Result<Vec<u8>, Failure>) {
        let mut bytes = answer(result);
        if bytes.len() > frame::MOST {
            bytes = answer(Err(Failure::new(Code::ResourceExhausted, "the answer is longer than 4 MiB")));
        }
        if let Some(connection) = self.connections.get_mut(&reply.connection) {
            connection.send(reply.stream, frame::RESPONSE, &bytes);
        }
    }

    /// Tells containerd of an event.
    pub(super) fn publish(&mut self, event: &impl Event) {
        // A pod is no task of containerd's.
        if self.is_sandbox(event.container()) {
            return;
        }
        let envelope = event.envelope(&self.namespace);
        if let Some(lost) = self.publisher.add(envelope) {
            crate::log::plain(format_args!("containerd has not taken events for long: {lost} were lost"));
        }
        self.publish_turn();
    }

    pub(super) fn publish_turn(&mut self) {
        if self.publisher.turn(Instant::now()) == Change::Connected
            && let Some(socket) = self.publisher.socket()
        {
            let _ = self.poller.watch_connection(socket, Token::Publisher);
        }
    }

    pub(super) fn container(&self, id: &str) -> Result<&Container, Failure> {
        self.containers.get(id).ok_or_else(not_created)
    }

    pub(super) fn container_mut(&mut self, id: &str) -> Result<&mut Container, Failure> {
        self.containers.get_mut(id).ok_or_else(not_created)
    }
}

pub(super) fn not_created() -> Failure {
    Failure::new(Code::NotFound, "container not created")
}
