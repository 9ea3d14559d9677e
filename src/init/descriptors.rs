//! Closes descriptors by number, so that nothing of the host's is left open in the container. (The owners of
//! these numbers are never dropped: nothing returns from `init`.)

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;

use super::args::InitFds;
use crate::handshake::SyncSocket;
use crate::plan::process::ProcessPlan;
use crate::sys::file::is_inherited;
use crate::sys::process;
use crate::weak::{Defence, stands};

/// Closes every descriptor that is not the program's, and marks the remaining ones of ours close-on-exec. A
/// process that waits in the container, or is about to become its program, must hold nothing else of the
/// host. Until execve there remain: the socket to the runtime, which carries the report of a failure, the
/// exec fifo, and the files that hooks write to.
pub(super) fn close_all_but_ours(
    plan: &ProcessPlan,
    fds: &InitFds,
    socket: &SyncSocket,
) -> Result<(), Errno> {
    let first = plan.preserve_fds.saturating_add(3);
    close_all_but(first, fds.until_execve(), socket)?;
    process::cloexec_from(first)
}

/// Closes every descriptor that is not the program's in the helper, before it clones a process into a pid
/// namespace with other processes: they can inspect the new process from its start (CVE-2016-9962). The
/// descriptors that the set-up of the container needs stay open.
pub(super) fn close_before_clone(first: u32, fds: &InitFds, socket: &SyncSocket) -> Result<(), Errno> {
    close_all_but(first, fds.until_execve().chain(fds.until_set_up()), socket)
}

fn close_all_but<'a>(
    first: u32,
    kept: impl Iterator<Item = &'a OwnedFd>,
    socket: &SyncSocket,
) -> Result<(), Errno> {
    let mut kept: Vec<u32> = kept.map(|fd| fd.as_raw_fd() as u32).collect();
    kept.push(socket.as_fd().as_raw_fd() as u32);
    kept.sort_unstable();
    if !stands(Defence::Descriptors) {
        return Ok(());
    }
    close_ours_below(first, &kept)?;
    let mut next = first;
    for fd in kept.into_iter().filter(|&fd| fd >= first) {
        process::close_range(next, fd.saturating_sub(1))?;
        next = next.max(fd + 1);
    }
    process::close_range(next, u32::MAX)
}

/// Closes our own descriptors whose numbers are in the program's range. The runtime has checked that all
/// numbers of the program were open, so there should be none; but the program must never get one of ours.
/// Every descriptor that we open is close-on-exec, and those from our caller are not.
fn close_ours_below(first: u32, kept: &[u32]) -> Result<(), Errno> {
    for number in (3..first).filter(|number| !kept.contains(number)) {
        if !i32::try_from(number).is_ok_and(is_inherited) {
            process::close_range(number, number)?;
        }
    }
    Ok(())
}

/// Closes the files that hooks have written to: no path of the program may lead through /proc/self/fd to a
/// file of the host. (The owners are never dropped.)
pub(super) fn close_hook_output(fds: &InitFds) {
    for file in fds.hook_output.iter().flatten() {
        let _ = nix::unistd::close(file.as_raw_fd());
    }
}
