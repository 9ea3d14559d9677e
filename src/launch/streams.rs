//! Sees to it that no standard stream of a container is a way to change a node of the host.
//!
//! Whoever holds a descriptor of a device may be able to change the node's mode, owner and times: a
//! container's root that was given /dev/null as its standard input could take it from every program of the
//! host. So the devices that anybody may open are opened anew on a read-only mount. Not others: to open a
//! terminal or a disk a second time does something, and they are what the caller wants to give.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::fstat;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::error::{Context, Result};
use crate::sys::file::standard_streams;
use crate::sys::shielded::reopen_device;

/// The major number of the memory devices; and those of them that are everybody's, by their minor number.
const MEMORY: u32 = 1;
const SHARED: [(u32, &CStr); 6] = [
    (3, c"/dev/null"),
    (5, c"/dev/zero"),
    (7, c"/dev/full"),
    (8, c"/dev/random"),
    (9, c"/dev/urandom"),
    (11, c"/dev/kmsg"),
];

/// Which devices the process itself replaces by its container's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replaced {
    Null,
    Nothing,
}

/// Replaces our standard streams, which the new process inherits.
pub(crate) fn shield(by_itself: Replaced) -> Result<()> {
    for (number, stream) in standard_streams().into_iter().enumerate() {
        let device = shared_device(stream).with_context(|| format!("fstat standard stream {number}"))?;
        let Some(path) = device else { continue };
        if by_itself == Replaced::Null && path == c"/dev/null" {
            continue;
        }
        let doing = || format!("open {} for standard stream {number} on a read-only mount", show(path));
        let Some(shielded) = unless_unprivileged(reopen(stream, path)).with_context(doing)? else { continue };
        match number {
            0 => dup2_stdin(&shielded),
            1 => dup2_stdout(&shielded),
            _ => dup2_stderr(&shielded),
        }
        .with_context(doing)?;
    }
    Ok(())
}

/// The same for another file that a container gets.
pub(crate) fn shielded(file: OwnedFd) -> Result<OwnedFd> {
    let Some(path) = shared_device(file.as_fd()).context("fstat")? else { return Ok(file) };
    let shielded = unless_unprivileged(reopen(file.as_fd(), path));
    let shielded = shielded.with_context(|| format!("open {} on a read-only mount", show(path)))?;
    Ok(shielded.unwrap_or(file))
}

fn shared_device(file: BorrowedFd<'_>) -> std::result::Result<Option<&'static CStr>, Errno> {
    let stat = fstat(file)?;
    let is_memory = stat.st_mode & libc::S_IFMT == libc::S_IFCHR && libc::major(stat.st_rdev) == MEMORY;
    let minor = libc::minor(stat.st_rdev);
    Ok(SHARED.into_iter().find(|(number, _)| is_memory && *number == minor).map(|(_, path)| path))
}

fn reopen(file: BorrowedFd<'_>, path: &CStr) -> std::result::Result<OwnedFd, Errno> {
    const KEPT: OFlag = OFlag::O_ACCMODE.union(OFlag::O_APPEND).union(OFlag::O_NONBLOCK).union(OFlag::O_PATH);
    let flags = OFlag::from_bits_truncate(fcntl(file, FcntlArg::F_GETFL)?);
    reopen_device(file, path, flags & KEPT)
}

/// Without privilege we cannot clone a mount, and a container of ours can do no more to a node of the host's
/// than we can.
fn unless_unprivileged(
    reopened: std::result::Result<OwnedFd, Errno>,
) -> std::result::Result<Option<OwnedFd>, Errno> {
    match reopened {
        Err(Errno::EPERM) => Ok(None),
        other => other.map(Some),
    }
}

fn show(path: &CStr) -> String {
    path.to_string_lossy().into_owned()
}
