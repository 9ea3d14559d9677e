//! `InitArgs`: what the new process gets besides its plan. The plan holds no descriptors, so that it stays
//! pure.

use std::os::fd::OwnedFd;

use super::hook_state::HookState;
use crate::plan::toolbox::Toolbox;
use crate::plan::waits::Waits;
use crate::sys::tasks::Tasks;

/// The descriptors and facts that the runtime hands to the new process. They are never dropped there: nothing
/// returns from `init`, and descriptors are closed by number.
#[derive(Debug, Default)]
pub(crate) struct InitArgs {
    pub fds: InitFds,
    pub waits: Waits,
    /// The state document for the hooks that run in the container; `None` without such hooks.
    pub hook_state: Option<HookState>,
    /// Whether the helper keeps the supplementary groups of the runtime's caller. The process will keep them
    /// too.
    pub keep_groups: bool,
    /// Signals that the runtime's caller ignores and the program must not ignore: signal N in bit N-1. They
    /// are read before the clone, because inside the container /proc may be anything.
    pub ignored_signals: u64,
    pub chown_stdio: ChownStdio,
    /// `debug`: the root that the process gets instead of the container's.
    pub toolbox: Option<Toolbox>,
}

/// The descriptors that the new process finds open.
#[derive(Debug, Default)]
pub(crate) struct InitFds {
    /// The `tasks` files of the v1 cgroups that the process moves itself into.
    pub cgroup_tasks: Vec<Tasks>,
    /// The namespaces to join, in the order of the plan's joins.
    pub joins: Vec<OwnedFd>,
    /// `exec`: the pidfd of the container's first process.
    pub target: Option<OwnedFd>,
    /// `debug`: the tree with the tools.
    pub toolbox: Option<OwnedFd>,
    /// Detached clones of bind sources, by index in the plan's mounts. They are opened before a user
    /// namespace hides them.
    pub sources: Vec<Option<OwnedFd>>,
    /// A detached clone of the rootfs, opened early for the same reason.
    pub rootfs: Option<OwnedFd>,
    /// The read end of the exec fifo; `None` if the runtime itself says when to start.
    pub exec_fifo: Option<OwnedFd>,
    /// The stream socket that the terminal's master is sent over.
    pub console: Option<OwnedFd>,
    /// Where hooks that run in the container write their standard output and error.
    pub hook_output: [Option<OwnedFd>; 2],
}

impl InitFds {
    /// The descriptors that stay open until the program runs.
    pub(crate) fn until_execve(&self) -> impl Iterator<Item = &OwnedFd> {
        self.exec_fifo.iter().chain(self.hook_output.iter().flatten())
    }

    /// The descriptors that the set-up of the container needs. They are closed after it.
    pub(crate) fn until_set_up(&self) -> impl Iterator<Item = &OwnedFd> {
        self.console.iter().chain(&self.rootfs).chain(self.sources.iter().flatten())
    }
}

/// Which standard streams are given to the container's user, so that it can reopen /dev/stdout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum ChownStdio {
    /// All streams of a detached process, except disks and devices like the null device (runc excepts only
    /// that one).
    #[default]
    All,
    /// Only pipes: in the foreground, other streams are the caller's own.
    Pipes,
}
