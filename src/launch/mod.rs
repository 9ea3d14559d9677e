//! The parent's half of starting a process: it opens descriptors, clones once, talks with the child, and puts
//! failures into words.

pub(crate) mod console;
mod conversation;
pub(crate) mod criu;
pub(crate) mod explain;
pub(crate) mod foreground;
mod id_mapped;
pub(crate) mod id_maps;
pub(crate) mod init_fds;
mod joined_user_namespace;
pub(crate) mod net_devices;
pub(crate) mod notify;
pub(crate) mod preserved_fds;
pub(crate) mod rdt;
mod relay;
pub(crate) mod seal;
pub(crate) mod seccomp_agent;
pub(crate) mod seccomp_death;
pub(crate) mod sources;
pub(crate) mod streams;
mod terminal;
mod unprivileged;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use crate::cgroup::Group;
use crate::container::record::ProcessIdentity;
use crate::container::status::ProcessStat;
use crate::error::{Context, Error, Kind, Result, matched};
use crate::handshake::{self, Acknowledgement, Message, Report, Step, SyncSocket};
use crate::init::args::InitArgs;
use crate::init::{self, namespaces};
use crate::log;
use crate::plan::namespaces::NamespacePlan;
use crate::plan::seccomp::Filter;
use crate::plan::waits::Waits;
use crate::sys::file::read_small_at;
use crate::sys::process::{CloneSide, clone3, pidfd_send_signal};
use crate::timeline::{self, Phase, begin};
use conversation::Conversation;
use seccomp_agent::Agent;
use sources::Sources;

/// Whether the caller types at a terminal and sees the output on one.
pub(crate) fn is_at_terminal() -> bool {
    terminal::is_interactive()
}

/// A process that has been cloned and has not yet been told to execute.
#[derive(Debug)]
pub(crate) struct Child {
    pub process: ProcessIdentity,
    pub pidfd: OwnedFd,
    socket: Conversation,
    waits: Waits,
    /// Messages of the process that arrived before its helper sent its pid.
    early: RefCell<VecDeque<Message>>,
}

/// What a clone needs besides the arguments of the new process.
pub(crate) struct SpawnOptions<'a> {
    pub namespaces: &'a NamespacePlan,
    pub group: Option<&'a Group>,
    pub oom_score_adj: Option<i32>,
    /// How many descriptors from 3 on the program gets.
    pub preserve_fds: u32,
    /// This process has blocked the signals that ask it to end, because it stands for the new one. Until the
    /// new one has executed, these signals are for us.
    pub foreground: bool,
}

/// Why the child did not become ready.
// Not boxed: a report has a fixed size on purpose, and there is at most one.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub(crate) enum SpawnError {
    /// The child has sent a report; `explain` finds the words in the plan.
    Reported(Report),
    /// The child ended without a report; by this signal, if that is known.
    Died(Option<i32>),
    Other(Error),
}

impl From<Error> for SpawnError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Clones the new process, through a helper if the namespaces need one.
pub(crate) fn spawn(
    options: &SpawnOptions<'_>,
    mut args: InitArgs,
    child_main: impl FnOnce(&InitArgs, &SyncSocket) -> Result<Infallible, Report>,
) -> std::result::Result<Child, SpawnError> {
    let (ours, theirs) = handshake::socket_pair().context("make socket pair")?;
    let namespaces = options.namespaces;
    let helper = namespaces.needs_helper();
    let placement = options.group.map(Group::placement).transpose()?.unwrap_or_default();
    // Whether the clone is already in all groups. In a hybrid layout (the table at `Placement`) it still has
    // to join the v1 groups, and until then only the placeholder keeps systemd's scope alive.
    let cloned_into = placement.clone_into.is_some() && placement.self_join.is_empty();
    args.fds.cgroup_tasks = placement.self_join;
    let maps = namespaces.id_maps.as_ref().filter(|_| !helper);
    args.waits = args.waits.with_placement_by_runtime(placement.parent_joins);
    args.ignored_signals = crate::sys::signal::ignored();
    let flags = if helper { 0 } else { namespaces.clone_flags() };
    log::debug(format_args!("{}: clone3 with flags {flags:#x}", matched::CONTAINER_SETUP));
    let cloned = clone3(flags as u64, placement.clone_into);
    let first = match cloned.map_err(|errno| unprivileged::clone_error(errno, namespaces))? {
        CloneSide::Child => {
            drop(ours);
            timeline::enter_clone(if helper { timeline::Process::Helper } else { timeline::Process::Init });
            begin(Phase::EnterNamespaces);
            if helper {
                init::run_or_report(&theirs, || {
                    namespaces::helper(namespaces, options.preserve_fds, &args, &theirs, || {
                        timeline::enter_clone(timeline::Process::Init);
                        begin(Phase::EnterNamespaces);
                        child_main(&args, &theirs)
                    })
                })
            }
            init::run_or_report(&theirs, || child_main(&args, &theirs))
        }
        // From here on no way out of this function leaves the process behind: `first` kills it when it is
        // dropped.
        CloneSide::Parent { pid, pidfd } => KillOnDrop { pid, pidfd: Some(pidfd) },
    };
    drop(theirs);
    let ours = Conversation::new(ours, options.foreground)?;
    // Closes our copies of the child's descriptors: whoever holds the other end, such as `console::Incoming`,
    // must see an end of file when the child is gone.
    let waits = args.waits;
    drop(args);
    match options.group {
        Some(group) if placement.parent_joins => group.join(first.pid)?,
        Some(group) if cloned_into => group.release_placeholder(),
        _ => {}
    }
    if let Some(maps) = maps {
        id_maps::write_id_maps(first.pid, maps)?;
    }
    adjust_oom_score(first.pid, options.oom_score_adj)?;
    if waits.placed {
        ours.acknowledge(Acknowledgement::Placed)?;
    }
    if helper {
        follow_helper(namespaces, first, ours, waits)
    } else {
        first.child(ours, waits, VecDeque::new())
    }
}

/// A process that has just been cloned. It is killed unless it becomes a `Child`.
struct KillOnDrop {
    pid: i32,
    pidfd: Option<OwnedFd>,
}

impl KillOnDrop {
    fn child(
        mut self,
        socket: Conversation,
        waits: Waits,
        early: VecDeque<Message>,
    ) -> std::result::Result<Child, SpawnError> {
        // Without the start time nobody could later tell the process from another with its pid, and kill it.
        let Some(seen) = ProcessStat::read(self.pid).context("remember the new process")? else {
            return Err(read_failure(&socket));
        };
        let pidfd = self.pidfd.take().ok_or(Errno::EBADF).context("keep the process")?;
        let early = RefCell::new(early);
        Ok(Child {
            process: ProcessIdentity { pid: self.pid, start: seen.start },
            pidfd,
            socket,
            waits,
            early,
        })
    }
}

/// Reads why the child failed when /proc no longer shows it (with SIGCHLD ignored, a dead child leaves no
/// zombie).
fn read_failure(socket: &Conversation) -> SpawnError {
    loop {
        match socket.recv() {
            Ok(Message::Failed(report)) => return SpawnError::Reported(report),
            Ok(Message::Closed) => return SpawnError::Died(None),
            Ok(_) => {}
            Err(error) => return SpawnError::Other(error),
        }
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(pidfd) = &self.pidfd {
            let _ = pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            let _ = reap(pidfd);
        }
    }
}

/// Talks with the helper until it has sent the pid of the container's process. That process uses the same
/// socket, and may be the first to speak.
fn follow_helper(
    namespaces: &NamespacePlan,
    helper: KillOnDrop,
    socket: Conversation,
    waits: Waits,
) -> std::result::Result<Child, SpawnError> {
    let mut early = VecDeque::new();
    loop {
        match socket.recv()? {
            Message::MapIds => {
                if let Some(maps) = &namespaces.id_maps {
                    id_maps::write_id_maps(helper.pid, maps)?;
                }
                socket.acknowledge(Acknowledgement::IdsMapped)?;
            }
            Message::InitPid(pid, pidfd) => {
                drop(helper);
                return KillOnDrop { pid, pidfd: Some(pidfd) }.child(socket, waits, early);
            }
            message @ (Message::RunHooks
            | Message::Ready
            | Message::Listener(_)
            | Message::MapMount(..)
            | Message::CloneAnew(_)) => early.push_back(message),
            Message::Failed(report) => return Err(SpawnError::Reported(report)),
            Message::Closed => return Err(SpawnError::Died(None)),
        }
    }
}

impl Child {
    /// Tells the process that its resctrl groups and network devices are in place, if it waits for them.
    pub(crate) fn resources_assigned(&self) -> Result<()> {
        if self.waits.resources_assigned {
            self.acknowledge(Acknowledgement::ResourcesAssigned)?;
        }
        Ok(())
    }

    /// A process that has ended meanwhile is no failure: its last message says why. Any other is, or both sides would
    /// wait for each other.
    fn acknowledge(&self, acknowledgement: Acknowledgement) -> Result<()> {
        match self.socket.acknowledge(acknowledgement) {
            Err(error) if matches!(error.errno(), Some(Errno::EPIPE | Errno::ECONNRESET)) => Ok(()),
            other => other,
        }
    }

    /// Waits until everything is set up. `hooks` runs when the child has come to its runtime hooks. The
    /// `agent` gets the listener of a filter that notifies. `sources` does
    /// what the child may not do itself.
    pub(crate) fn wait_until_ready(
        &self,
        agent: Option<&Agent<'_>>,
        mut hooks: impl FnMut() -> Result<()>,
        sources: &Sources<'_>,
    ) -> std::result::Result<(), SpawnError> {
        loop {
            match self.recv()? {
                Message::Ready => {
                    log::debug(format_args!("{}: {} is ready", matched::CHILD_IN_INIT, self.process.pid));
                    return Ok(());
                }
                Message::RunHooks => {
                    begin(Phase::RunHooks);
                    hooks()?;
                    begin(Phase::ServeInit);
                    self.acknowledge(Acknowledgement::HooksDone)?;
                }
                Message::MapMount(index, mount) => {
                    sources.map_ids(index, &mount)?;
                    self.acknowledge(Acknowledgement::MountMapped)?;
                }
                Message::CloneAnew(index) => self.socket.acknowledge_with(&sources.clone_anew(index)?)?,
                // There is an agent: `plan::seccomp` refuses a filter that notifies without a listenerPath.
                Message::Listener(number) => {
                    agent.map_or(Ok(()), |agent| agent.send_listener(self, number))?;
                    self.acknowledge(Acknowledgement::ListenerTaken)?;
                }
                Message::Failed(report) => return Err(SpawnError::Reported(report)),
                // Only a helper sends these, and it has ended.
                Message::MapIds | Message::InitPid(..) => {
                    return Err(Error::from(Errno::EPROTO).context(conversation::DOING).into());
                }
                Message::Closed => return Err(SpawnError::Died(self.ended_by())),
            }
        }
    }

    fn recv(&self) -> Result<Message> {
        let early = self.early.borrow_mut().pop_front();
        early.map_or_else(|| self.socket.recv(), Ok)
    }

    /// Tells the process that the record is written: from now on it waits on its exec fifo, and no longer for
    /// us.
    pub(crate) fn set_created(&self) -> Result<()> {
        self.socket.acknowledge(Acknowledgement::Created)
    }

    /// Tells the process to execute its program. Returns when execve has succeeded, and the report if it has
    /// failed.
    ///
    /// If execve fails, the child prints the error to its own stderr. `attended`: the caller sees that
    /// stderr, so the report is not printed again.
    ///
    /// If the `filter` does not permit execve, the process may have been unable to report; then the closed
    /// socket means that it has ended.
    pub(crate) fn start(
        &self,
        attended: bool,
        filter: Option<&Filter>,
    ) -> std::result::Result<(), SpawnError> {
        begin(Phase::Start);
        self.acknowledge(Acknowledgement::Start)?;
        match self.socket.recv()? {
            // execve failed and the caller has read why. The exit status of the process says the rest.
            Message::Failed(report) if attended && report.step == Step::Execute => Ok(()),
            Message::Failed(report) => Err(SpawnError::Reported(report)),
            Message::Closed if filter.is_some_and(|filter| !filter.permits_execve) => {
                Err(SpawnError::Died(self.ended_by()))
            }
            Message::Closed
                if filter.is_some_and(|filter| !filter.permits_report) && !self.has_executed()? =>
            {
                Err(SpawnError::Died(self.ended_by()))
            }
            // The socket closes on execve.
            _ => Ok(()),
        }
    }

    /// Returns the signal that ended the process, after it has closed its socket without executing. Leaves
    /// the process to be reaped.
    fn ended_by(&self) -> Option<i32> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
        match waitid(Id::PIDFd(self.pidfd.as_fd()), flags) {
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(signal as i32),
            _ => None,
        }
    }

    /// Whether a process that has closed its socket has done so by executing its program: then it has another
    /// name than we have, a moment later. What has ended under our name has not.
    fn has_executed(&self) -> Result<bool> {
        const ATTEMPTS: u32 = 100;
        let name = |path: &str| read_small_at(path).with_context(|| format!("read {path}"));
        let (own, its) = (name("/proc/self/comm")?, format!("/proc/{}/comm", self.process.pid));
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
        for _ in 0..ATTEMPTS {
            let lives = waitid(Id::PIDFd(self.pidfd.as_fd()), flags) == Ok(WaitStatus::StillAlive);
            if name(&its)? != own {
                return Ok(true);
            }
            if !lives {
                return Ok(false);
            }
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        Ok(true)
    }

    /// Kills the process and waits for its end.
    pub(crate) fn kill(&self) {
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
    let doing = || format!("/process/oomScoreAdj: write {path}");
    std::fs::write(&path, adjustment.to_string()).with_context(doing)
}

/// Returns the error for a child that ended without a report: the kernel may have killed it for lack of
/// memory.
pub(crate) fn died(group: &Group) -> Error {
    match group.oom_kills() {
        Some(kills) if kills > 0 => Error::new(Kind::Child, matched::OOM_KILLED).with_hint(
            "/linux/resources/memory/limit is a number of bytes; `tare check` tells those that are too low",
        ),
        _ => Error::new(Kind::Child, "the process was killed before it was ready"),
    }
}
