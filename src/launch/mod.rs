//! The parent's half of starting a process: what is opened before, one clone, the conversation, and the words for
//! what went wrong.

pub mod console;
pub mod criu;
pub mod explain;
pub mod foreground;
mod id_mapped;
pub mod id_maps;
mod joined_users;
pub mod net_devices;
pub mod notify;
pub mod rdt;
mod relay;
pub mod seal;
pub mod seccomp_agent;
pub mod slots;
mod terminal;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use crate::cgroup::Group;
use crate::container::record::Process;
use crate::container::status::Seen;
use crate::error::{Context, Error, Kind, Result, matched};
use crate::handshake::{self, Line, Report, Step, Word};
use crate::init::{self, Fds, namespaces};
use crate::log;
use crate::plan::topology::Topology;
use crate::sys::process::{Clone, clone3, pidfd_send_signal};
use seccomp_agent::Agent;

/// A process that has been cloned and not yet told to execute.
#[derive(Debug)]
pub struct Child {
    pub process: Process,
    pub pidfd: OwnedFd,
    line: Line,
    /// Words it said before its helper told of its birth.
    early: RefCell<VecDeque<Word>>,
}

/// What a clone depends on.
pub struct Order<'a> {
    pub topology: &'a Topology,
    pub group: Option<&'a Group>,
    pub oom_score_adj: Option<i32>,
    /// Descriptors from 3 on that the program gets.
    pub preserve_fds: u32,
}

/// Why the child did not become ready.
// A report is of fixed size on purpose; there is one at most.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Failure {
    /// It says so itself; the words are found with the plan.
    Reported(Report),
    /// It ended without a word.
    Died,
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Clones once; through a helper where the topology needs one.
pub fn spawn(
    order: &Order<'_>,
    mut fds: Fds,
    life: impl FnOnce(&Fds, &Line) -> Result<Infallible, Report>,
) -> std::result::Result<Child, Failure> {
    let (ours, theirs) = handshake::pair().context("make socket pair")?;
    let topology = order.topology;
    let helper = topology.needs_helper();
    let entrance = order.group.map(Group::entrance).transpose()?.unwrap_or_default();
    let born_there = entrance.birth.is_some() && entrance.doors.is_empty();
    fds.doors = entrance.doors;
    let maps = topology.id_maps.as_ref().filter(|_| !helper);
    fds.wait_for_go |= !helper && (maps.is_some() || entrance.by_parent);
    fds.ignored_signals = crate::sys::signal::ignored();
    let flags = if helper { 0 } else { topology.clone_flags() };
    log::debug(format_args!("{}: clone3 with flags {flags:#x}", matched::CONTAINER_SETUP));
    let first = match clone3(flags as u64, entrance.birth).context("clone3")? {
        Clone::Child => {
            drop(ours);
            if helper {
                init::live(&theirs, || {
                    namespaces::helper(topology, order.preserve_fds, &fds, &theirs, || life(&fds, &theirs))
                })
            }
            init::live(&theirs, || life(&fds, &theirs))
        }
        Clone::Parent { pid, pidfd } => First { pid, pidfd: Some(pidfd) },
    };
    drop(theirs);
    // From here on no way out may leave the process behind: dropped, `first` is killed.
    let waits = fds.wait_for_go || helper;
    drop(fds);
    match order.group {
        Some(group) if entrance.by_parent => group.join(first.pid)?,
        Some(group) if born_there => group.release(),
        _ => {}
    }
    if let Some(maps) = maps {
        id_maps::write(first.pid, maps)?;
    }
    adjust_oom_score(first.pid, order.oom_score_adj)?;
    if waits {
        ours.go().context("talk to the new process")?;
    }
    if helper { born(topology, first, ours) } else { first.child(ours, VecDeque::new()) }
}

/// The process that was cloned, killed unless it becomes a `Child`.
struct First {
    pid: i32,
    pidfd: Option<OwnedFd>,
}

impl First {
    fn child(mut self, line: Line, early: VecDeque<Word>) -> std::result::Result<Child, Failure> {
        let start = Seen::of(self.pid).map_or(0, |seen| seen.start);
        let pidfd = self.pidfd.take().ok_or(Errno::EBADF).context("keep the process")?;
        let early = RefCell::new(early);
        Ok(Child { process: Process { pid: self.pid, start }, pidfd, line, early })
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if let Some(pidfd) = &self.pidfd {
            let _ = pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            let _ = reap(pidfd);
        }
    }
}

/// The helper's conversation, to the birth of the real process. That one speaks on the same line, perhaps before the
/// helper has told of it.
fn born(topology: &Topology, helper: First, line: Line) -> std::result::Result<Child, Failure> {
    let mut early = VecDeque::new();
    loop {
        match line.hear().context("talk to the new process")? {
            Word::Map => {
                if let Some(maps) = &topology.id_maps {
                    id_maps::write(helper.pid, maps)?;
                }
                line.go().context("talk to the new process")?;
            }
            Word::Born(pid, pidfd) => {
                drop(helper);
                return First { pid, pidfd: Some(pidfd) }.child(line, early);
            }
            word @ (Word::AtHooks | Word::Ready | Word::Listener(_) | Word::MapIds(..)) => {
                early.push_back(word);
            }
            Word::Failed(report) => return Err(Failure::Reported(report)),
            _ => return Err(Failure::Died),
        }
    }
}

impl Child {
    /// What it waits for is there, unless it has failed meanwhile, as in `start`.
    pub fn go_on(&self) {
        let _ = self.line.go();
    }

    /// Waits until everything is set up. `hooks` runs when the child has come to its runtime hooks; the `agent` gets
    /// the listener of a filter that notifies; `map_ids` maps the ids of the mount of that number.
    pub fn wait_until_ready(
        &self,
        agent: Option<&Agent<'_>>,
        mut hooks: impl FnMut() -> Result<()>,
        map_ids: impl Fn(usize, &OwnedFd) -> Result<()>,
    ) -> std::result::Result<(), Failure> {
        loop {
            match self.hear()? {
                Word::Ready => {
                    log::debug(format_args!("{}: {} is ready", matched::CHILD_IN_INIT, self.process.pid));
                    return Ok(());
                }
                Word::AtHooks => {
                    hooks()?;
                    self.line.go().context("talk to the new process")?;
                }
                Word::MapIds(mount, tree) => {
                    map_ids(mount.try_into().unwrap_or_default(), &tree)?;
                    self.go_on();
                }
                Word::Listener(number) => {
                    agent.map_or(Ok(()), |agent| agent.introduce(self, number))?;
                    self.go_on();
                }
                Word::Failed(report) => return Err(Failure::Reported(report)),
                _ => return Err(Failure::Died),
            }
        }
    }

    fn hear(&self) -> Result<Word> {
        let early = self.early.borrow_mut().pop_front();
        early.map_or_else(|| self.line.hear().context("talk to the new process"), Ok)
    }

    /// The record is written: it waits on its fifo now, and no longer for us.
    pub fn created(&self) -> Result<()> {
        self.line.created().context("talk to the new process")
    }

    /// Executes. Returns when execve has succeeded, with the report if it has not. Of a program that the kernel refuses
    /// the process itself tells on its standard error before it ends; who is `attended` has read it there.
    pub fn start(&self, attended: bool) -> std::result::Result<(), Failure> {
        // It may have failed meanwhile: its next word says so.
        let _ = self.line.start();
        match self.line.hear().context("talk to the new process")? {
            Word::Failed(report) if attended && report.step == Step::Execute => Ok(()),
            Word::Failed(report) => Err(Failure::Reported(report)),
            // The line closes on execve.
            _ => Ok(()),
        }
    }

    /// Ends it and waits for its end.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
        let _ = reap(&self.pidfd);
    }
}

fn reap(pidfd: &OwnedFd) -> std::result::Result<(), Errno> {
    loop {
        match waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::__WALL) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

fn adjust_oom_score(pid: i32, adjustment: Option<i32>) -> Result<()> {
    let Some(adjustment) = adjustment else { return Ok(()) };
    let path = format!("/proc/{pid}/oom_score_adj");
    std::fs::write(&path, adjustment.to_string()).context("failed to update /proc/self/oom_score_adj")
}

/// The error for a child that ended without a word: the kernel may have ended it for want of memory.
pub fn died(group: &Group) -> Error {
    match group.oom_kills() {
        Some(kills) if kills > 0 => Error::new(Kind::Child, matched::OOM_KILLED),
        _ => Error::new(Kind::Child, "the process was killed before it was ready"),
    }
}
