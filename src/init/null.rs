//! Replaces the host's null device in the standard streams by the container's, so that the process keeps no
//! file of the host open: a checkpoint cannot save such a file.

use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::handshake::{InStep, Report, Step};
use crate::inroot::Root;
use crate::sys::file::standard_streams;
use crate::sys::mount::mount_flags;
use crate::sys::shielded::reopen_device;

/// Reopens each stream that is a null device. `root` is the container's root; our own root is still the
/// host's. If the container has no null device of its own, it gets the host's on a read-only mount, so that
/// it cannot change the node.
pub(super) fn reopen(root: &Root) -> Result<(), Report> {
    let mut null = None;
    for (number, stream) in standard_streams().into_iter().enumerate() {
        let step = Step::StandardStream(number);
        if !is_null(&fstat(stream).in_step(step, "fstat")?) {
            continue;
        }
        if null.is_none() {
            null = match open_null(root, stream) {
                // The device rules let nobody in the container open it. Then the runtime has done so.
                Err(Errno::EPERM) if is_read_only(stream).in_step(step, "fstatvfs")? => continue,
                opened => Some(opened.in_step(step, "open /dev/null")?),
            };
        }
        let Some(null) = &null else { continue };
        match number {
            0 => dup2_stdin(null),
            1 => dup2_stdout(null),
            _ => dup2_stderr(null),
        }
        .in_step(step, "dup2")?;
    }
    Ok(())
}

fn open_null(root: &Root, hosts: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    match root.resolve(c"/dev/null", OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK) {
        Ok(fd) if is_null(&fstat(&fd)?) => return Ok(fd),
        // Not a device that can be opened, or none at all.
        Ok(_)
        | Err(
            Errno::ENOENT
            | Errno::ENOTDIR
            | Errno::EISDIR
            | Errno::ELOOP
            | Errno::ENXIO
            | Errno::ENODEV
            | Errno::EACCES
            | Errno::EPERM,
        ) => {}
        Err(errno) => return Err(errno),
    }
    reopen_device(hosts, c"/dev/null", OFlag::O_RDWR)
}

/// Whether the stream was opened on a read-only mount, where nobody changes the node through it.
fn is_read_only(stream: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(mount_flags(stream)? & libc::ST_RDONLY != 0)
}

fn is_null(stat: &libc::stat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(1, 3)
}
