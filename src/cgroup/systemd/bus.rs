//! A D-Bus connection that blocks, has a deadline for every call, and starts no thread.
//!
//! zbus encodes and decodes the messages. Only their transport is ours: every existing client either starts
//! threads, which a program that clones must not have, or waits without a deadline.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};
use zbus::wire::serialized::{Context as Wire, Data};
use zbus::wire::{Endian, LE, to_bytes};
use zbus::{ObjectPath, Signature, Type, Variant};

use crate::error::{Context, Error, Kind, Result};
use crate::fail;

/// The largest message: far above what systemd sends.
const LARGEST: usize = 1 << 20;
const FIXED: usize = 16;
/// The most of a signal that is kept until it is waited for, and of how many: far above what systemd's jobs take.
const LARGEST_SIGNAL: usize = 4096;
const MOST_SIGNALS: usize = 4096;
const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// Header fields, by the specification's numbers.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;

/// The object and method to call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Method<'a> {
    /// Empty on a connection to systemd itself.
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub name: &'a str,
}

#[derive(Debug)]
pub(crate) struct Message {
    kind: u8,
    path: String,
    interface: String,
    member: String,
    sender: String,
    error: String,
    reply_to: u32,
    body: Vec<u8>,
    endian: Endian,
}

impl Message {
    /// Reads the contents as the types of the method's documentation.
    pub(crate) fn read<T: for<'d> serde::Deserialize<'d> + Type>(&self) -> Result<T> {
        let data = Data::new(&self.body[..], Wire::new(self.endian, 0));
        let read = data.deserialize::<T>().map(|(value, _)| value);
        read.map_err(|error| fail!(Kind::System(Errno::EBADMSG), "read a D-Bus message: {error}"))
    }
}

/// The kind of an answer. The error's name decides what to do about it.
#[derive(Debug)]
pub(crate) enum Reply {
    Return(Message),
    Error { name: String, text: String },
}

impl Reply {
    pub(crate) fn or_error(self) -> Result<Message> {
        match self {
            Self::Return(message) => Ok(message),
            Self::Error { name, text } => Err(error_from_reply(&name, &text)),
        }
    }
}

/// Makes an error of the other side's text, with the name of the error if that says more.
pub(crate) fn error_from_reply(name: &str, text: &str) -> Error {
    let short = name.rsplit('.').next().unwrap_or(name);
    let kind = if short == "AccessDenied" { Kind::Denied } else { Kind::System(Errno::EIO) };
    fail!(kind, "{} ({short})", text.trim_end_matches('.'))
}

#[derive(Debug)]
pub(crate) struct Bus {
    stream: UnixStream,
    end: Instant,
    serial: u32,
    /// Signals that arrived during the wait for an answer, if they are of `awaited`.
    signals: std::collections::VecDeque<Message>,
    awaited: Option<Method<'static>>,
    /// Who has answered: the name that the bus gave to the owner of a method's destination.
    owner: String,
    /// Whether there is a bus between us and the other side.
    routed: bool,
}

impl Bus {
    /// Connects and authenticates. `routed`: the other end is a message bus, and not the program itself.
    pub(crate) fn connect(path: &Path, routed: bool, time: Duration) -> Result<Self> {
        let end = Instant::now() + time;
        let at = || format!("connect to {}", path.display());
        let stream = open(path, end).with_context(at)?;
        let mut bus = Self {
            stream,
            end,
            serial: 0,
            signals: Default::default(),
            awaited: None,
            owner: String::new(),
            routed,
        };
        bus.authenticate().with_context(at)?;
        if routed {
            let hello = Method {
                destination: "org.freedesktop.DBus",
                path: "/org/freedesktop/DBus",
                interface: "org.freedesktop.DBus",
                name: "Hello",
            };
            bus.call(hello, &()).and_then(Reply::or_error).with_context(at)?;
        }
        Ok(bus)
    }

    pub(crate) fn is_routed(&self) -> bool {
        self.routed
    }

    /// Sets a new deadline, from now on.
    pub(crate) fn set_deadline(&mut self, time: Duration) {
        self.end = Instant::now() + time;
    }

    /// Authenticates without naming a user: the kernel tells who we are, even from a user namespace.
    fn authenticate(&mut self) -> Result<()> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        let mut text = Vec::new();
        // One byte at a time: the bytes after the last line belong to the messages.
        while !text.ends_with(b"\r\n") || !text.starts_with(b"DATA") || lines(&text) < 2 {
            if text.starts_with(b"REJECTED") || text.starts_with(b"ERROR") || text.len() > 4096 {
                break;
            }
            let mut byte = [0];
            self.receive(&mut byte)?;
            text.push(byte[0]);
        }
        let text = String::from_utf8_lossy(&text);
        match text.lines().nth(1) {
            Some(line) if line.starts_with("OK") => Ok(()),
            _ => Err(fail!(Kind::Denied, "the D-Bus does not let us in: {:?}", text.trim())),
        }
    }

    /// Calls a method and waits for the answer.
    pub(crate) fn call<B: Serialize + Type>(&mut self, method: Method<'_>, body: &B) -> Result<Reply> {
        let serial = self.write(method, body).with_context(|| format!("call {} over D-Bus", method.name))?;
        loop {
            let message = self.next().with_context(|| format!("wait for the answer to {}", method.name))?;
            match message.kind {
                SIGNAL => self.keep(message),
                METHOD_RETURN if message.reply_to == serial => {
                    if self.awaited.is_some_and(|awaited| awaited.destination == method.destination) {
                        self.owner.clone_from(&message.sender);
                    }
                    return Ok(Reply::Return(message));
                }
                ERROR if message.reply_to == serial => {
                    let text = message.read::<String>().unwrap_or_default();
                    return Ok(Reply::Error { name: message.error, text });
                }
                _ => {}
            }
        }
    }

    /// Names the one signal that [`signal`](Self::signal) waits for, as a method of who sends it.
    pub(crate) fn await_signal(&mut self, signal: Method<'static>) {
        self.awaited = Some(signal);
    }

    /// Keeps a signal until it is waited for. Everybody on a bus may send any to us, and without end.
    fn keep(&mut self, message: Message) {
        if self.is_awaited(&message)
            && message.body.len() <= LARGEST_SIGNAL
            && self.signals.len() < MOST_SIGNALS
        {
            self.signals.push_back(message);
        }
    }

    /// Waits for the next signal that was named.
    pub(crate) fn signal(&mut self) -> Result<Message> {
        loop {
            let message = match self.signals.pop_front() {
                Some(message) => message,
                None => self.next()?,
            };
            if self.is_awaited(&message) {
                return Ok(message);
            }
        }
    }

    /// Whether it is the signal that was named, and of who answers us: a bus hands on to us also what anybody sends
    /// to us alone, whatever we have asked for.
    fn is_awaited(&self, message: &Message) -> bool {
        let Some(signal) = self.awaited.filter(|_| message.kind == SIGNAL) else { return false };
        let named = (&*message.path, &*message.interface, &*message.member);
        let theirs = !self.routed || self.owner.is_empty() || message.sender == self.owner;
        theirs && named == (signal.path, signal.interface, signal.name)
    }

    fn write<B: Serialize + Type>(&mut self, method: Method<'_>, body: &B) -> Result<u32> {
        self.serial += 1;
        let encode =
            |error: zbus::Error| fail!(Kind::Spec, "put {} into a D-Bus message: {error}", method.name);
        let body_ = to_bytes(Wire::new(LE, 0), body).map_err(encode)?;
        let path = ObjectPath::try_from(method.path).map_err(encode)?;
        let text = |text| Field::Plain(Variant::from(text));
        let mut fields = vec![
            (PATH, Field::Plain(Variant::ObjectPath(path))),
            (INTERFACE, text(method.interface)),
            (MEMBER, text(method.name)),
        ];
        if self.routed {
            fields.push((DESTINATION, text(method.destination)));
        }
        if *B::SIGNATURE != Signature::Unit {
            fields.push((SIGNATURE, Field::Body(B::SIGNATURE)));
        }
        let length = u32::try_from(body_.len()).unwrap_or(u32::MAX);
        let header = (b'l', METHOD_CALL, 0_u8, 1_u8, length, self.serial, fields);
        let mut bytes = to_bytes(Wire::new(LE, 0), &header).map_err(encode)?.bytes().to_vec();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend_from_slice(&body_);
        self.send(&bytes)?;
        Ok(self.serial)
    }

    fn next(&mut self) -> Result<Message> {
        // Who sends without end lets us never wait for him.
        if Instant::now() >= self.end {
            return Err(late());
        }
        let mut bytes = vec![0; FIXED];
        self.receive(&mut bytes)?;
        let endian = match bytes[0] {
            b'l' => Endian::Little,
            b'B' => Endian::Big,
            other => return Err(broken(format_args!("byte order {other}"))),
        };
        let number = |at: usize| -> usize {
            let word = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
            let number = if bytes[0] == b'l' { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) };
            number as usize
        };
        let (body, fields) = (number(4), number(12));
        if body > LARGEST || fields > LARGEST {
            return Err(broken(format_args!("{} bytes", body.saturating_add(fields))));
        }
        let kind = bytes[1];
        let header = (FIXED + fields).next_multiple_of(8);
        bytes.resize(header + body, 0);
        self.receive(&mut bytes[FIXED..])?;
        let mut message = Message {
            kind,
            path: String::new(),
            interface: String::new(),
            member: String::new(),
            sender: String::new(),
            error: String::new(),
            reply_to: 0,
            body: bytes.split_off(header),
            endian,
        };
        read_header_fields(&bytes, endian, &mut message)?;
        Ok(message)
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) => self.wait_ready(&error, PollFlags::POLLOUT)?,
            }
        }
        Ok(())
    }

    fn receive(&mut self, mut into: &mut [u8]) -> Result<()> {
        while !into.is_empty() {
            match self.stream.read(into) {
                Ok(0) => {
                    return Err(fail!(
                        Kind::System(Errno::ECONNRESET),
                        "the D-Bus has closed the connection"
                    ));
                }
                Ok(count) => into = &mut into[count..],
                Err(error) => self.wait_ready(&error, PollFlags::POLLIN)?,
            }
        }
        Ok(())
    }

    /// Waits for the socket, which does not block, until the deadline.
    fn wait_ready(&self, error: &std::io::Error, events: PollFlags) -> Result<()> {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EINTR) => Ok(()),
            Some(Errno::EAGAIN) => wait(&self.stream, events, self.end),
            Some(errno) => Err(errno.into()),
            None => Err(fail!(Kind::System(Errno::EIO), "{error}")),
        }
    }
}

/// A header field. The signature of the contents is a tuple's, and is written without its parentheses.
enum Field<'a> {
    Plain(Variant<'a>),
    Body(&'a Signature),
}

impl Type for Field<'_> {
    const SIGNATURE: &'static Signature = Variant::SIGNATURE;
}

impl Serialize for Field<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Plain(value) => value.serialize(serializer),
            Self::Body(signature) => {
                let mut variant = serializer.serialize_struct("Variant", 2)?;
                variant.serialize_field("signature", &Signature::Signature)?;
                variant.serialize_field("value", &signature.to_string_no_parens())?;
                variant.end()
            }
        }
    }
}

fn lines(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte == b'\n').count()
}

fn broken(what: std::fmt::Arguments<'_>) -> Error {
    fail!(Kind::System(Errno::EBADMSG), "not a D-Bus message: {what}")
}

fn read_header_fields(header: &[u8], endian: Endian, message: &mut Message) -> Result<()> {
    let data = Data::new(&header[12..], Wire::new(endian, 12));
    let (fields, _): (Vec<(u8, Variant<'_>)>, _) =
        data.deserialize().map_err(|error| broken(format_args!("{error}")))?;
    for (field, value) in fields {
        match (field, value) {
            (PATH, Variant::ObjectPath(path)) => message.path = path.as_str().to_owned(),
            (INTERFACE, Variant::Str(name)) => message.interface = name.as_str().to_owned(),
            (MEMBER, Variant::Str(name)) => message.member = name.as_str().to_owned(),
            (SENDER, Variant::Str(name)) => message.sender = name.as_str().to_owned(),
            (ERROR_NAME, Variant::Str(name)) => message.error = name.as_str().to_owned(),
            (REPLY_SERIAL, Variant::U32(serial)) => message.reply_to = serial,
            _ => {}
        }
    }
    Ok(())
}

fn open(path: &Path, end: Instant) -> Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let address = UnixAddr::new(path)?;
    loop {
        match connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &address) {
            Ok(()) => return Ok(UnixStream::from(socket)),
            // The other side has more callers than it accepts at once.
            Err(Errno::EAGAIN | Errno::EINTR) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn late() -> Error {
    fail!(Kind::System(Errno::ETIMEDOUT), "no answer in time")
}

fn wait(stream: &UnixStream, events: PollFlags, end: Instant) -> Result<()> {
    let left = end.checked_duration_since(Instant::now()).ok_or_else(late)?;
    let left = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(stream.as_fd(), events)], left) {
        Ok(0) => Err(late()),
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
