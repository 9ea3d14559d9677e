//! `top`: what every container uses now. Two samples make rates of counters.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::cgroup::{HierarchyRoots, Stats};
use crate::container::Store;
use crate::error::{Kind, Result};
use crate::lifecycle::load::{self, LoadedContainer};
use crate::lifecycle::options::Globals;
use crate::lifecycle::out_of_memory::NO_LIMIT;

/// The time between the two samples of a table that is shown once.
const PAUSE: Duration = Duration::from_millis(300);

/// One container.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub id: String,
    pub status: &'static str,
    /// `None` for a container without processes or control group.
    pub usage: Option<Usage>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Usage {
    /// Of one processor; `None` in the first sample.
    pub cpu_percent: Option<f64>,
    /// Bytes, as the limit.
    pub memory: u64,
    pub memory_limit: Option<u64>,
    pub pids: u64,
    pub pids_limit: Option<u64>,
    /// Bytes read and written in a second.
    pub io_rate: Option<f64>,
    /// The percentage of the last ten seconds in which a process waited for processor, memory and I/O.
    pub pressure: Option<[f64; 3]>,
}

/// Takes samples of all containers.
pub(crate) struct Sampler<'a> {
    globals: &'a Globals,
    earlier: HashMap<String, Counters>,
}

/// What only grows.
#[derive(Debug, Clone, Copy)]
struct Counters {
    time: Instant,
    cpu_nanoseconds: u64,
    io_bytes: u64,
}

impl<'a> Sampler<'a> {
    pub(crate) fn new(globals: &'a Globals) -> Self {
        Self { globals, earlier: HashMap::new() }
    }

    /// Takes one sample. A container that cannot be read, or is gone meanwhile, is left out.
    pub(crate) fn sample(&mut self) -> Result<Vec<Row>> {
        let entries = Store::new(&self.globals.root, self.globals.root_in_xdg).entries()?;
        let mut hierarchies = HierarchyRoots::default();
        let (mut rows, mut counters) = (Vec::new(), HashMap::new());
        for entry in entries.unwrap_or_default() {
            let id = entry.id().to_string();
            let Ok(container) = load::from_entry_with(entry, &mut hierarchies) else { continue };
            let stats = stats(&container)?;
            let now = stats.as_ref().map(Counters::of);
            let usage = stats.map(|stats| usage(&stats, now, self.earlier.get(&id)));
            rows.push(Row { id: id.clone(), status: container.status.word(), usage });
            counters.extend(now.map(|now| (id, now)));
        }
        self.earlier = counters;
        Ok(rows)
    }

    /// Takes two samples, so that the second has rates.
    pub(crate) fn sample_with_rates(&mut self) -> Result<Vec<Row>> {
        self.sample()?;
        std::thread::sleep(PAUSE);
        self.sample()
    }
}

/// Reads the statistics; `None` if there are none, or if the container's end was between two files.
fn stats(container: &LoadedContainer) -> Result<Option<Stats>> {
    let Ok(group) = container.group() else { return Ok(None) };
    match group.stats() {
        Ok(stats) => Ok(Some(stats)),
        // A user may not read the groups of others.
        Err(error) if error.kind() == Kind::Denied || error.errno().is_some() => Ok(None),
        Err(error) => {
            if group.exists()? {
                Err(error)
            } else {
                Ok(None)
            }
        }
    }
}

impl Counters {
    fn of(stats: &Stats) -> Self {
        let transfers = stats.blkio.io_service_bytes_recursive.iter();
        let counted = transfers.filter(|entry| ["read", "write"].contains(&&*entry.op.to_lowercase()));
        let io_bytes = counted.fold(0_u64, |sum, entry| sum.saturating_add(entry.value));
        Self { time: Instant::now(), cpu_nanoseconds: stats.cpu.usage.total, io_bytes }
    }
}

fn usage(stats: &Stats, now: Option<Counters>, earlier: Option<&Counters>) -> Usage {
    let limit = |limit: u64| (1..NO_LIMIT).contains(&limit).then_some(limit);
    // A counter that has fallen is that of a new container with the old one's id.
    let rate = |count: fn(&Counters) -> u64| {
        let (now, earlier) = (now?, earlier?);
        let seconds = now.time.duration_since(earlier.time).as_secs_f64();
        let more = count(&now).checked_sub(count(earlier))?;
        (seconds > 0.0).then(|| more as f64 / seconds)
    };
    let pressure = || Some([stats.cpu.psi?, stats.memory.psi?, stats.blkio.psi?].map(|psi| psi.some.avg10));
    Usage {
        cpu_percent: rate(|counters| counters.cpu_nanoseconds).map(|nanoseconds| nanoseconds / 1e7),
        memory: stats.memory.usage.usage,
        memory_limit: limit(stats.memory.usage.limit),
        pids: stats.pids.current,
        pids_limit: limit(stats.pids.limit),
        io_rate: rate(|counters| counters.io_bytes),
        pressure: pressure(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second_and_a_new_container_has_none() {
        let mut stats = Stats::default();
        stats.cpu.usage.total = 3_000_000_000;
        stats.memory.usage.limit = u64::MAX;
        let earlier = Counters { time: Instant::now(), cpu_nanoseconds: 1_000_000_000, io_bytes: 0 };
        let now = Counters {
            time: earlier.time + Duration::from_secs(4),
            cpu_nanoseconds: 3_000_000_000,
            io_bytes: 8,
        };
        let seen = usage(&stats, Some(now), Some(&earlier));
        assert_eq!((seen.cpu_percent, seen.io_rate, seen.memory_limit), (Some(50.0), Some(2.0), None));
        assert_eq!(usage(&stats, Some(earlier), Some(&now)).cpu_percent, None);
        assert_eq!(usage(&stats, Some(now), None).cpu_percent, None);
    }
}
