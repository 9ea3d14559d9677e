//! Sends and receives descriptors over unix sockets (SCM_RIGHTS, unix(7)).

use std::ffi::OsStr;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recvmsg,
    sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::Result;

/// How long a peer may take to accept a connection or data, in seconds. Somebody who listens and never accepts
/// would otherwise hold us for ever: the connect waits for room in the queue.
const PEER_TIMEOUT: i64 = 10;

/// Connects to the stream socket at `path`. A name that begins with `@` is in the abstract namespace, as in Go.
///
/// # Errors
/// EAGAIN if nobody accepts for [`PEER_TIMEOUT`]; so do later writes to the stream.
pub fn connect(path: &OsStr) -> Result<UnixStream> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => UnixAddr::new_abstract(name)?,
        _ => UnixAddr::new(path)?,
    };
    let stream = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    limit_sending(stream.as_fd())?;
    nix::sys::socket::connect(stream.as_raw_fd(), &address)?;
    Ok(stream.into())
}

/// Gives a peer that reads nothing [`PEER_TIMEOUT`]: then sending fails with EAGAIN.
pub fn limit_sending(socket: BorrowedFd<'_>) -> Result<()> {
    setsockopt(&socket, sockopt::SendTimeout, &TimeVal::seconds(PEER_TIMEOUT))
}

/// Connects to a stream socket, and does not wait. The stream blocks afterwards.
///
/// # Errors
/// EAGAIN where somebody listens who has so many callers that a further one would wait for room.
pub fn connect_now(path: &Path) -> Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    nix::sys::socket::connect(stream.as_raw_fd(), &UnixAddr::new(path)?)?;
    fcntl(&stream, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(stream.into())
}

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

#[cfg(test)]
mod tests {
    use nix::sys::socket::{Backlog, bind, listen};

    use super::*;

    #[test]
    fn who_listens_and_has_no_room_is_not_waited_for() {
        let path = std::env::temp_dir().join(format!("tare-full-queue-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        assert_eq!(connect_now(&path).unwrap_err(), Errno::ENOENT);
        let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        assert_eq!(connect_now(&path).unwrap_err(), Errno::ECONNREFUSED);
        // The queue takes one more than it is said to.
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let _first = connect_now(&path).unwrap();
        assert_eq!(connect_now(&path).unwrap_err(), Errno::EAGAIN);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_peer_that_reads_nothing_is_waited_for_so_long() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        limit_sending(ours.as_fd()).unwrap();
        let limit = std::time::Duration::from_secs(PEER_TIMEOUT.cast_unsigned());
        assert_eq!(ours.write_timeout().unwrap(), Some(limit));
    }
}
