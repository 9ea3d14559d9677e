//! `events`: samples the usage of a container, and reports each OOM kill in it.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::cgroup::live::oom::{OomEvent, OomWatch};
use crate::cgroup::{Group, Stats};
use crate::container::Status;
use crate::container_id::ContainerId;
use crate::error::{Context, Error, Kind, Result, matched};
use crate::lifecycle::load::{self, LoadedContainer};
use crate::lifecycle::options::{Events, Globals};
use crate::log;

mod rdt_stats;

pub(crate) use rdt_stats::Rdt;

/// How often the container is checked for other processes after its first process has ended.
const LAST_PROCESSES_INTERVAL: Duration = Duration::from_millis(100);

/// What `events` reports.
#[derive(Debug)]
pub(crate) enum Event {
    Sample(Box<Sample>),
    OutOfMemory,
}

/// The usage of a container at one moment.
#[derive(Debug)]
pub(crate) struct Sample {
    pub group: Stats,
    pub rdt: Rdt,
    /// How many processes of the container the kernel has killed for lack of memory; `None` if it does not
    /// count them.
    pub oom_kills: Option<u64>,
}

/// Calls `each` with every event: one sample, or samples and OOM kills until the container's last process has
/// ended.
pub(crate) fn events(
    globals: &Globals,
    id: &ContainerId,
    options: &Events,
    each: &mut dyn FnMut(&Event) -> Result<()>,
) -> Result<()> {
    let container = load::container(globals, id)?;
    if container.status == Status::Stopped {
        return Err(Error::new(Kind::State, matched::events_of_stopped(id)));
    }
    let group = container.group()?;
    if options.stats || options.openmetrics {
        return each(&Event::Sample(Box::new(sample(&group, &container)?)));
    }
    Watched { container: &container, group: &group, oom: watch_oom(&group), init: container.pidfd().ok() }
        .follow(options.interval, each)
}

fn sample(group: &Group, container: &LoadedContainer) -> Result<Sample> {
    let rdt = container.record.rdt.as_ref().map(rdt_stats::read).transpose()?.unwrap_or_default();
    Ok(Sample { group: group.stats()?, rdt, oom_kills: group.oom_kills() })
}

/// Starts to watch for OOM kills. Returns `None` with a warning if that is not possible, as in a rootless
/// container without a memory controller: the samples are useful nonetheless.
fn watch_oom(group: &Group) -> Option<OomWatch<'_>> {
    let watch = group.watch_oom();
    watch.inspect_err(|error| log::warn(format_args!("no OOM events: {error}"))).ok()
}

/// A container whose events are reported.
struct Watched<'a> {
    container: &'a LoadedContainer,
    group: &'a Group,
    oom: Option<OomWatch<'a>>,
    /// The first process; `None` after it has ended: from then on the cgroup shows whether a process is left.
    init: Option<OwnedFd>,
}

impl Watched<'_> {
    fn follow(mut self, interval: Duration, each: &mut dyn FnMut(&Event) -> Result<()>) -> Result<()> {
        let mut next = Instant::now() + interval;
        loop {
            let (oom, ended) = self.wait(next)?;
            if oom && self.tell_oom_kills(each)? {
                return Ok(());
            }
            if ended {
                self.init = None;
            }
            if self.init.is_none() && self.group.procs()?.is_empty() {
                return Ok(());
            }
            if Instant::now() >= next {
                // Missed samples are left out.
                next = (next + interval).max(Instant::now());
                match sample(self.group, self.container) {
                    Ok(sample) => each(&Event::Sample(Box::new(sample)))?,
                    Err(_) if !self.group.exists()? => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Waits at most until `until`. Returns whether there is an OOM notification, and whether the first
    /// process has ended.
    fn wait(&self, until: Instant) -> Result<(bool, bool)> {
        let mut time = until.saturating_duration_since(Instant::now());
        if self.init.is_none() {
            time = time.min(LAST_PROCESSES_INTERVAL);
        }
        let mut waiting = Vec::with_capacity(2);
        waiting.extend(self.oom.as_ref().map(|oom| PollFd::new(oom.as_fd(), PollFlags::POLLIN)));
        waiting.extend(self.init.as_ref().map(|init| PollFd::new(init.as_fd(), PollFlags::POLLIN)));
        // Rounded up: otherwise the loop would spin during the last millisecond.
        let time = PollTimeout::try_from(time + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut waiting, time) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("wait for an event of the container"),
        }
        let mut ready = waiting.iter().map(|fd| fd.any().unwrap_or(false));
        let oom = self.oom.is_some() && ready.next().unwrap_or(false);
        let ended = self.init.is_some() && ready.next().unwrap_or(false);
        Ok((oom, ended))
    }

    /// Reports the OOM kills since the last call. Returns whether the cgroup is gone.
    fn tell_oom_kills(&mut self, each: &mut dyn FnMut(&Event) -> Result<()>) -> Result<bool> {
        match self.oom.as_mut().map(OomWatch::read_event).transpose()? {
            Some(OomEvent::GroupRemoved) => Ok(true),
            Some(OomEvent::Kills(kills)) => {
                (0..kills).try_for_each(|_| each(&Event::OutOfMemory)).map(|()| false)
            }
            None => Ok(false),
        }
    }
}
