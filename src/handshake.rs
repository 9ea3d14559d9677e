//! The words that the two halves exchange, over one SEQPACKET pair: a byte, a pid, or a report of fixed size. No
//! allocation, no serde.
//!
//! ```text
//!   parent (launch)                              child (init), perhaps through a helper
//!   ───────────────────────────────────────────────────────────────────────────────────
//!                         <── Map ───            only a helper that made the user namespace
//!   writes the id maps
//!                         ─── Go ──>             ids are mapped; it is in a cgroup that it has no way into
//!                         <── Born ───           only a helper: the pid, and its pidfd attached
//!                         ─── Go ──>             only with network devices: they are there
//!                         <── MapIds ───         only with id-mapped binds of what the rootfs has by then: the mount
//!   maps its ids
//!                         ─── Go ──>
//!                         <── AtHooks ───        only with prestart or createRuntime hooks
//!   runs the hooks
//!                         ─── Go ──>
//!                         <── Listener ───       only with calls that notify: the filter is loaded
//!   takes it to the agent
//!                         ─── Go ──>
//!                         <── Ready ───          everything is set up, the program is found; or where nobody else is
//!                                                told of it before the start: all but the process itself is
//!   writes the record
//!                         ─── Created ──>        wait on the exec fifo
//!                      or ─── Start ──>          `run`: execute at once
//!                         <── Failed ───         at any time instead: the report, then exit
//! ```
//! End of file means the other half is gone: to the child that it must not go on; to the parent, after `Start`, that
//! execve succeeded (the socket is close-on-exec), and before it that the child was killed.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};

use crate::sys::socket::{receive_fd, send_fd};

/// Bytes of text in a report: enough for the kernel's own words, or the end of what a hook wrote.
pub const TEXT: usize = 480;
const SIZE: usize = 12 + TEXT;

/// The steps, listed once: the enum, and the table that reads one back from its number.
macro_rules! steps {
    ($($step:ident),+ $(,)?) => {
        /// What a failing step was part of; the parent finds the words and the JSON pointer in its plan.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Step {
            $($step),+
        }

        const ALL: &[Step] = &[$(Step::$step),+];
    };
}

steps! {
    Arrive,
    ControlGroup,
    Join,
    UserNamespace,
    TimeOffsets,
    Clone,
    Keyring,
    Loopback,
    CgroupNamespace,
    Rootfs,
    Mount,
    Device,
    Link,
    CreateContainerHook,
    Pivot,
    Console,
    ReadOnly,
    Hostname,
    Domainname,
    Sysctl,
    ReadOnlyPath,
    MaskedPath,
    Limit,
    Affinity,
    Scheduler,
    IoPriority,
    MemoryPolicy,
    Personality,
    NoNewPrivileges,
    Label,
    Seccomp,
    WorkingDirectory,
    Groups,
    User,
    Capabilities,
    FindProgram,
    Handshake,
    ExecFifo,
    StartContainerHook,
    Execute,
    Panic,
}

impl Step {
    fn from_u8(value: u8) -> Option<Self> {
        ALL.get(usize::from(value)).copied()
    }
}

/// Why the child could not go on: numbers, and at most one line that the kernel or a hook said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    pub step: Step,
    /// Which one: an index in the plan's list that the step walks; for `Join` and `Limit` that of the configuration;
    /// for `Capabilities` the capability's number; for `User` 0 is the uid and 1 the gid.
    pub item: u16,
    /// 0 where the text says it all.
    pub errno: i32,
    text: [u8; TEXT],
    length: u16,
}

impl Report {
    /// `text` is the failing call's name, or a sentence when there is no errno.
    pub fn new(step: Step, item: usize, errno: Errno, text: &str) -> Self {
        let mut report = Self { step, item: item as u16, errno: errno as i32, text: [0; TEXT], length: 0 };
        report.add(text);
        report
    }

    /// A sentence alone.
    pub fn sentence(step: Step, item: usize, text: &str) -> Self {
        Self::new(step, item, Errno::from_raw(0), text)
    }

    /// Adds what fits.
    pub fn add(&mut self, text: &str) {
        let used = usize::from(self.length);
        let mut room = &mut self.text[used..];
        let before = room.len();
        let _ = room.write(text.as_bytes());
        self.length += (before - room.len()) as u16;
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text[..usize::from(self.length)]).into_owned()
    }

    fn encode(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[0] = Tag::Failed as u8;
        bytes[1] = self.step as u8;
        bytes[2..4].copy_from_slice(&self.item.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.errno.to_ne_bytes());
        bytes[8..10].copy_from_slice(&self.length.to_ne_bytes());
        bytes[12..].copy_from_slice(&self.text);
        bytes
    }

    fn decode(bytes: &[u8; SIZE]) -> Option<Self> {
        let mut text = [0; TEXT];
        text.copy_from_slice(&bytes[12..]);
        let length = u16::from_ne_bytes([bytes[8], bytes[9]]).min(TEXT as u16);
        Some(Self {
            step: Step::from_u8(bytes[1])?,
            item: u16::from_ne_bytes([bytes[2], bytes[3]]),
            errno: i32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            text,
            length,
        })
    }
}

/// Names the step and the item that a failed call belongs to.
pub trait At<T> {
    fn at(self, step: Step, item: usize, call: &str) -> Result<T, Report>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: Step, item: usize, call: &str) -> Result<T, Report> {
        self.map_err(|errno| Report::new(step, item, errno, call))
    }
}

#[repr(u8)]
enum Tag {
    Map = 1,
    Go,
    Born,
    AtHooks,
    Ready,
    Created,
    Start,
    Failed,
    Listener,
    MapIds,
}

// The report is the size of its message; a box would be an allocation.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Word {
    Map,
    Go,
    Born(i32, OwnedFd),
    AtHooks,
    Ready,
    Created,
    Start,
    Failed(Report),
    /// The number of its seccomp listener, for the agent.
    Listener(i32),
    /// The number of a mount in the plan, and the mount, which only the parent may map.
    MapIds(i32, OwnedFd),
    /// The other half is gone.
    End,
}

fn with_number(tag: Tag, number: i32) -> [u8; 8] {
    let mut bytes = [tag as u8, 0, 0, 0, 0, 0, 0, 0];
    bytes[4..].copy_from_slice(&number.to_ne_bytes());
    bytes
}

/// One end of the pair.
#[derive(Debug)]
pub struct Line(OwnedFd);

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Both ends; each half drops the one that is not its own.
pub fn pair() -> Result<(Line, Line), Errno> {
    let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((Line(a), Line(b)))
}

impl Line {
    fn say(&self, bytes: &[u8]) -> Result<(), Errno> {
        send(self.0.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL).map(drop)
    }

    pub fn map(&self) -> Result<(), Errno> {
        self.say(&[Tag::Map as u8])
    }

    pub fn go(&self) -> Result<(), Errno> {
        self.say(&[Tag::Go as u8])
    }

    pub fn born(&self, pid: i32, pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
        send_fd(self.0.as_fd(), &with_number(Tag::Born, pid), pidfd).map(drop)
    }

    pub fn map_ids(&self, mount: i32, tree: BorrowedFd<'_>) -> Result<(), Errno> {
        send_fd(self.0.as_fd(), &with_number(Tag::MapIds, mount), tree).map(drop)
    }

    pub fn at_hooks(&self) -> Result<(), Errno> {
        self.say(&[Tag::AtHooks as u8])
    }

    pub fn ready(&self) -> Result<(), Errno> {
        self.say(&[Tag::Ready as u8])
    }

    pub fn created(&self) -> Result<(), Errno> {
        self.say(&[Tag::Created as u8])
    }

    pub fn start(&self) -> Result<(), Errno> {
        self.say(&[Tag::Start as u8])
    }

    pub fn failed(&self, report: &Report) -> Result<(), Errno> {
        self.say(&report.encode())
    }

    /// By write(2) alone: every other call may have to wait for the agent, who has not got the listener yet.
    pub fn listener(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        nix::unistd::write(&self.0, &with_number(Tag::Listener, fd.as_raw_fd())).map(drop)
    }

    /// Waits for the next word; EPROTO for one that is none.
    pub fn hear(&self) -> Result<Word, Errno> {
        let mut bytes = [0; SIZE];
        let (length, fd) = match receive_fd(self.0.as_fd(), &mut bytes) {
            // The other half has ended with a word of ours unread; what it had said itself is still there.
            Err(Errno::ECONNRESET) => receive_fd(self.0.as_fd(), &mut bytes)?,
            other => other?,
        };
        let known = |tag: Tag| bytes[0] == tag as u8;
        let number = i32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        Ok(match (length, fd) {
            (0, _) => Word::End,
            (_, Some(fd)) if known(Tag::Born) => Word::Born(number, fd),
            (_, Some(fd)) if known(Tag::MapIds) => Word::MapIds(number, fd),
            (_, None) if known(Tag::Listener) => Word::Listener(number),
            (SIZE, _) if known(Tag::Failed) => Word::Failed(Report::decode(&bytes).ok_or(Errno::EPROTO)?),
            _ if known(Tag::Map) => Word::Map,
            _ if known(Tag::Go) => Word::Go,
            _ if known(Tag::AtHooks) => Word::AtHooks,
            _ if known(Tag::Ready) => Word::Ready,
            _ if known(Tag::Created) => Word::Created,
            _ if known(Tag::Start) => Word::Start,
            _ => return Err(Errno::EPROTO),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_arrives_as_it_was_sent() {
        let (a, b) = pair().unwrap();
        let mut report = Report::new(Step::Mount, 7, Errno::EPERM, "move_mount");
        report.add(&"x".repeat(TEXT));
        a.failed(&report).unwrap();
        let Word::Failed(heard) = b.hear().unwrap() else { panic!("another word") };
        assert_eq!(heard, report);
        assert!(heard.text().starts_with("move_mountxxx") && heard.text().len() == TEXT);
    }

    #[test]
    fn a_report_arrives_from_one_who_ended_without_listening() {
        let (a, b) = pair().unwrap();
        b.start().unwrap();
        a.failed(&Report::sentence(Step::FindProgram, 0, "no")).unwrap();
        drop(a);
        assert!(matches!(b.hear().unwrap(), Word::Failed(report) if report.text() == "no"));
        assert!(matches!(b.hear().unwrap(), Word::End));
    }

    #[test]
    fn an_end_is_told_from_a_word() {
        let (a, b) = pair().unwrap();
        a.go().unwrap();
        drop(a);
        assert!(matches!(b.hear().unwrap(), Word::Go));
        assert!(matches!(b.hear().unwrap(), Word::End));
    }
}
