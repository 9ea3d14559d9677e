//! `start`: tells the process that waits at the exec fifo to execute its program.

use std::os::fd::AsFd;

use crate::container::Status;
use crate::container::fifo::{FifoWriter, WaitLimit};
use crate::container::store::Lock;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result, matched};
use crate::handshake::HOOKS_DONE;
use crate::init::hook_state::HookState;
use crate::launch::notify::Proxy;
use crate::lifecycle::cleanup;
use crate::lifecycle::load::{self, LoadedContainer};
use crate::lifecycle::options::Globals;
use crate::{log, spec};

/// Starts a created container, runs its poststart hooks, and reports its readiness to NOTIFY_SOCKET.
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
    // The lock is released: other commands may use a container whose hooks run long, or that is not ready for
    // long.
    let lock = match container.record.start_hooks {
        true => {
            drop(lock);
            wait_for_hooks(&container, &started)?
        }
        false => lock,
    };
    if !container.record.poststart.is_empty() {
        // These hooks come after the program has been executed.
        started.wait_for_program(WaitLimit::ForProgram)?;
        run_poststart_hooks(&container).map_err(|error| destroyed(&container, error))?;
    }
    drop(lock);
    if let Some(proxy) = proxy {
        proxy.wait(pidfd.as_fd(), container.pid()?);
    }
    Ok(())
}

/// Waits for the result of the hooks that run in the container. Meanwhile other commands may use the
/// container.
fn wait_for_hooks(container: &LoadedContainer, started: &FifoWriter) -> Result<Lock> {
    let answer = started.wait_for_program(WaitLimit::Unlimited)?;
    let lock = container.entry.lock()?;
    let why = match answer {
        Some(said) if said == HOOKS_DONE => return Ok(lock),
        Some(why) => why,
        // A filter may keep the process from writing anything.
        None if container.pidfd_if_alive()?.is_some() => return Ok(lock),
        None => "the container's process ended before its program ran".into(),
    };
    Err(destroyed(container, Error::new(Kind::Child, why)))
}

/// Runs the poststart hooks. If one fails, the container ends (config.md, "Poststart").
fn run_poststart_hooks(container: &LoadedContainer) -> Result<()> {
    let record = &container.record;
    let state = HookState::new(spec::VERSION, &record.id, &record.bundle, &record.annotations);
    let document = state.to_json("running", container.pid()?);
    load::run_hooks("poststart", &record.poststart, &document, record, None)
}

/// Removes a container after a hook of its start has failed, and runs its poststop hooks (runtime-spec,
/// runtime.md, "Lifecycle"). Returns the error to report.
fn destroyed(container: &LoadedContainer, error: Error) -> Error {
    let removed = container.entry.is_gone().and_then(|gone| match gone {
        true => Ok(()),
        false => cleanup::kill_and_remove(container),
    });
    if let Err(also) = removed {
        log::warn(format_args!("remove the container: {also}"));
    }
    error
}
