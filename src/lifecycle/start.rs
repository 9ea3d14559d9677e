//! `start`: the process that waits on the exec fifo executes.

use super::load::{self, Known};
use super::options::Globals;
use crate::container::Status;
use crate::error::{Error, Kind, Result, matched};
use crate::init::hook_state::HookState;
use crate::{fail, spec};

pub fn start(globals: &Globals, id: &str) -> Result<()> {
    let entry = load::entry(globals, id)?;
    let _lock = entry.lock()?;
    let known = load::of_entry(entry)?;
    match known.status {
        Status::Created => {}
        Status::Stopped => return Err(Error::new(Kind::State, matched::START_STOPPED)),
        Status::Running => return Err(Error::new(Kind::State, matched::START_RUNNING)),
        other => return Err(fail!(Kind::State, "cannot start a container in the {other} state")),
    }
    if !known.entry.start()? {
        return Err(Error::new(Kind::State, matched::START_STOPPED));
    }
    poststart(&known)
}

/// A hook that fails ends the container (runtime-spec, config.md, "Poststart").
fn poststart(known: &Known) -> Result<()> {
    let record = &known.record;
    let pid = record.init.map_or(0, |init| init.pid);
    let state = HookState::new(spec::VERSION, &record.id, &record.bundle, &record.annotations);
    load::run_hooks("poststart", &record.poststart, &state.document("running", pid), record, None)
        .inspect_err(|_| {
            if let Ok(pidfd) = known.pidfd() {
                let _ =
                    crate::sys::process::pidfd_send_signal(std::os::fd::AsFd::as_fd(&pidfd), libc::SIGKILL);
            }
        })
}
