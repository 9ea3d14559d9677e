//! Sends and receives descriptors over unix sockets (SCM_RIGHTS, unix(7)).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use super::Result;

/// Sends `payload` with one descriptor attached. Returns how many bytes a stream socket has taken.
pub fn send_fd(socket: BorrowedFd<'_>, payload: &[u8], fd: BorrowedFd<'_>) -> Result<usize> {
    let fds = [fd.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&fds)];
    // MSG_NOSIGNAL: a peer that went away is an error, not the end of us.
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(payload)], &control, MsgFlags::MSG_NOSIGNAL, None)
}

/// Receives a message into `payload`: its length, and the descriptor that came with it, if one did.
pub fn receive_fd(socket: BorrowedFd<'_>, payload: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    let mut space = nix::cmsg_space!(RawFd);
    let mut parts = [IoSliceMut::new(payload)];
    let mut interrupted = 0;
    let message = loop {
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            // No more often than signals do it: a seccomp filter can say so for ever.
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
