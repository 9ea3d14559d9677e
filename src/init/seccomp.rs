//! Loads the seccomp filter at one of three moments.

use std::os::fd::AsRawFd;

use super::sync::ask_for;
use crate::handshake::{Acknowledgement, InStep, Message, Report, Step, SyncSocket};
use crate::plan::process::ProcessPlan;
use crate::sys::seccomp as sys;

/// The moment at which a filter is loaded. With no_new_privs it is as late as possible, so that the filter
/// applies to the program alone. Without it, loading needs CAP_SYS_ADMIN, so it comes before the capabilities
/// are dropped. A filter that notifies needs the parent, which may be gone later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::enum_variant_names)]
pub(super) enum FilterMoment {
    BeforeCapabilitiesGo,
    BeforeReady,
    BeforeProgram,
}

/// Loads the filter if its moment has come. For SCMP_ACT_NOTIFY, the parent fetches the listener and hands it
/// to the agent.
pub(super) fn load_filter(
    plan: &ProcessPlan,
    socket: &SyncSocket,
    moment: FilterMoment,
) -> Result<(), Report> {
    let Some(filter) = &plan.seccomp else { return Ok(()) };
    let due = match (plan.no_new_privileges, &filter.notify) {
        (false, _) => FilterMoment::BeforeCapabilitiesGo,
        (true, Some(_)) => FilterMoment::BeforeReady,
        (true, None) => FilterMoment::BeforeProgram,
    };
    if due != moment {
        return Ok(());
    }
    match sys::load(&filter.program, filter.flags).in_step(Step::Seccomp, "seccomp")? {
        Some(listener) => {
            // The listener stays open until the parent has fetched it.
            let question = Message::Listener(listener.as_raw_fd());
            ask_for(Acknowledgement::ListenerTaken, &question, socket)
        }
        None => Ok(()),
    }
}
