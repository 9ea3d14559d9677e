//! Passes the container's readiness (a line `READY=…`, as runc) on to the service manager of NOTIFY_SOCKET
//! (sd_notify(3)).
//!
//! The container gets a socket of ours and not the service manager's, because nothing but readiness is
//! believed from a container.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::{Context, Result};
use crate::log;
use crate::plan::service_manager::NOTIFY_SOCKET;
use crate::sys::file::chmod_opened;
use crate::sys::socket::{limit_sending, send_fd};
use crate::weak::{Defence, stands};

/// How long we wait until the service manager has read our messages, in milliseconds.
const BARRIER_TIMEOUT: u16 = 30_000;

const DIRECTORY: OFlag =
    OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Returns our own NOTIFY_SOCKET: the path at which the caller waits to hear that the program is ready.
pub(crate) fn requested() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())
}

/// The socket that the container sends to, and the path of the service manager's.
#[derive(Debug)]
pub(crate) struct Proxy {
    socket: UnixDatagram,
    host: OsString,
}

impl Proxy {
    /// Listens in `directory`, which the container sees. Returns `None` if the caller has set no
    /// NOTIFY_SOCKET, or if the container was created without the directory.
    pub(crate) fn listen(directory: &Path) -> Result<Option<Self>> {
        let Some(host) = requested() else { return Ok(None) };
        let doing = || format!("listen at {}", directory.join(NOTIFY_SOCKET).display());
        let opened = match nix::fcntl::open(directory, DIRECTORY, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            other => other.with_context(|| format!("open {}", directory.display()))?,
        };
        match unlinkat(&opened, NOTIFY_SOCKET, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::ENOENT) => {}
            other => other.with_context(doing)?,
        }
        // The name goes through a descriptor: the path of the state directory may be longer than a socket
        // address.
        let short = format!("/proc/self/fd/{}/{NOTIFY_SOCKET}", opened.as_raw_fd());
        let socket = UnixDatagram::bind(&short).with_context(doing)?;
        open_to_all(&opened).with_context(doing)?;
        Ok(Some(Self { socket, host }))
    }

    /// Waits until the container is ready and tells the service manager, with `main` as the pid to watch.
    /// Also returns when the container has ended. A failure is only a warning: the container runs
    /// nonetheless.
    pub(crate) fn wait(&self, pidfd: BorrowedFd<'_>, main_pid: i32) {
        let result = match self.wait_for_ready_line(pidfd) {
            Ok(Some(line)) => self.tell(&line, main_pid),
            Ok(None) => Ok(()),
            Err(errno) => Err(errno).context("wait for the container to be ready"),
        };
        if let Err(error) = result {
            log::warn(format_args!("NOTIFY_SOCKET: {error}"));
        }
    }

    fn wait_for_ready_line(&self, pidfd: BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Errno> {
        loop {
            let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut watched = [watch(self.socket.as_fd()), watch(pidfd)];
            match poll(&mut watched, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            let [message, end] = watched.map(|fd| fd.any() == Some(true));
            if message {
                let mut buffer = [0; 4096];
                let length = nix::unistd::read(&self.socket, &mut buffer)?;
                if let Some(line) = ready_line(&buffer[..length]) {
                    return Ok(Some(line.to_vec()));
                }
            } else if end {
                return Ok(None);
            }
        }
    }

    fn tell(&self, line: &[u8], main_pid: i32) -> Result<()> {
        let shown = self.host.to_string_lossy();
        let host = connect(&self.host).with_context(|| format!("connect to {shown}"))?;
        for text in [[line, b"\n"].concat(), format!("MAINPID={main_pid}\n").into_bytes()] {
            host.send(&text).with_context(|| format!("send to {shown}"))?;
        }
        barrier(&host).with_context(|| format!("wait for {shown}"))
    }
}

/// Lets every user of the container send to the socket. The mode is changed on the opened socket, not through
/// its name: the container sees the directory and could put a symlink there.
fn open_to_all(directory: &OwnedFd) -> Result<(), Errno> {
    if !stands(Defence::JudgedSocket) {
        let follow = nix::sys::stat::FchmodatFlags::FollowSymlink;
        return nix::sys::stat::fchmodat(directory, NOTIFY_SOCKET, Mode::from_bits_truncate(0o777), follow);
    }
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let made = openat(directory, NOTIFY_SOCKET, flags, Mode::empty())?;
    match fstat(&made)?.st_mode & libc::S_IFMT {
        libc::S_IFSOCK => chmod_opened(made.as_fd(), 0o777),
        _ => Err(Errno::ENOTSOCK),
    }
}

fn ready_line(message: &[u8]) -> Option<&[u8]> {
    message.split(|&byte| byte == b'\n').find(|line| line.starts_with(b"READY="))
}

fn connect(path: &OsStr) -> std::io::Result<UnixDatagram> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A service manager that reads nothing is not waited for without end.
    limit_sending(socket.as_fd())?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

/// Waits until the service manager has read our messages: it closes the pipe when it comes to this one
/// (sd_notify_barrier(3)). A service manager older than systemd 246 never does.
fn barrier(host: &UnixDatagram) -> Result<(), Errno> {
    let (ours, theirs): (OwnedFd, OwnedFd) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    send_fd(host.as_fd(), b"BARRIER=1", theirs.as_fd())?;
    drop(theirs);
    loop {
        match poll(&mut [PollFd::new(ours.as_fd(), PollFlags::POLLIN)], BARRIER_TIMEOUT) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_says_ready_is_found_among_others() {
        assert_eq!(ready_line(b"STATUS=x\nREADY=1\nA=b"), Some(&b"READY=1"[..]));
        assert_eq!(ready_line(b"NOTREADY=1"), None);
    }
}
