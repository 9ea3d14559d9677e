//! The descriptors that the child finds open: the plan holds none, so that it stays pure.

use std::os::fd::OwnedFd;

use super::hook_state::HookState;
use crate::plan::waits::Waits;
use crate::sys::tasks::Tasks;

#[derive(Debug, Default)]
pub struct Fds {
    /// The groups that it moves itself into.
    pub doors: Vec<Tasks>,
    /// In the order of the plan's joins.
    pub joins: Vec<OwnedFd>,
    /// `exec`: the pidfd of the container's first process.
    pub target: Option<OwnedFd>,
    /// Detached clones of bind sources, by index in the plan's mounts: opened before a user namespace hides them.
    pub sources: Vec<Option<OwnedFd>>,
    /// The rootfs, likewise.
    pub rootfs: Option<OwnedFd>,
    /// The read end of the exec fifo; none where the parent itself says when to start.
    pub exec_fifo: Option<OwnedFd>,
    /// Where the terminal's master goes.
    pub console: Option<OwnedFd>,
    /// Where hooks that run in the container write their output and errors.
    pub hook_output: [Option<OwnedFd>; 2],
    /// The state document for the hooks that run in the container.
    pub hook_state: Option<HookState>,
    /// What the new process waits for.
    pub waits: Waits,
    /// The helper keeps the supplementary groups of our caller, as the process will.
    pub keep_groups: bool,
    /// What our caller ignores and the program shall not: signal N in bit N-1. Looked up before the clone, for inside
    /// /proc may be anything.
    pub ignored_signals: u64,
    /// Standard streams are given to the container's user.
    pub chown_stdio: ChownStdio,
}

impl Fds {
    /// What stays open until the program runs.
    pub fn until_execve(&self) -> impl Iterator<Item = &OwnedFd> {
        self.exec_fifo.iter().chain(self.hook_output.iter().flatten())
    }

    /// What goes into the making of the surroundings, and is closed after it.
    pub fn to_prepare(&self) -> impl Iterator<Item = &OwnedFd> {
        self.console.iter().chain(&self.rootfs).chain(self.sources.iter().flatten())
    }
}

/// Which of the standard streams the container's user becomes owner of, so that it can reopen /dev/stdout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ChownStdio {
    /// All that a detached process was given, /dev/null excepted (runc does so).
    #[default]
    All,
    /// In the foreground they are the caller's own: only pipes are given away.
    Pipes,
}
