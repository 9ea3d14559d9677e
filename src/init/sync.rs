//! The new process's side of the conversation with the runtime (see `handshake`).

use std::os::fd::BorrowedFd;

use crate::handshake::{Acknowledgement, InStep, Message, Report, Step, SyncSocket};
use crate::sys::process;

/// Exit code of a process that failed before its program ran.
pub const FAILED: i32 = 255;

/// Waits for one answer of the runtime. If the runtime is gone, or says anything else, nobody knows of this process, and
/// it ends.
pub fn wait_for(awaited: Acknowledgement, socket: &SyncSocket) -> Result<(), Report> {
    match socket.recv_acknowledgement().in_step(Step::Handshake, "recv")? {
        Some(received) if received == awaited => Ok(()),
        _ => process::exit_now(FAILED),
    }
}

/// Says what the runtime is to do, and waits until it has done that.
pub fn ask_for(
    awaited: Acknowledgement,
    question: &Message<BorrowedFd<'_>>,
    socket: &SyncSocket,
) -> Result<(), Report> {
    socket.send(question).in_step(Step::Handshake, "send")?;
    wait_for(awaited, socket)
}

/// Says that the process is ready.
pub fn send_ready(socket: &SyncSocket) -> Result<(), Report> {
    // Before `Ready`: a runtime that has received it may write the record and end, and must not take this process with
    // it. From here on its death is an end of file on the socket instead.
    process::parent_death_signal(0).in_step(Step::Handshake, "prctl(PR_SET_PDEATHSIG)")?;
    socket.send(&Message::Ready).in_step(Step::Handshake, "send")
}
