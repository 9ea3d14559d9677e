//! Sends records to journald or syslog as the datagrams that these read, without their libraries.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::Level;
use crate::error::{Context, Result};

/// How long a daemon that reads nothing is waited for, in seconds.
const PATIENCE: i64 = 10;
/// The journal's socket (systemd-journald(8), "Journal Native Protocol").
const JOURNAL: &str = "/run/systemd/journal/socket";
/// The syslog socket (syslog(3)).
const SYSLOG: &str = "/dev/log";
/// The facility LOG_USER, shifted as in the protocol.
const FACILITY: u8 = 1 << 3;

/// A connection to one of the two daemons.
pub(super) struct Daemon {
    socket: UnixDatagram,
    /// The identifier or tag of the records.
    name: String,
    journal: bool,
    /// Whether it has not read for so long that nothing more is sent.
    gone: AtomicBool,
}

impl Daemon {
    pub(super) fn journal(name: String) -> Result<Self> {
        connect(JOURNAL).context("open the log: connect to the journal").map(|socket| Self {
            socket,
            name,
            journal: true,
            gone: AtomicBool::new(false),
        })
    }

    pub(super) fn syslog(name: String) -> Result<Self> {
        connect(SYSLOG).context("open the log: connect to syslog").map(|socket| Self {
            socket,
            name,
            journal: false,
            gone: AtomicBool::new(false),
        })
    }

    pub(super) fn record(&self, level: Level, message: &str) {
        let datagram = match self.journal {
            true => journal(level, &self.name, message),
            false => syslog(level, &self.name, std::process::id(), message),
        };
        if self.gone.load(Ordering::Relaxed) {
            return;
        }
        if self.socket.send(&datagram).is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            self.gone.store(true, Ordering::Relaxed);
        }
    }
}

fn connect(path: &'static str) -> Result<UnixDatagram> {
    let socket = UnixDatagram::unbound().context("socket")?;
    // A daemon that stands still does not hold containers up.
    setsockopt(&socket, sockopt::SendTimeout, &TimeVal::seconds(PATIENCE)).context("socket")?;
    socket.connect(path).context(path)?;
    Ok(socket)
}

/// Returns syslog(3)'s number of a level.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warning => 4,
        Level::Info => 6,
        Level::Debug => 7,
    }
}

/// Makes a datagram in the journal's protocol: one field per line, and the message with its length, because
/// it may have several lines.
fn journal(level: Level, name: &str, message: &str) -> Vec<u8> {
    let mut datagram =
        format!("PRIORITY={}\nSYSLOG_IDENTIFIER={name}\nMESSAGE\n", priority(level)).into_bytes();
    datagram.extend((message.len() as u64).to_le_bytes());
    datagram.extend(message.as_bytes());
    datagram.push(b'\n');
    datagram
}

/// Makes a datagram for syslog: RFC 3164 as local programs send it, without the time, which the daemon adds.
fn syslog(level: Level, name: &str, pid: u32, message: &str) -> Vec<u8> {
    format!("<{}>{name}[{pid}]: {message}", FACILITY | priority(level)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_gets_fields_and_a_message_of_any_number_of_lines() {
        let expected = b"PRIORITY=3\nSYSLOG_IDENTIFIER=me\nMESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n";
        assert_eq!(journal(Level::Error, "me", "a\nb"), expected);
    }

    #[test]
    fn syslog_gets_facility_and_severity_in_one_number() {
        assert_eq!(syslog(Level::Error, "me", 7, "a b"), b"<11>me[7]: a b");
        assert_eq!(syslog(Level::Warning, "me", 7, "a b"), b"<12>me[7]: a b");
        assert_eq!(syslog(Level::Debug, "me", 7, "a b"), b"<15>me[7]: a b");
    }
}
