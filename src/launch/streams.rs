//! Makes sure that a container cannot change a node of the host through a standard stream.
//!
//! Whoever has a descriptor of a device may be able to change the node's mode, owner and times: the root of a
//! container with /dev/null as its standard input could take it away from every program of the host. So
//! devices that everybody may open are opened again on a read-only mount. Other devices are not: opening a
//! terminal or a disk again has effects, and the caller wants to pass them. What is on a read-only mount already stays as it
//! is: the shim gives such.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::fstat;
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::error::{Context, Result};
use crate::sys::file::standard_streams;
use crate::sys::shielded::reopen_device;

/// The major number of the memory devices, and the minor numbers of those that everybody may use.
const MEMORY: u32 = 1;
const SHARED: [(u32, &CStr); 6] = [
    (3, c"/dev/null"),
    (5, c"/dev/zero"),
    (7, c"/dev/full"),
    (8, c"/dev/random"),
    (9, c"/dev/urandom"),
    (11, c"/dev/kmsg"),
];

/// The devices that the process itself replaces by its container's.
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

/// Shields another file that a container gets, as `shield` does.
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
    let found = SHARED.into_iter().find(|(number, _)| is_memory && *number == minor).map(|(_, path)| path);
    if found.is_some() && fstatvfs(file)?.flags().contains(FsFlags::ST_RDONLY) {
        return Ok(None);
    }
    Ok(found)
}

fn reopen(file: BorrowedFd<'_>, path: &CStr) -> std::result::Result<OwnedFd, Errno> {
    const KEPT: OFlag = OFlag::O_ACCMODE.union(OFlag::O_APPEND).union(OFlag::O_NONBLOCK).union(OFlag::O_PATH);
    let flags = OFlag::from_bits_truncate(fcntl(file, FcntlArg::F_GETFL)?);
    reopen_device(file, path, flags & KEPT)
}

/// Without privilege we cannot clone a mount; but then our container can do no more to a node of the host
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
