//! Sends and receives descriptors over unix sockets (SCM_RIGHTS, unix(7)).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use super::Result;

/// Sends `payload` with one descriptor attached. Returns how many bytes a stream socket has accepted.
pub fn send_fd(socket: BorrowedFd<'_>, payload: &[u8], fd: BorrowedFd<'_>) -> Result<usize> {
    let fds = [fd.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&fds)];
    // MSG_NOSIGNAL: a peer that has gone away is an error, and must not end us.
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(payload)], &control, MsgFlags::MSG_NOSIGNAL, None)
}

/// Receives a message into `payload`. Returns its length, and the attached descriptor, if there is one.
pub fn receive_fd(socket: BorrowedFd<'_>, payload: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    let mut space = nix::cmsg_space!(RawFd);
    let mut parts = [IoSliceMut::new(payload)];
    let mut interrupted = 0;
    let message = loop {
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            // Bounded, because a seccomp filter can answer EINTR for ever.
            Err(Errno::EINTR) if interrupted < 1000 => interrupted += 1,
            other => break other?,
        }
    };
    let mut received = None;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = part {
            for fd in fds {
                // SAFETY: the kernel has installed this descriptor for us with this message.
                received = Some(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    Ok((message.bytes, received))
}
