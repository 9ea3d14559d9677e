//! The new process's side of the conversation with the runtime (see `handshake`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::args::{InitArgs, InitFds};
use crate::handshake::{Acknowledgement, InStep, Message, Report, Step, SyncSocket};
use crate::plan::process::ProcessPlan;
use crate::sys::file::read_byte;
use crate::sys::process;
use crate::sys::tuning::read_byte_releasing_pages;

/// Exit code of a process that failed before its program ran.
pub(super) const FAILED: i32 = 255;

/// The longest text sent to `start`, in bytes: below PIPE_BUF, so one write is atomic.
const LONGEST_TEXT: usize = 4000;

/// Waits for one answer of the runtime. If the runtime is gone, or gives another answer, nobody knows of this
/// process, and it ends.
pub(super) fn wait_for(awaited: Acknowledgement, socket: &SyncSocket) -> Result<(), Report> {
    match socket.recv_acknowledgement().in_step(Step::Handshake, "recv")? {
        Some(received) if received == awaited => Ok(()),
        _ => process::exit_now(FAILED),
    }
}

/// Asks the runtime for something, and waits until it is done.
pub(super) fn ask_for(
    awaited: Acknowledgement,
    question: &Message<BorrowedFd<'_>>,
    socket: &SyncSocket,
) -> Result<(), Report> {
    socket.send(question).in_step(Step::Handshake, "send")?;
    wait_for(awaited, socket)
}

/// Asks the runtime for another clone of a bind's source, or of the rootfs.
pub(super) fn ask_for_clone(index: usize, socket: &SyncSocket) -> Result<OwnedFd, Report> {
    socket.send(&Message::CloneAnew(index)).in_step(Step::Handshake, "send")?;
    match socket.recv_mount().in_step(Step::Handshake, "recv")? {
        Some(mount) => Ok(mount),
        None => process::exit_now(FAILED),
    }
}

/// Says that the process is ready.
pub(super) fn send_ready(socket: &SyncSocket) -> Result<(), Report> {
    // Before `Ready`: a runtime that has received it may write the record and end, and its end must not kill
    // this process. From here on, the runtime's death is an end of file on the socket instead.
    process::parent_death_signal(0).in_step(Step::Handshake, "prctl(PR_SET_PDEATHSIG)")?;
    socket.send(&Message::Ready).in_step(Step::Handshake, "send")
}

/// Joins the v1 cgroups, then waits for `Placed` if the runtime places the process or maps its ids. The first
/// process of a start calls it: the helper, if there is one. Nothing else is done before, because limits hold
/// only inside the cgroup.
pub(super) fn wait_until_placed(args: &InitArgs, socket: &SyncSocket) -> Result<(), Report> {
    join_cgroups(&args.fds)?;
    if args.waits.placed {
        wait_for(Acknowledgement::Placed, socket)?;
    }
    Ok(())
}

/// Moves this thread into its v1 cgroups.
fn join_cgroups(fds: &InitFds) -> Result<(), Report> {
    fds.cgroup_tasks.iter().try_for_each(|tasks| {
        tasks
            .enter()
            .map_err(|errno| Report::new(Step::JoinCgroup, errno, &format!("write {}", tasks.path.display())))
    })
}

/// Waits for the answer to `Ready`: to start at once, or to wait on the exec fifo for another command's
/// `start`.
pub(super) fn wait_for_start(plan: &ProcessPlan, args: &InitArgs, socket: &SyncSocket) -> Result<(), Report> {
    match socket.recv_acknowledgement().in_step(Step::Handshake, "recv")? {
        Some(Acknowledgement::Start) => Ok(()),
        Some(Acknowledgement::Created) => wait_on_fifo(plan, args),
        // The parent died between our `Ready` and its record: nobody knows of us.
        _ => process::exit_now(FAILED),
    }
}

/// Makes a process that waits for `start` end on signals, as with runc. The first process of a pid namespace
/// ignores signals without a handler, so they get one. Before execve all signals have their default action
/// again.
pub(super) fn let_signals_end_process(args: &InitArgs) -> Result<(), Report> {
    match &args.fds.exec_fifo {
        Some(_) => process::end_on_signals().in_step(Step::ExecFifo, "sigaction"),
        None => Ok(()),
    }
}

/// Tells `start` why no program runs. It reads the text after our end, from the fifo through which it woke
/// us.
pub(super) fn tell_start(args: &InitArgs, text: &str) {
    if let Some(fifo) = &args.fds.exec_fifo {
        let text = &text.as_bytes()[..text.len().min(LONGEST_TEXT)];
        let _ = nix::unistd::write(fifo, text);
    }
}

/// Reads from the exec fifo, which blocks until `start` writes its byte. That may take long, so memory that
/// can be read again from the binary is released meanwhile.
fn wait_on_fifo(plan: &ProcessPlan, args: &InitArgs) -> Result<(), Report> {
    let Some(fifo) = &args.fds.exec_fifo else { return Ok(()) };
    let may_madvise = plan.seccomp.as_ref().is_none_or(|filter| filter.madvise_is_harmless);
    // The fifo stays open until execve closes it: that tells `start` that the program runs.
    if may_madvise { read_byte_releasing_pages(fifo.as_fd()) } else { read_byte(fifo.as_fd()) }
        .in_step(Step::ExecFifo, "read")
}
