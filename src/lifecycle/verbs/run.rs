//! `run`: create, start, wait and delete in one process.

use std::mem::ManuallyDrop;
use std::os::fd::AsFd;

use super::create::{How, Made, make};
use super::delete;
use crate::container_id::ContainerId;
use crate::error::{Context, Result, matched};
use crate::launch::console::Incoming;
use crate::launch::foreground::Foreground;
use crate::launch::notify::Proxy;
use crate::launch::seal;
use crate::lifecycle::load;
use crate::lifecycle::options::{Globals, Run};
use crate::log;

/// The process's exit status; 0 for a detached one.
pub fn run(globals: &Globals, id: &ContainerId, options: &Run) -> Result<i32> {
    seal::own_binary()?;
    // Before the clone: from here on no signal is lost.
    let foreground = if options.detach { None } else { Some(Foreground::prepare(!options.no_subreaper)?) };
    let made = make(globals, id, &options.create, &How { detach: options.detach, fifo: false })?;
    // Never taken apart: this process ends with it.
    let mut made = ManuallyDrop::new(made);
    // Before the start: a program looks at its terminal's size and mode at once.
    let master = made.console.take().map(Incoming::receive).transpose();
    let proxy = Proxy::listen(&made.entry.notify_directory());
    let started = master.and_then(|master| proxy.map(|proxy| (master, proxy))).and_then(|(master, proxy)| {
        log::debug(format_args!("{}", matched::CLOSING_PIPE));
        made.child.start(foreground.is_some()).map_err(|failure| made.failed(failure))?;
        poststart(&made).map(|()| (master, proxy))
    });
    let (master, proxy) = match started {
        Ok(started) => started,
        Err(error) => {
            made.undo();
            return Err(error);
        }
    };
    let Some(foreground) = foreground else {
        if let Some(proxy) = proxy {
            proxy.wait(made.child.pidfd.as_fd(), made.child.process.pid);
        }
        return Ok(0);
    };
    if let Some(proxy) = proxy {
        wait_aside(proxy, &made).inspect_err(|_| made.undo())?;
    }
    let status = foreground.wait(made.child.process.pid, made.child.pidfd.as_fd(), master);
    if !options.keep {
        let _lock = made.entry.lock();
        let removed = delete::remove(&made.entry, &made.record).context("delete the container");
        return status.and_then(|status| removed.map(|()| status));
    }
    status
}

/// Meanwhile we stand for the container: so it is we whom the service manager watches.
fn wait_aside(proxy: Proxy, made: &Made) -> Result<()> {
    let pidfd = made.child.pidfd.try_clone().context("keep the process")?;
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    std::thread::spawn(move || proxy.wait(pidfd.as_fd(), own));
    Ok(())
}

fn poststart(made: &Made) -> Result<()> {
    let document = made.state.document("running", made.child.process.pid);
    load::run_hooks("poststart", &made.record.poststart, &document, &made.record, Some(&made.record.bundle))
}
