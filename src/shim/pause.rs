//! The process that holds a pod's namespaces: it waits, and takes in what loses its parent in them.

use nix::sys::signal::{SigSet, Signal};

/// Never returns: the pod's end is a signal that cannot be caught.
pub(crate) fn run() -> ! {
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    let _ = children.thread_block();
    loop {
        while let Ok(Some(_)) = crate::sys::signal::wait(-1, false) {}
        let _ = children.wait();
    }
}
