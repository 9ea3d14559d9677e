//! What other processes send: the container's, until it has executed its program, and CRIU.

use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{MsgFlags, send};

use crate::handshake;
use crate::launch::criu::wire::Fields;

/// A message of any bytes is understood or refused; the parent waits for no more.
pub(super) fn handshake(input: &[u8]) {
    let (parent, child) = handshake::socket_pair().unwrap();
    if input.is_empty() || send(child.as_fd().as_raw_fd(), input, MsgFlags::MSG_DONTWAIT).is_err() {
        return;
    }
    drop(child);
    if let Ok(handshake::Message::Failed(report)) = parent.recv() {
        assert!(report.text().len() <= 3 * handshake::report::MAX_TEXT, "{report:?}");
    }
}

/// A message is looked into as deep as CRIU's answers go.
pub(super) fn criu(input: &[u8]) {
    let message = Fields::new(input);
    for field in 0..20 {
        let _ = message.number(field);
        let inner = message.message(field);
        assert!(message.bytes(field).len() <= input.len());
        for field in 0..8 {
            let _ = (inner.number(field), inner.bytes(field));
        }
    }
}
