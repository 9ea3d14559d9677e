//! The loop: waits, and hands each event on.

use std::fs::File;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::poller::{Poller, Token};
use super::shim::Shim;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::shim::bootstrap::address;
use crate::shim::command_line::CommandLine;
use crate::shim::connection::{Connection, Received};
use crate::shim::process::Reply;
use crate::shim::process::container::Container;
use crate::shim::publish_command::PublishCommand;
use crate::shim::publisher::Publisher;
use crate::shim::runtime::command::null;
use crate::shim::wire::rpc::{Code, Failure};
use crate::sys::signal::{Signals, keep_exit_statuses};

/// How long a shim stays that nobody calls and that has no container, or only such as have ended and lost their bundles.
/// containerd was killed between two steps then, or has given the shim up.
const ALONE: Duration = Duration::from_secs(30);
/// How long the last events may take after containerd has asked for the end, and it does not listen.
const FAREWELL: Duration = Duration::from_secs(3);
/// And where it listens: it has an event, and has not said yet that it took it. A machine can be that busy.
const LAST_ANSWER: Duration = Duration::from_secs(30);
/// More clients than containerd and all who look after a shim by hand.
const MOST_CONNECTIONS: usize = 128;

/// Serves until containerd asks for the end.
pub(crate) fn run(line: CommandLine) -> Result<()> {
    open_log();
    let (listener, called) = listener(&line.socket)?;
    nix::sys::prctl::set_child_subreaper(true).context("becoming a subreaper")?;
    keep_exit_statuses().context("setting signals")?;
    let mut signals = Signals::divert().context("diverting signals")?;
    let poller = Poller::new().context("making the epoll")?;
    poller.watch_input(&listener, Token::Listener).context("watching the socket")?;
    poller.watch_input(&signals, Token::Signals).context("watching signals")?;
    let address = std::env::var("TTRPC_ADDRESS").unwrap_or_default();
    let publisher = Publisher::new(address, PublishCommand::new(line.publish_binary, line.address));
    let mut shim = Shim::new(line.namespace, PathBuf::from(line.socket), poller, publisher);
    shim.called = Some(called);
    while !shim.is_over() {
        let timeout = shim.timeout();
        for token in shim.poller.wait(timeout).context("waiting for events")? {
            match token {
                Token::Listener => shim.accept(&listener),
                Token::Signals => shim.signals(&mut signals),
                other => shim.event(other),
            }
        }
        shim.run_eager();
        shim.check_deadlines(Instant::now());
        shim.watch_room();
    }
    Ok(())
}

/// containerd reads the fifo `log` in the bundle, and writes what comes to its own log. Without a reader nothing is told.
fn open_log() {
    use std::os::unix::fs::OpenOptionsExt;
    let fifo = std::fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open("log");
    if let Ok(fifo) = fifo {
        let _ = nix::unistd::dup2_stderr(&fifo);
    }
}

/// Makes the socket, and tells `start` so, which waits at the other end of descriptor 3 and keeps others from the name: a
/// socket has a name only while a process lives that will remove it. Returns the descriptor as well: the other end waits
/// for the first call, too.
fn listener(path: &str) -> Result<(UnixListener, File)> {
    let started = crate::sys::file::take_inherited(3).map_err(|_| {
        fail!(Kind::Usage, "descriptor 3 is not open: containerd calls this program with `start`")
    })?;
    let listener = address::bind(std::path::Path::new(path))?;
    listener.set_nonblocking(true).context("setting up the socket")?;
    // Where `start` has been killed, nobody calls: we end in half a minute.
    let mut started = File::from(started);
    let _ = started.write_all(&[1]);
    Ok((listener, started))
}

impl Shim {
    fn is_over(&self) -> bool {
        let flushed =
            self.connections.values().all(|connection| connection.is_flushed() || connection.is_broken());
        self.ending.is_some_and(|_| self.publisher.is_idle() && flushed)
            || self.last_moment().is_some_and(|until| until <= Instant::now())
    }

    /// When the shim goes, whatever was not told.
    fn last_moment(&self) -> Option<Instant> {
        let more = if self.publisher.is_heard() { LAST_ANSWER } else { Duration::ZERO };
        self.ending.map(|until| until + more)
    }

    /// Milliseconds until something is due.
    fn timeout(&self) -> Option<u64> {
        if !self.eager.is_empty() {
            return Some(0);
        }
        let alone = self.alone_since.map(|since| since + ALONE);
        let due = [
            alone,
            self.last_moment(),
            self.publisher.deadline(),
            self.jobs_deadline(),
            self.exits_deadline(),
            self.loggers.deadline(),
        ];
        let next = due.into_iter().flatten().min()?;
        // One more than it takes: rounded down it would be a turn for nothing.
        Some(next.saturating_duration_since(Instant::now()).as_millis() as u64 + 1)
    }

    fn check_deadlines(&mut self, now: Instant) {
        self.drop_broken(now);
        if self.publisher.deadline().is_some_and(|at| at <= now) {
            self.publish_turn();
        }
        if self.jobs_deadline().is_some_and(|at| at <= now) {
            self.jobs_overdue(now);
        }
        if self.loggers.deadline().is_some_and(|at| at <= now) {
            self.loggers_overdue(now);
        }
        if self.exits_deadline().is_some_and(|at| at <= now) {
            self.settle_all();
        }
        if self.alone_since.is_some_and(|since| since + ALONE <= now) {
            self.left_alone(now);
        }
    }

    /// Nobody has called for long. What has ended waits for who asks for its status, but not without its bundle.
    fn left_alone(&mut self, now: Instant) {
        if self.containers.values().all(|container| matches!(container.bundle.try_exists(), Ok(false))) {
            self.end();
        } else {
            self.alone_since = Some(now);
        }
    }

    /// Ends when the last events and answers are gone.
    pub(super) fn end(&mut self) {
        if self.ending.is_none() {
            self.ending = Some(Instant::now() + FAREWELL);
            // At once: who starts a container of this pod now gets a new shim.
            self.leave_socket();
        }
    }

    /// Gives up the socket's name, once: whoever is started for the same pod afterwards has a socket of that name.
    pub(super) fn leave_socket(&mut self) {
        if let Some(socket) = self.socket.take() {
            let _ = std::fs::remove_file(socket);
        }
    }

    /// Who comes when there are too many is hung up on: every connection is a descriptor, and without one left nothing
    /// more could be done for any container.
    fn accept(&mut self, listener: &UnixListener) {
        while let Some(socket) = self.next_client(listener) {
            if self.connections.len() >= MOST_CONNECTIONS {
                continue;
            }
            let Ok(connection) = Connection::new(socket) else { continue };
            let number = self.number();
            if self.poller.watch_connection(connection.socket(), Token::Connection(number)).is_ok() {
                self.connections.insert(number, connection);
                self.alone_since = None;
            }
        }
    }

    /// Without a descriptor left the client would wait in the queue, and the kernel tell of it without end: one that is
    /// kept for this hangs up on him.
    fn next_client(&mut self, listener: &UnixListener) -> Option<UnixStream> {
        match listener.accept() {
            Ok((socket, _)) => return Some(socket),
            Err(error) if !matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => return None,
            Err(_) => {}
        }
        self.spare.take()?;
        drop(listener.accept());
        self.spare = null().ok();
        None
    }

    fn signals(&mut self, signals: &mut Signals) {
        while let Ok(Some(signal)) = signals.read() {
            match signal {
                libc::SIGCHLD => self.reap(),
                libc::SIGTERM | libc::SIGINT => self.end(),
                _ => {}
            }
        }
    }

    fn event(&mut self, token: Token) {
        match token {
            Token::Publisher => self.publish_turn(),
            Token::Connection(number) => self.receive(number),
            Token::Copy(number) => self.copy_turn(number),
            Token::Ready(number) => self.logger_ready(number),
            Token::Memory(number) => self.memory_event(number),
            Token::Listener | Token::Signals => {}
        }
    }

    /// Has the kernel tell of room where an answer or an event could not be sent whole.
    fn watch_room(&mut self) {
        let clients = self.connections.iter_mut();
        let clients = clients.map(|(&number, connection)| (Token::Connection(number), connection));
        let publisher = self.publisher.connection().map(|connection| (Token::Publisher, connection));
        for (token, connection) in clients.chain(publisher) {
            if let Some(room) = connection.room_asked() {
                let _ = self.poller.watch_room(connection.socket(), token, room);
            }
        }
    }

    fn receive(&mut self, number: u32) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.flush();
        for received in connection.receive() {
            self.alone_since = None;
            if let Some(mut called) = self.called.take() {
                let _ = called.write_all(&[1]);
            }
            match received {
                Received::Frame(frame) => self.dispatch(number, &frame),
                Received::TooLong { stream, length } => {
                    let text = format!("message length {length} exceed maximum message size of 4194304");
                    let reply = Reply { connection: number, stream };
                    self.answer(reply, Err(Failure::new(Code::ResourceExhausted, text)));
                }
            }
        }
    }

    /// Forgets connections that are gone, and who waited there. Without what lives time runs, until somebody calls.
    fn drop_broken(&mut self, now: Instant) {
        let before = self.connections.len();
        self.connections.retain(|_, connection| !connection.is_broken());
        if before != self.connections.len() {
            self.forget_waiters();
        }
        // Whoever is connected: containerd 1.6 stays so with a shim that it was killed before it gave a task, containerd 2.1
        // with one that it has given up as it did not answer. Neither asks it to end.
        let alone = self.containers.values().all(Container::has_ended);
        self.alone_since = if alone { Some(self.alone_since.unwrap_or(now)) } else { None };
    }

    fn forget_waiters(&mut self) {
        let connections = &self.connections;
        for container in self.containers.values_mut() {
            let added = container.added.values_mut();
            for process in added.chain(std::iter::once(&mut container.first)) {
                process.waiters.retain(|waiter| connections.contains_key(&waiter.connection));
            }
        }
    }
}
