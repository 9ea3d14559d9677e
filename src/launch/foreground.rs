//! Waits for the process of an attached `run`, `exec` or `restore` on behalf of the caller, as if it were the
//! process.
//!
//! It forwards signals to the process, copies the terminal's bytes both ways, and returns the exit status. It
//! has one thread and one poll: signals are handled between two polls and not in a signal handler, which
//! could run at any moment.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::Signal;

use super::relay::{EventSource, Relay, Watch, wait_for};
use super::terminal::{self, Raw};
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::log;
use crate::sys::process::pidfd_send_signal;
use crate::sys::signal::{self, Signals, keep_exit_statuses};
use crate::sys::tty::{self, STDIN};
use crate::timeline::{Phase, begin};

/// How many buffers of 4096 bytes are read after the process has ended. That is more than a terminal holds.
/// It is bounded, because a leftover process may keep writing.
const MAX_DRAIN_READS: usize = 64;

/// A command in the foreground that stands for a process. It must be made before the process is cloned.
#[derive(Debug)]
pub struct Foreground {
    signals: Signals,
    subreaper: bool,
    /// The exit status of the process, if `reap_orphans` has already reaped it.
    exit: Option<i32>,
}

/// The container's terminal, shown on the caller's. The fields are dropped in this order: the container's
/// terminal is hung up first, then the caller's gets its mode back.
struct Attached {
    relay: Relay,
    raw: Option<Raw>,
}

impl Foreground {
    /// Blocks all signals. Must be called before the clone, so that no signal is lost and none ends us
    /// halfway.
    ///
    /// Children inherit the blocked signals. The container's process and hooks reset them before they
    /// execute. The signals stay blocked after [`wait`](Self::wait), so that the cleanup is not interrupted.
    /// A `subreaper` becomes the parent of every orphan of the container, and reaps them.
    pub fn prepare(subreaper: bool) -> Result<Self> {
        keep_exit_statuses().context("reset the action of SIGCHLD")?;
        if subreaper {
            set_child_subreaper(true).context("become child subreaper")?;
        }
        let signals = Signals::divert().context("divert signals")?;
        Ok(Self { signals, subreaper, exit: None })
    }

    /// Waits until the process has ended. Returns its exit status: its code, or 128 plus the number of the
    /// signal.
    ///
    /// `pid` is our child, dead or alive. `master` is the adopted master of the process's terminal, if it has
    /// one; otherwise the process has our standard streams. On an error the process goes on without us.
    pub fn wait(mut self, pid: i32, pidfd: BorrowedFd<'_>, master: Option<OwnedFd>) -> Result<i32> {
        begin(Phase::WaitForProgram);
        let mut attached = master.map(|master| self.attach(master)).transpose()?;
        while !self.poll_once(pid, pidfd, attached.as_mut())? {}
        if let Some(attached) = &mut attached {
            self.drain(&mut attached.relay)?;
        }
        drop(attached);
        self.reap(pid)
    }

    fn attach(&mut self, master: OwnedFd) -> Result<Attached> {
        if tty::mode(STDIN).is_ok() {
            // In the background of a shell, touching the terminal stops us until we are in the foreground
            // again.
            let job_control = [Signal::SIGTTIN, Signal::SIGTTOU];
            self.signals.release(&job_control).context("release signals of job control")?;
        }
        let raw = Raw::enter()?;
        let attached = Attached { relay: Relay::new(master)?, raw };
        // The size may have changed since the terminal was adopted.
        attached.resize();
        Ok(attached)
    }

    /// Waits for one poll's events and handles them. Returns whether the process has ended.
    fn poll_once(
        &mut self,
        pid: i32,
        pidfd: BorrowedFd<'_>,
        mut attached: Option<&mut Attached>,
    ) -> Result<bool> {
        let exit = (EventSource::Exit, pidfd, PollFlags::POLLIN);
        let mut watches = vec![exit, self.watch_signals()];
        watches.extend(attached.iter().flat_map(|attached| attached.relay.watches()));
        let sources = wait_for(&watches)?;
        for source in &sources {
            match (source, &mut attached) {
                (EventSource::Signals, attached) => self.pass_signals(pid, pidfd, attached.as_deref())?,
                (source, Some(attached)) => attached.relay.handle(*source),
                (_, None) => {}
            }
        }
        Ok(sources.contains(&EventSource::Exit))
    }

    fn watch_signals(&self) -> Watch<'_> {
        (EventSource::Signals, self.signals.as_fd(), PollFlags::POLLIN)
    }

    fn pass_signals(&mut self, pid: i32, pidfd: BorrowedFd<'_>, attached: Option<&Attached>) -> Result<()> {
        while let Some(signal) = self.signals.read().context("read signals")? {
            match signal {
                libc::SIGCHLD => self.reap_orphans(pid),
                libc::SIGWINCH => attached.into_iter().for_each(Attached::resize),
                // As runc, whose Go runtime sends SIGURG to itself and so cannot tell who sent one.
                libc::SIGURG => {}
                libc::SIGCONT => {
                    attached.into_iter().for_each(Attached::resume);
                    forward(signal, pidfd);
                }
                _ => forward(signal, pidfd),
            }
        }
        Ok(())
    }

    fn reap_orphans(&mut self, pid: i32) {
        while self.subreaper
            && let Ok(Some((ended, status))) = signal::wait(-1, false)
        {
            if ended == pid {
                self.exit = Some(status);
            }
        }
    }

    /// Writes what the terminal still holds. Ends early on a signal that asks us to end.
    fn drain(&mut self, relay: &mut Relay) -> Result<()> {
        for _ in 0..MAX_DRAIN_READS {
            if !relay.read_master() || relay.watch_output().is_none() {
                return Ok(());
            }
            while let Some(output) = relay.watch_output() {
                let sources = wait_for(&[self.watch_signals(), output])?;
                if sources.contains(&EventSource::Signals) && self.is_told_to_end()? {
                    return Ok(());
                }
                if sources.contains(&EventSource::Output) {
                    relay.handle(EventSource::Output);
                }
            }
        }
        Ok(())
    }

    fn is_told_to_end(&mut self) -> Result<bool> {
        let mut end = false;
        while let Some(signal) = self.signals.read().context("read signals")? {
            end |= matches!(signal, libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT);
        }
        Ok(end)
    }

    /// Reaps the process, which has ended, and any orphans that have ended. Returns the exit status of the
    /// process.
    fn reap(mut self, pid: i32) -> Result<i32> {
        self.reap_orphans(pid);
        if let Some(status) = self.exit {
            return Ok(status);
        }
        let ended = signal::wait(pid, true).with_context(|| format!("wait for process {pid}"))?;
        ended.map(|(_, status)| status).ok_or_else(|| fail!(Kind::Child, "process {pid} has no exit status"))
    }
}

impl Attached {
    fn resize(&self) {
        if let Some(size) = terminal::size() {
            self.relay.resize(size);
        }
    }

    /// Takes the terminal back after a stop (SIGCONT): another program may have changed its mode and size.
    fn resume(&self) {
        if let Some(Err(error)) = self.raw.as_ref().map(Raw::enter_again) {
            log::warn(format_args!("{error}"));
        }
        self.resize();
    }
}

fn forward(signal: i32, pidfd: BorrowedFd<'_>) {
    match pidfd_send_signal(pidfd, signal) {
        // The process has just ended.
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => log::warn(format_args!("forward signal {signal}: {errno}")),
    }
}
