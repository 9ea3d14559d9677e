//! A connection with ttrpc on it: bytes come and go as far as the socket takes them; frames come out.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use crate::shim::wire::frame::{self, Frame, Next};

/// A client that takes no answers is hung up on when this many bytes wait for it.
const MOST_WAITING: usize = 16 << 20;
/// The most that one turn reads: who sends without end neither holds the others nor fills the memory.
const TURN: usize = 64 << 10;

/// What the other side has sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Frame(Frame),
    /// A frame above the limit, whose data is passed over.
    TooLong {
        stream: u32,
        length: usize,
    },
}

pub(crate) struct Connection {
    socket: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Bytes of a frame above the limit that are still to come.
    skip: usize,
    broken: bool,
    /// Whether the kernel is asked to tell when there is room.
    awaits_room: bool,
    /// Whether there may be more to read, of which the kernel has told already.
    more: bool,
}

impl Connection {
    /// Takes a connected socket.
    pub(crate) fn new(socket: UnixStream) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        let (input, output) = (Vec::new(), Vec::new());
        Ok(Self { socket, input, output, skip: 0, broken: false, awaits_room: false, more: false })
    }

    pub(crate) fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Whether the other side is gone, or has to go.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether everything that was to be sent has been taken by the kernel.
    pub(crate) fn is_flushed(&self) -> bool {
        self.output.is_empty()
    }

    /// Whether the kernel is to tell from now on when there is room, or no longer; `None` if that is as it was. Asked to
    /// tell always, it would wake us whenever the other side has taken an answer. Asked anew, it tells also of what was
    /// left to read.
    pub(crate) fn room_asked(&mut self) -> Option<bool> {
        let waits = !self.output.is_empty();
        let changed = std::mem::replace(&mut self.awaits_room, waits) != waits;
        (std::mem::take(&mut self.more) || changed).then_some(waits)
    }

    /// Reads what has come, a turn's worth of it, and returns what is whole.
    pub(crate) fn receive(&mut self) -> Vec<Received> {
        let mut received = Vec::new();
        let mut piece = [0; 4096];
        let mut taken = 0;
        loop {
            if taken >= TURN {
                self.more = true;
                break;
            }
            match self.socket.read(&mut piece) {
                Ok(0) => {
                    self.broken = true;
                    break;
                }
                Ok(count) => {
                    taken += count;
                    self.take(&piece[..count]);
                    self.frames(&mut received);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.broken = true;
                    break;
                }
            }
        }
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        received
    }

    fn take(&mut self, piece: &[u8]) {
        let skipped = self.skip.min(piece.len());
        self.skip -= skipped;
        self.input.extend_from_slice(&piece[skipped..]);
    }

    fn frames(&mut self, received: &mut Vec<Received>) {
        loop {
            match frame::take(&mut self.input) {
                Next::Incomplete => return,
                Next::Frame(frame) => received.push(Received::Frame(frame)),
                Next::TooLong { stream, length } => {
                    received.push(Received::TooLong { stream, length });
                    let here = length.min(self.input.len());
                    self.input.drain(..here);
                    self.skip = length - here;
                }
            }
        }
    }

    /// Sends a frame, as far as the socket takes it now.
    pub(crate) fn send(&mut self, stream: u32, kind: u8, data: &[u8]) {
        frame::write(&mut self.output, stream, kind, data);
        self.flush();
        if self.output.len() > MOST_WAITING {
            self.broken = true;
        }
    }

    /// Goes on sending.
    pub(crate) fn flush(&mut self) {
        let mut sent = 0;
        while sent < self.output.len() {
            match self.socket.write(&self.output[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.broken = true;
                    break;
                }
            }
        }
        self.output.drain(..sent);
        if self.output.is_empty() {
            self.output = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_without_end_is_read_a_turn_at_a_time() {
        let (mut client, ours) = UnixStream::pair().expect("a pair");
        client.set_nonblocking(true).expect("a client that does not wait");
        let mut call = Vec::new();
        frame::write(&mut call, 1, frame::REQUEST, &[7; 990]);
        let mut sent = 0;
        while let Ok(count) = client.write(&call[sent % call.len()..]) {
            sent += count;
        }
        let mut connection = Connection::new(ours).expect("a connection");
        let mut frames = 0;
        while frames < sent / call.len() {
            let turn = connection.receive().len();
            assert!(
                turn > 0 && turn <= (TURN + 4096) / call.len(),
                "{turn} frames in one turn, of {sent} bytes"
            );
            frames += turn;
            if frames < sent / call.len() {
                assert_eq!(connection.room_asked(), Some(false), "the kernel tells of the rest");
            }
        }
        assert!(sent > TURN + 4096, "{sent}: too few to tell");
        connection.receive();
        connection.room_asked();
        assert_eq!((connection.receive().len(), connection.room_asked()), (0, None), "nothing is left");
    }
}
