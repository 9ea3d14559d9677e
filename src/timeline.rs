//! Records when each phase of a command begins, in the runtime and in the process that it clones, for
//! `--timings` and `--trace`; the debug log has a record of each phase. Both processes write to the same shared memory, with the same clock
//! (CLOCK_MONOTONIC). While it is off, a phase costs one load from memory.

mod phase;
mod show;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use crate::error::{Context, Result};
use crate::log::{self, Level};
use crate::sys::shared_memory;

pub(crate) use phase::Phase;
pub(crate) use show::{table, trace_events};

/// How many phases are recorded at most. `create` has about 40, and one for each mount.
const CAPACITY: usize = 2047;

/// The index of a mount that the configuration does not name.
pub(crate) const NO_INDEX: usize = u32::MAX as usize;

/// The first counter is the number of marks. Each mark has two more: which phase begins, and when, in
/// nanoseconds.
static COUNTERS: OnceLock<&'static [AtomicU64; 2 * CAPACITY + 2]> = OnceLock::new();
/// When the recording began. A clone has a copy.
static BEGINNING: OnceLock<Instant> = OnceLock::new();
/// The number of the process: 0 for the runtime itself, in a clone the one given to [`enter_clone`].
static PROCESS: AtomicU64 = AtomicU64::new(0);

/// How many phases of each process have a debug record.
static LOGGED: [AtomicUsize; Process::ALL.len()] = [const { AtomicUsize::new(0) }; Process::ALL.len()];

/// The process that a phase belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Process {
    Runtime,
    /// The process that makes namespaces and then clones the container's process, if that is needed.
    Helper,
    /// The container's process until its execve(2).
    Init,
}

impl Process {
    const ALL: [Self; 3] = [Self::Runtime, Self::Helper, Self::Init];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Runtime => "tare",
            Self::Helper => "helper",
            Self::Init => "container",
        }
    }
}

/// The beginning of a phase, which lasts until the next one of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub process: Process,
    pub phase: Phase,
    /// For `Phase::Mount`, the index of the mount in the configuration, otherwise 0.
    pub index: u32,
    /// Nanoseconds since the recording began.
    pub time: u64,
}

/// Starts to record.
pub(crate) fn switch_on() -> Result<()> {
    let counters = shared_memory::counters().context("map memory for the timeline")?;
    let _ = (BEGINNING.set(Instant::now()), COUNTERS.set(counters));
    Ok(())
}

/// Sets which process this clone is: its phases from here on are recorded under that name.
pub(crate) fn enter_clone(process: Process) {
    PROCESS.store(process as u64, Ordering::Relaxed);
}

/// Marks the beginning of a phase.
pub(crate) fn begin(phase: Phase) {
    begin_indexed(phase, 0);
}

/// Marks the beginning of the phase for the object with this index.
pub(crate) fn begin_indexed(phase: Phase, index: usize) {
    if let Some(counters) = COUNTERS.get() {
        record(*counters, phase, index);
    }
}

#[cold]
fn record(counters: &[AtomicU64], phase: Phase, index: usize) {
    mark_beginning(counters, phase, index);
    // A clone logs nothing: what it does is told by the runtime, which reads its marks.
    if PROCESS.load(Ordering::Relaxed) == Process::Runtime as u64 {
        log_ended(None);
    }
}

/// Writes a debug record for each phase that has ended since the last call: what was done, and how long it
/// took. `end`, at the end of the command, ends them all.
pub(crate) fn log_ended(end: Option<u64>) {
    if !log::enabled(Level::Debug) {
        return;
    }
    let Some(marks) = marks() else { return };
    let already = LOGGED.each_ref().map(|count| count.load(Ordering::Relaxed));
    let (lines, logged) = show::ended(&marks, already, end);
    LOGGED.iter().zip(logged).for_each(|(count, now)| count.store(now, Ordering::Relaxed));
    lines.iter().for_each(|line| log::debug(format_args!("{line}")));
}

fn mark_beginning(counters: &[AtomicU64], phase: Phase, index: usize) {
    let place = usize::try_from(counters[0].fetch_add(1, Ordering::Relaxed)).unwrap_or(CAPACITY);
    if place >= CAPACITY {
        return;
    }
    let what = PROCESS.load(Ordering::Relaxed) << 48 | (phase as u64) << 32 | u64::from(index as u32);
    counters[2 * place + 2].store(now(), Ordering::Relaxed);
    // This counter is written last and is never zero, so that a mark that a killed process has half written
    // is not read.
    counters[2 * place + 1].store(what + 1, Ordering::Release);
}

/// Returns the nanoseconds since the recording began, by CLOCK_MONOTONIC.
pub(crate) fn now() -> u64 {
    BEGINNING.get().map_or(0, |beginning| u64::try_from(beginning.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// Returns all marks so far, in the order of time. Returns `None` if the timeline is off.
pub(crate) fn marks() -> Option<Vec<Mark>> {
    let counters = *COUNTERS.get()?;
    let count = usize::try_from(counters[0].load(Ordering::Relaxed)).unwrap_or(CAPACITY).min(CAPACITY);
    let mut marks: Vec<Mark> = (0..count).filter_map(|place| mark(counters, place)).collect();
    marks.sort_by_key(|mark| mark.time);
    Some(marks)
}

fn mark(counters: &[AtomicU64], place: usize) -> Option<Mark> {
    let what = counters[2 * place + 1].load(Ordering::Acquire).checked_sub(1)?;
    Some(Mark {
        process: *Process::ALL.get(usize::try_from(what >> 48).ok()?)?,
        phase: *Phase::ALL.get(usize::try_from(what >> 32 & 0xffff).ok()?)?,
        index: (what & 0xffff_ffff) as u32,
        time: counters[2 * place + 2].load(Ordering::Relaxed),
    })
}
