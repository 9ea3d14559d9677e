//! `start`: tells the process that waits at the exec fifo to execute its program.

use std::os::fd::AsFd;

use crate::container::Status;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result, matched};
use crate::init::hook_state::HookState;
use crate::launch::notify::Proxy;
use crate::lifecycle::load::{self, LoadedContainer};
use crate::lifecycle::options::Globals;
use crate::spec;

/// Starts a created container, runs its poststart hooks, and passes on its readiness to NOTIFY_SOCKET.
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
        // runtime.md, "Lifecycle": poststart hooks run after the program has been executed.
        started.wait_for_program()?;
        run_poststart_hooks(&container)?;
    }
    // A container may take long to become ready, and other verbs must reach it meanwhile.
    drop(lock);
    if let Some(proxy) = proxy {
        proxy.wait(pidfd.as_fd(), container.pid()?);
    }
    Ok(())
}

/// Runs the poststart hooks. One that fails ends the container (config.md, "Poststart").
fn run_poststart_hooks(container: &LoadedContainer) -> Result<()> {
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
