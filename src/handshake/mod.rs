//! The messages that the two halves of a start exchange over one SEQPACKET socket pair: the runtime
//! (`launch`, the parent) and the new process (`init`, the child). A message is a byte, a number, or a report
//! of fixed size: nothing is allocated and nothing parsed.
//!
//! ```text
//!   parent (launch)                                     child (init), or the helper that goes before it
//!   ────────────────────────────────────────────────────────────────────────────────────────────────────
//!   moves it into its cgroup, writes the id maps
//!              ── Placed ──────────────>                only where `Waits::placed`
//!              <────────────────────── MapIds ──        only a helper that made the user namespace
//!   writes the id maps
//!              ── IdsMapped ───────────>
//!              <───────────── InitPid + pidfd ──        only a helper: it cloned the process, and exits
//!   resctrl, network devices
//!              ── ResourcesAssigned ───>                only where `Waits::resources_assigned`
//!              <────────── MapMount + mount ──          for each id-mapped bind of what is inside the rootfs
//!   maps its ids
//!              ── MountMapped ─────────>
//!              <────────────── CloneAnew ──             for each source in which a mount namespace is pinned
//!   clones it from a copy of the mounts, without
//!              ── ClonedAnew + mount ──>
//!              <──────────────────── RunHooks ──        only with prestart or createRuntime hooks
//!   runs the hooks
//!              ── HooksDone ───────────>
//!              <──────────────────── Listener ──        only if the seccomp filter that it loaded notifies
//!   hands the listener to the agent
//!              ── ListenerTaken ───────>
//!              <─────────────────────── Ready ──        all is set up; `Waits::ready` says how much of it
//!   writes the record
//!              ── Created ─────────────>                `create`: wait on the exec fifo
//!           or ── Start ───────────────>                `run` and `exec`: execute at once
//!              <────────────────────── Failed ──        at any time instead: the report. The child exits
//! ```
//!
//! `plan::waits` decides who waits for what. End of file means that the other half is gone: the child must
//! not go on without its parent. For the parent it means, after `Start`, that execve succeeded (the socket is
//! close-on-exec), and before it that the child was killed.

pub(crate) mod report;
pub(crate) mod step;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};

use crate::sys::socket::{receive_fd, send_fd};
pub(crate) use report::{InStep, Report};
pub(crate) use step::{IdKind, Lsm, Step};

/// The messages of the child. `Fd` is owned in a received message and borrowed in a sent one.
// A report is as large as its message: a box would need an allocation.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub(crate) enum Message<Fd = OwnedFd> {
    /// The helper has made the user namespace; the parent must map its ids.
    MapIds,
    /// The pid of the container's process in the parent's pid namespace, and its pidfd.
    InitPid(i32, Fd),
    /// The index of a mount in the plan, and the detached mount. Only the parent may map its ids.
    MapMount(usize, Fd),
    /// The index of a bind in the plan, or that of the rootfs (`ROOTFS`), whose clone the kernel will not attach: the
    /// parent must clone it in another way.
    CloneAnew(usize),
    /// The parent must run the prestart and createRuntime hooks now.
    RunHooks,
    /// The number of the child's descriptor for its seccomp listener.
    Listener(i32),
    Ready,
    Failed(Report),
    /// The child has closed its end: by execve, or by its own end.
    Closed,
}

/// The messages of the parent: one answer for each thing that the child waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Acknowledgement {
    /// The first process is in its cgroup. If it has no helper, its ids are mapped too.
    Placed = 1,
    /// Answers `Message::MapIds`.
    IdsMapped,
    /// The process is in its resctrl groups, and its network devices are in its network namespace.
    ResourcesAssigned,
    /// Answers `Message::MapMount`.
    MountMapped,
    /// Answers `Message::CloneAnew`, with the mount.
    ClonedAnew,
    /// Answers `Message::RunHooks`.
    HooksDone,
    /// Answers `Message::Listener`.
    ListenerTaken,
    /// Answers `Message::Ready`: the record is written, the process waits on its exec fifo.
    Created,
    /// Answers `Message::Ready`: the process executes its program.
    Start,
}

impl Acknowledgement {
    const ALL: [Self; 9] = [
        Self::Placed,
        Self::IdsMapped,
        Self::ResourcesAssigned,
        Self::MountMapped,
        Self::ClonedAnew,
        Self::HooksDone,
        Self::ListenerTaken,
        Self::Created,
        Self::Start,
    ];
}

/// The new process writes this into its exec fifo after its own hooks, if it has any. If they fail, it writes
/// why.
pub(crate) const HOOKS_DONE: &str = "+";

/// The first byte of each of the child's messages.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Tag {
    MapIds = 1,
    InitPid,
    MapMount,
    CloneAnew,
    RunHooks,
    Listener,
    Ready,
    Failed,
}

/// The rootfs, in the place of a mount's index.
pub(crate) const ROOTFS: usize = i32::MAX as usize;

/// One end of the socket pair, close-on-exec.
#[derive(Debug)]
pub(crate) struct SyncSocket(OwnedFd);

impl AsFd for SyncSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Makes both ends. Each half drops the other's.
pub(crate) fn socket_pair() -> Result<(SyncSocket, SyncSocket), Errno> {
    let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((SyncSocket(a), SyncSocket(b)))
}

impl SyncSocket {
    /// Sends a message of the child.
    pub(crate) fn send(&self, message: &Message<BorrowedFd<'_>>) -> Result<(), Errno> {
        match message {
            Message::MapIds => self.send_bytes(&[Tag::MapIds as u8]),
            Message::InitPid(pid, pidfd) => self.send_fd(&with_number(Tag::InitPid, *pid), *pidfd),
            Message::MapMount(index, mount) => {
                self.send_fd(&with_number(Tag::MapMount, *index as i32), *mount)
            }
            Message::CloneAnew(index) => self.send_bytes(&with_number(Tag::CloneAnew, *index as i32)),
            Message::RunHooks => self.send_bytes(&[Tag::RunHooks as u8]),
            // Only write(2) is used: any other call may have to wait for the agent, which does not have the
            // listener yet.
            Message::Listener(fd) => nix::unistd::write(&self.0, &with_number(Tag::Listener, *fd)).map(drop),
            Message::Ready => self.send_bytes(&[Tag::Ready as u8]),
            Message::Failed(report) => self.send_bytes(&report.encode(Tag::Failed as u8)),
            // Closing the socket says it.
            Message::Closed => Ok(()),
        }
    }

    fn send_bytes(&self, bytes: &[u8]) -> Result<(), Errno> {
        send(self.0.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL).map(drop)
    }

    fn send_fd(&self, bytes: &[u8], fd: BorrowedFd<'_>) -> Result<(), Errno> {
        send_fd(self.0.as_fd(), bytes, fd).map(drop)
    }

    /// Waits for the next message of the child. Fails with EPROTO if it is no valid message.
    pub(crate) fn recv(&self) -> Result<Message, Errno> {
        let mut bytes = [0; report::MESSAGE_SIZE];
        let (length, fd) = self.recv_bytes(&mut bytes)?;
        let is = |tag: Tag| bytes[0] == tag as u8;
        let number = i32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        Ok(match (length, fd) {
            (0, _) => Message::Closed,
            (_, Some(fd)) if is(Tag::InitPid) => Message::InitPid(number, fd),
            (_, Some(fd)) if is(Tag::MapMount) => Message::MapMount(number as usize, fd),
            (_, None) if is(Tag::CloneAnew) => Message::CloneAnew(number as usize),
            (_, None) if is(Tag::Listener) => Message::Listener(number),
            (report::MESSAGE_SIZE, _) if is(Tag::Failed) => {
                Message::Failed(Report::decode(&bytes).ok_or(Errno::EPROTO)?)
            }
            _ if is(Tag::MapIds) => Message::MapIds,
            _ if is(Tag::RunHooks) => Message::RunHooks,
            _ if is(Tag::Ready) => Message::Ready,
            _ => return Err(Errno::EPROTO),
        })
    }

    fn recv_bytes(&self, bytes: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
        match receive_fd(self.0.as_fd(), bytes) {
            // The other half has ended before it read our message. Its own messages can still be received.
            Err(Errno::ECONNRESET) => receive_fd(self.0.as_fd(), bytes),
            other => other,
        }
    }

    /// Sends an answer of the parent.
    pub(crate) fn acknowledge(&self, acknowledgement: Acknowledgement) -> Result<(), Errno> {
        self.send_bytes(&[acknowledgement as u8])
    }

    /// Sends the answer that comes with a mount.
    pub(crate) fn acknowledge_with(&self, mount: BorrowedFd<'_>) -> Result<(), Errno> {
        self.send_fd(&[Acknowledgement::ClonedAnew as u8], mount)
    }

    /// Waits for the parent's next answer. Returns `None` if the parent is gone, or sends no valid answer.
    pub(crate) fn recv_acknowledgement(&self) -> Result<Option<Acknowledgement>, Errno> {
        Ok(self.recv_answer()?.0)
    }

    /// Waits for a mount. Returns `None` if the parent is gone, or sends another answer.
    pub(crate) fn recv_mount(&self) -> Result<Option<OwnedFd>, Errno> {
        let (answer, mount) = self.recv_answer()?;
        Ok(mount.filter(|_| answer == Some(Acknowledgement::ClonedAnew)))
    }

    fn recv_answer(&self) -> Result<(Option<Acknowledgement>, Option<OwnedFd>), Errno> {
        let mut byte = [0];
        let (length, fd) = self.recv_bytes(&mut byte)?;
        let known = |known: &Acknowledgement| length == 1 && *known as u8 == byte[0];
        Ok((Acknowledgement::ALL.into_iter().find(known), fd))
    }
}

fn with_number(tag: Tag, number: i32) -> [u8; 8] {
    let mut bytes = [tag as u8, 0, 0, 0, 0, 0, 0, 0];
    bytes[4..].copy_from_slice(&number.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_arrives_as_it_was_sent() {
        let (a, b) = socket_pair().unwrap();
        let mut report = Report::new(Step::Mount(70_000), Errno::EPERM, "move_mount");
        report.add(&"x".repeat(report::MAX_TEXT));
        a.send(&Message::Failed(report)).unwrap();
        let Message::Failed(received) = b.recv().unwrap() else { panic!("another message") };
        assert_eq!(received, report);
        assert!(received.text().starts_with("move_mountxxx") && received.text().len() == report::MAX_TEXT);
    }

    #[test]
    fn a_report_arrives_from_one_who_ended_without_listening() {
        let (a, b) = socket_pair().unwrap();
        b.acknowledge(Acknowledgement::Start).unwrap();
        a.send(&Message::Failed(Report::from_text(Step::FindProgram, "no"))).unwrap();
        drop(a);
        assert!(matches!(b.recv().unwrap(), Message::Failed(report) if report.text() == "no"));
        assert!(matches!(b.recv().unwrap(), Message::Closed));
    }

    #[test]
    fn each_acknowledgement_arrives_as_itself_and_an_end_as_none() {
        let (a, b) = socket_pair().unwrap();
        for acknowledgement in Acknowledgement::ALL {
            a.acknowledge(acknowledgement).unwrap();
            assert_eq!(b.recv_acknowledgement(), Ok(Some(acknowledgement)));
        }
        drop(a);
        assert_eq!(b.recv_acknowledgement(), Ok(None));
    }

    #[test]
    fn a_number_and_a_descriptor_arrive_together() {
        let (a, b) = socket_pair().unwrap();
        a.send(&Message::InitPid(7, a.as_fd())).unwrap();
        assert!(matches!(b.recv().unwrap(), Message::InitPid(7, _)));
        a.send(&Message::MapMount(3, a.as_fd())).unwrap();
        assert!(matches!(b.recv().unwrap(), Message::MapMount(3, _)));
        a.send(&Message::Listener(9)).unwrap();
        assert!(matches!(b.recv().unwrap(), Message::Listener(9)));
    }
}
