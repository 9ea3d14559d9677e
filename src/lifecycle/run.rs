//! `run`: create, start, wait and delete in one process.

use std::os::fd::AsFd;

use super::create::{How, Made, make};
use super::delete;
use super::load;
use super::options::{Globals, Run};
use crate::error::{Context, Result};
use crate::launch::console::Incoming;
use crate::launch::foreground::Foreground;
use crate::launch::seal;

/// The process's exit status; 0 for a detached one.
pub fn run(globals: &Globals, options: &Run) -> Result<i32> {
    seal::own_binary()?;
    // Before the clone: from here on no signal is lost.
    let foreground = if options.detach { None } else { Some(Foreground::prepare(!options.no_subreaper)?) };
    let mut made = make(globals, &options.create, &How { detach: options.detach, fifo: false })?;
    // Before the start: a program looks at its terminal's size and mode at once.
    let master = made.console.take().map(Incoming::receive).transpose();
    let started = master.and_then(|master| {
        made.child.start().map_err(|failure| made.failed(failure))?;
        poststart(&made).map(|()| master)
    });
    let master = match started {
        Ok(master) => master,
        Err(error) => {
            made.undo();
            return Err(error);
        }
    };
    let Some(foreground) = foreground else { return Ok(0) };
    let status = foreground.wait(made.child.process.pid, made.child.pidfd.as_fd(), master);
    if !options.keep {
        let _lock = made.entry.lock();
        let removed = delete::remove(&made.entry, &made.record).context("delete the container");
        return status.and_then(|status| removed.map(|()| status));
    }
    status
}

fn poststart(made: &Made) -> Result<()> {
    let document = made.state.document("running", made.child.process.pid);
    load::run_hooks("poststart", &made.record.poststart, &document, &made.record, Some(&made.record.bundle))
}
