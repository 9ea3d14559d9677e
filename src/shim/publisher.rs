//! Publishes events to containerd, one after the other, in order. While containerd is away they are kept.

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use prost::Message;

use super::connection::{Connection, Received};
use super::publish_command::PublishCommand;
use super::wire::events::{Envelope, ForwardRequest};
use super::wire::frame;
use super::wire::rpc::{Request, Response};
use crate::sys::socket::connect_now;

/// The most events that are kept. The oldest go first.
const MOST: usize = 2048;
/// How long containerd may take for an event. To send it again too early would be to tell it twice.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often containerd may refuse an event before it is given up.
const TRIES: u32 = 5;
/// The longest pause between two attempts to reach containerd.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

pub(crate) struct Publisher {
    /// containerd's ttrpc socket; empty if it was not told.
    address: String,
    /// What is used without it.
    command: Option<PublishCommand>,
    queue: VecDeque<Envelope>,
    connection: Option<Connection>,
    stream: u32,
    /// Until when the answer for the first of the queue may come, where it has been sent.
    sent: Option<Instant>,
    refused: u32,
    failures: u32,
    retry: Option<Instant>,
    lost: u64,
}

/// What the loop has to do after a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    /// There is a new socket to be watched.
    Connected,
}

impl Publisher {
    pub(crate) fn new(address: String, command: Option<PublishCommand>) -> Self {
        Self {
            command: command.filter(|_| address.is_empty()),
            address,
            queue: VecDeque::new(),
            connection: None,
            stream: 1,
            sent: None,
            refused: 0,
            failures: 0,
            retry: None,
            lost: 0,
        }
    }

    pub(crate) fn socket(&self) -> Option<&UnixStream> {
        self.connection.as_ref().map(Connection::socket)
    }

    pub(crate) fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut()
    }

    /// Whether every event has been taken.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() || (self.address.is_empty() && self.command.is_none())
    }

    /// Whether containerd has an event, and has not answered yet.
    pub(crate) fn is_heard(&self) -> bool {
        self.sent.is_some()
    }

    /// Adds an event. Returns how many were lost in all where the queue was full.
    pub(crate) fn add(&mut self, event: Envelope) -> Option<u64> {
        let full = self.queue.len() >= MOST;
        if full {
            // The first one may be on its way.
            let oldest = usize::from(self.sent.is_some());
            self.queue.remove(oldest);
            self.lost += 1;
        }
        self.queue.push_back(event);
        full.then_some(self.lost)
    }

    /// When `turn` has to be called though nothing came.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.is_idle() {
            return None;
        }
        self.sent.or(self.retry)
    }

    /// Reads answers, connects, sends the next event.
    pub(crate) fn turn(&mut self, now: Instant) -> Change {
        if self.command.is_some() {
            self.command_turn(now);
            return Change::Nothing;
        }
        self.receive();
        if self.sent.is_some_and(|until| until <= now) {
            self.hang_up(now);
        }
        if self.is_idle() || self.sent.is_some() || self.retry.is_some_and(|at| at > now) {
            return Change::Nothing;
        }
        let mut change = Change::Nothing;
        if self.connection.is_none() {
            // containerd may stand still, with no room for a further caller: every container of the shim would wait for it.
            let connected = connect_now(Path::new(self.path())).map_err(std::io::Error::from);
            match connected.and_then(Connection::new) {
                Ok(connection) => {
                    self.connection = Some(connection);
                    self.stream = 1;
                    change = Change::Connected;
                }
                Err(_) => self.hang_up(now),
            }
        }
        self.send(now);
        change
    }

    /// The same by containerd's program.
    fn command_turn(&mut self, now: Instant) {
        let Some(command) = &mut self.command else { return };
        if self.sent.is_some_and(|until| until <= now) {
            command.kill();
            self.sent = Some(now + PATIENCE);
        }
        if self.sent.is_some() || self.retry.is_some_and(|at| at > now) {
            return;
        }
        let Some(event) = self.queue.front() else { return };
        match command.start(event) {
            Ok(()) => (self.sent, self.retry) = (Some(now + PATIENCE), None),
            Err(error) => {
                crate::log::plain(format_args!("{error}"));
                self.hang_up(now);
            }
        }
    }

    /// A process has ended. Returns whether it was one that published; then the next turn is due.
    pub(crate) fn process_ended(&mut self, pid: i32, status: i32) -> bool {
        if !self.command.as_mut().is_some_and(|command| command.ended(pid)) {
            return false;
        }
        self.sent = None;
        if status == 0 {
            self.failures = 0;
            self.queue.pop_front();
        } else {
            self.hang_up(Instant::now());
        }
        true
    }

    fn path(&self) -> &str {
        self.address.strip_prefix("unix://").unwrap_or(&self.address)
    }

    fn send(&mut self, now: Instant) {
        let (Some(connection), Some(event)) = (&mut self.connection, self.queue.front()) else { return };
        let request = Request {
            service: "containerd.services.events.ttrpc.v1.Events".to_owned(),
            method: "Forward".to_owned(),
            payload: ForwardRequest { envelope: Some(event.clone()) }.encode_to_vec(),
            timeout_nano: PATIENCE.as_nanos() as i64,
            metadata: Vec::new(),
        };
        connection.send(self.stream, frame::REQUEST, &request.encode_to_vec());
        self.retry = None;
        self.sent = Some(now + PATIENCE);
        if connection.is_broken() {
            self.hang_up(now);
        }
    }

    fn receive(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        connection.flush();
        let received = connection.receive();
        let broken = connection.is_broken();
        for one in received {
            if let Received::Frame(frame) = one
                && frame.stream == self.stream
                && frame.kind == frame::RESPONSE
                && self.sent.is_some()
            {
                self.answered(&frame.data);
            }
        }
        if broken {
            self.hang_up(Instant::now());
        }
    }

    /// An event that containerd refuses is offered again, but not for ever: others wait behind it.
    fn answered(&mut self, data: &[u8]) {
        self.sent = None;
        self.stream += 2;
        self.failures = 0;
        let refused = Response::decode(data)
            .is_ok_and(|response| response.status.is_some_and(|status| status.code != 0));
        self.refused = if refused { self.refused + 1 } else { 0 };
        if !refused || self.refused >= TRIES {
            self.refused = 0;
            self.queue.pop_front();
        }
    }

    /// Without a connection: the event that was on its way is sent again. containerd may have taken it; an event twice is
    /// better than none, and a client tells it by its time.
    fn hang_up(&mut self, now: Instant) {
        self.connection = None;
        self.sent = None;
        if self.queue.is_empty() {
            self.retry = None;
            return;
        }
        let pause = Duration::from_millis(100) * 2_u32.pow(self.failures.min(10));
        self.failures += 1;
        self.retry = Some(now + pause.min(LONGEST_PAUSE));
    }
}
