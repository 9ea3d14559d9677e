//! `start`: the process that waits on the exec fifo executes.

use std::os::fd::AsFd;

use crate::container::Status;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result, matched};
use crate::init::hook_state::HookState;
use crate::launch::notify::Proxy;
use crate::lifecycle::load::{self, LoadedContainer};
use crate::lifecycle::options::Globals;
use crate::spec;

pub(crate) fn start(globals: &Globals, id: &ContainerId) -> Result<()> {
    let entry = load::entry(globals, id);
    let lock = entry.lock()?;
    let container = load::from_entry(entry)?;
    match container.status {
        Status::Created => {}
        Status::Stopped => return Err(Error::new(Kind::State, matched::START_STOPPED)),
        Status::Running => return Err(Error::new(Kind::State, matched::START_RUNNING)),
        other => return Err(Error::new(Kind::State, matched::start_in_state(other.word()))),
    }
    let (proxy, pidfd) = (Proxy::listen(&container.entry.notify_directory())?, container.pidfd()?);
    let Some(started) = container.entry.start()? else {
        return Err(Error::new(Kind::State, matched::START_STOPPED));
    };
    if !container.record.poststart.is_empty() {
        // Those hooks come after the program has been executed.
        started.wait_for_program()?;
        poststart(&container)?;
    }
    // Others may have to do with a container that is in no hurry to be ready.
    drop(lock);
    if let Some(proxy) = proxy {
        proxy.wait(pidfd.as_fd(), container.pid()?);
    }
    Ok(())
}

/// A hook that fails ends the container (runtime-spec, config.md, "Poststart").
fn poststart(container: &LoadedContainer) -> Result<()> {
    let record = &container.record;
    let pid = container.pid()?;
    let state = HookState::new(spec::VERSION, &record.id, &record.bundle, &record.annotations);
    load::run_hooks("poststart", &record.poststart, &state.document("running", pid), record, None)
        .inspect_err(|_| {
            if let Ok(pidfd) = container.pidfd() {
                let _ = crate::sys::process::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            }
        })
}
