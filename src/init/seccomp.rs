//! Loads the seccomp filter, at the one moment of three that suits it.

use std::os::fd::AsRawFd;

use super::sync::ask_for;
use crate::handshake::{Acknowledgement, InStep, Message, Report, Step, SyncSocket};
use crate::plan::process::ProcessPlan;
use crate::sys::seccomp as sys;

/// The moment at which a filter is loaded. With no_new_privs as late as can be, so that it is for the program alone;
/// without it, loading takes CAP_SYS_ADMIN, so it comes before the capabilities are dropped. A filter that notifies
/// needs the parent, which may be gone later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::enum_variant_names)]
pub(super) enum Load {
    BeforeCapabilitiesGo,
    BeforeReady,
    BeforeProgram,
}

/// Loads the filter if its moment has come. For SCMP_ACT_NOTIFY the parent fetches the listener and hands it to the
/// agent.
pub(super) fn load_filter(plan: &ProcessPlan, socket: &SyncSocket, moment: Load) -> Result<(), Report> {
    let Some(filter) = &plan.seccomp else { return Ok(()) };
    let due = match (plan.no_new_privileges, &filter.notify) {
        (false, _) => Load::BeforeCapabilitiesGo,
        (true, Some(_)) => Load::BeforeReady,
        (true, None) => Load::BeforeProgram,
    };
    if due != moment {
        return Ok(());
    }
    match sys::load(&filter.program, filter.flags).in_step(Step::Seccomp, "seccomp")? {
        Some(listener) => {
            // It stays open until it has been fetched.
            let question = Message::Listener(listener.as_raw_fd());
            ask_for(Acknowledgement::ListenerTaken, &question, socket)
        }
        None => Ok(()),
    }
}
