//! `run`: creates a container, starts it, waits for its process and deletes it.

use std::mem::ManuallyDrop;
use std::os::fd::AsFd;

use crate::container_id::ContainerId;
use crate::error::{Context, Result, matched};
use crate::launch::console::Incoming;
use crate::launch::foreground::Foreground;
use crate::launch::notify::Proxy;
use crate::launch::{seal, seccomp_death};
use crate::lifecycle::creation::{CreateMode, CreatedContainer, create_container};
use crate::lifecycle::options::{Globals, Run};
use crate::lifecycle::verbs::check::damaged_program;
use crate::lifecycle::{cleanup, load, out_of_memory};
use crate::log;

/// Runs the container. Returns the exit status of its process, and 0 with `--detach`.
pub(crate) fn run(globals: &Globals, id: &ContainerId, options: &Run) -> Result<i32> {
    seal::own_binary()?;
    // Before the clone: from here on no signal is lost.
    let foreground = if options.detach { None } else { Some(Foreground::prepare(!options.no_subreaper)?) };
    let created = create_container(
        globals,
        id,
        &options.create,
        CreateMode { detach: options.detach, wait_for_start: false },
    )?;
    // Not dropped: this process ends soon, and the kernel frees everything.
    let mut created = ManuallyDrop::new(created);
    // Before the start: many programs read their terminal's size and mode first.
    let master = created.console.take().map(Incoming::receive).transpose();
    let proxy = Proxy::listen(&created.entry.notify_directory());
    let started = master.and_then(|master| proxy.map(|proxy| (master, proxy))).and_then(|(master, proxy)| {
        log::debug(format_args!("{}", matched::CLOSING_PIPE));
        let filter = created.plan.process.seccomp.as_ref();
        created.child.start(foreground.is_some(), filter).map_err(|failure| created.spawn_error(failure))?;
        poststart(&created).map(|()| (master, proxy))
    });
    let (master, proxy) = match started {
        Ok(started) => started,
        Err(error) => {
            created.undo();
            return Err(error);
        }
    };
    let Some(foreground) = foreground else {
        if let Some(proxy) = proxy {
            proxy.wait(created.child.pidfd.as_fd(), created.child.process.pid);
        }
        return Ok(0);
    };
    if let Some(proxy) = proxy {
        forward_in_thread(proxy, &created).inspect_err(|_| created.undo())?;
    }
    let status = foreground.wait(created.child.process.pid, created.child.pidfd.as_fd(), master);
    if let Ok(status) = status {
        seccomp_death::tell(created.plan.process.seccomp.as_ref(), status);
        out_of_memory::tell(&created.group, status);
        damaged_program::tell(&created.entry, &created.record.bundle, status);
    }
    if !options.keep {
        let removed = cleanup::remove_attached_container(&created.entry, &created.record)
            .context("delete the container");
        return status.and_then(|status| removed.map(|()| status));
    }
    status
}

/// Passes the container's readiness on to the service manager, in a thread. The messages have our pid: this
/// process stands for the container, and the service manager watches it.
fn forward_in_thread(proxy: Proxy, created: &CreatedContainer) -> Result<()> {
    let pidfd = created.child.pidfd.try_clone().context("keep the process")?;
    let our_pid = nix::unistd::getpid().as_raw();
    let wait = move || proxy.wait(pidfd.as_fd(), our_pid);
    std::thread::Builder::new().spawn(wait).map(drop).context("start a thread")
}

fn poststart(created: &CreatedContainer) -> Result<()> {
    let document = created.state.to_json("running", created.child.process.pid);
    load::run_hooks(
        "poststart",
        &created.record.poststart,
        &document,
        &created.record,
        Some(&created.record.bundle),
    )
}
