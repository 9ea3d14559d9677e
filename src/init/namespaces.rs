//! Joins existing namespaces, and runs the helper that goes before the container's process.

use std::convert::Infallible;
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::args::{InitArgs, InitFds};
use super::sync::{ask_for, wait_until_placed};
use super::{confine, descriptors, toolbox};
use crate::handshake::{Acknowledgement, InStep, Message, Report, Step, SyncSocket};
use crate::plan::namespaces::{Join, Namespace, NamespacePlan};
use crate::sys::errno_of;
use crate::sys::process::{self, CloneSide};
use crate::weak::{Defence, stands};

/// Joins all namespaces. Those that setns refuses with EPERM are retried after the user namespace, which owns
/// them.
pub(crate) fn join(joins: &[Join], fds: &InitFds) -> Result<(), Report> {
    let mut postponed = Vec::new();
    let user = |join: &Join| join.namespace == Namespace::USER;
    for (join, fd) in joins.iter().zip(&fds.joins).filter(|(join, _)| !user(join)) {
        match process::setns(fd.as_fd(), join.namespace.0) {
            // The user namespace that is joined later owns this one.
            Err(Errno::EPERM) if joins.iter().any(user) => postponed.push((join, fd)),
            other => other.in_step(Step::JoinNamespace(join.index), "setns")?,
        }
    }
    for (join, fd) in joins.iter().zip(&fds.joins).filter(|(join, _)| user(join)).chain(postponed) {
        process::setns(fd.as_fd(), join.namespace.0).in_step(Step::JoinNamespace(join.index), "setns")?;
    }
    Ok(())
}

/// Runs as the helper: joins namespaces, then clones the container's process as a child of the parent.
pub(crate) fn helper(
    namespaces: &NamespacePlan,
    preserved: u32,
    args: &InitArgs,
    socket: &SyncSocket,
    child_main: impl FnOnce() -> Result<Infallible, Report>,
) -> Result<Infallible, Report> {
    process::parent_death_signal(libc::SIGKILL).in_step(Step::NewProcess, "prctl(PR_SET_PDEATHSIG)")?;
    wait_until_placed(args, socket)?;
    // Processes that are already in the pid namespace could otherwise trace us (CVE-2016-9962).
    if stands(Defence::Undumpable) {
        process::set_dumpable(false).in_step(Step::Helper, "prctl(PR_SET_DUMPABLE)")?;
    }
    join(&namespaces.joins, &args.fds)?;
    if let (Some(flags), Some(target)) = (namespaces.setns_flags, &args.fds.target) {
        match &args.toolbox {
            Some(toolbox) => toolbox::enter(toolbox, args, target, flags)?,
            None => enter(target, flags)?,
        }
    }
    if args.waits.ids_mapped {
        make_user_namespace(socket, args.keep_groups)?;
    } else if namespaces.joins(Namespace::USER) {
        confine::become_root(args.keep_groups)?;
    }
    if let Some(offsets) = &namespaces.time_offsets {
        make_time_namespace(offsets)?;
    }
    descriptors::close_before_clone(preserved.saturating_add(3), &args.fds, socket)
        .in_step(Step::CloseDescriptors, "close_range")?;
    let flags = namespaces.clone_flags() | libc::CLONE_PARENT;
    match process::clone3(flags as u64, None).in_step(Step::CloneInit, "clone3")? {
        CloneSide::Child => child_main(),
        CloneSide::Parent { pid, pidfd } => {
            socket.send(&Message::InitPid(pid, pidfd.as_fd())).in_step(Step::Handshake, "send")?;
            process::exit_now(0)
        }
    }
}

/// Joins the namespaces `flags` of a process in one call, KERNEL(5.8). Does nothing if `flags` is 0.
fn enter(target: &impl AsFd, flags: i32) -> Result<(), Report> {
    if flags == 0 {
        return Ok(());
    }
    process::setns(target.as_fd(), flags).in_step(Step::JoinContainer, "setns")
}

/// Makes the user namespace, and asks the parent, which has the privilege, to map the ids.
fn make_user_namespace(socket: &SyncSocket, keep_groups: bool) -> Result<(), Report> {
    let unshare = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER);
    unshare.in_step(Step::UserNamespace, "unshare(CLONE_NEWUSER)")?;
    // The parent writes our /proc files, which belong to our user only while we are dumpable.
    process::set_dumpable(true).in_step(Step::UserNamespace, "prctl(PR_SET_DUMPABLE)")?;
    ask_for(Acknowledgement::IdsMapped, &Message::MapIds, socket)?;
    confine::become_root(keep_groups)
}

fn make_time_namespace(offsets: &[u8]) -> Result<(), Report> {
    // Our children enter the time namespace, but not we ourselves. The offsets can be set until the first
    // child has entered.
    let flags = nix::sched::CloneFlags::from_bits_retain(Namespace::TIME.0);
    nix::sched::unshare(flags).in_step(Step::TimeOffsets, "unshare(CLONE_NEWTIME)")?;
    // In a user namespace we may write the file only while we are dumpable.
    process::set_dumpable(true).in_step(Step::TimeOffsets, "prctl(PR_SET_DUMPABLE)")?;
    let write = std::fs::write("/proc/self/timens_offsets", offsets);
    write.map_err(|error| errno_of(&error)).in_step(Step::TimeOffsets, "write /proc/self/timens_offsets")?;
    process::set_dumpable(false).in_step(Step::TimeOffsets, "prctl(PR_SET_DUMPABLE)")
}
