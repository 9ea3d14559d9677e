//! Replaces the host's null device in the standard streams by the container's, so that the process keeps no file of the
//! host open. A checkpoint cannot save such a file.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::handshake::{InStep, Report, Step};
use crate::inroot::Root;
use crate::sys::file::standard_streams;

/// Reopens each stream that is a null device. `root` is the container's. One without a /dev/null of its own keeps the host's.
pub(super) fn reopen(root: &Root) -> Result<(), Report> {
    let mut own = None;
    for (number, stream) in standard_streams().into_iter().enumerate() {
        let step = Step::StandardStream(number);
        if !fstat(stream).is_ok_and(is_null) {
            continue;
        }
        if own.is_none() {
            own = open_null(root).in_step(step, "open /dev/null")?;
        }
        let Some(own) = &own else { return Ok(()) };
        match stream.as_raw_fd() {
            0 => dup2_stdin(own),
            1 => dup2_stdout(own),
            _ => dup2_stderr(own),
        }
        .in_step(step, "dup2")?;
    }
    Ok(())
}

fn open_null(root: &Root) -> Result<Option<OwnedFd>, Errno> {
    match root.resolve(c"/dev/null", OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK) {
        Ok(fd) => Ok(Some(fd).filter(|fd| fstat(fd).is_ok_and(is_null))),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENXIO | Errno::EACCES | Errno::EPERM) => {
            Ok(None)
        }
        Err(errno) => Err(errno),
    }
}

fn is_null(stat: libc::stat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(1, 3)
}
