//! Reads the v2 files, and converts them to v1's terms.

use super::model::{
    Blkio, BlkioEntry, Cpu, CpuUsage, Cpuset, Hugetlb, Memory, MemoryEntry, Pids, Stats, Throttling,
};
use super::read::{cpu_numbers, device, keyed, number, number_or_zero, page_sizes, text};
use crate::cgroup::dir::CgroupDir;
use crate::cgroup::live::group::Group;
use crate::cgroup::live::procs;
use crate::error::Result;

pub(super) fn stats(group: &Group) -> Result<Stats> {
    let mut stats = Stats::default();
    if group.record().locations.is_empty() {
        return Ok(stats);
    }
    let dir = group.dir(0)?;
    stats.cpu = cpu(dir)?;
    stats.cpuset = Cpuset {
        cpus: cpu_numbers(&text(dir, "cpuset.cpus.effective")?.unwrap_or_default()),
        mems: cpu_numbers(&text(dir, "cpuset.mems.effective")?.unwrap_or_default()),
        ..Cpuset::default()
    };
    stats.memory = memory(dir)?;
    stats.pids = pids(dir)?;
    stats.blkio = block_io(&text(dir, "io.stat")?.unwrap_or_default());
    for size in page_sizes() {
        let part = hugetlb(dir, &size)?;
        stats.hugetlb.extend(part.map(|part| (size, part)));
    }
    Ok(stats)
}

/// Counts the processes one by one if the controller is missing, as runc does.
fn pids(dir: &CgroupDir) -> Result<Pids> {
    let Some(current) = number(dir, "pids.current")? else {
        return Ok(Pids { current: procs::all(dir)?.len() as u64, limit: 0 });
    };
    let limit = number_or_zero(dir, "pids.max")?;
    Ok(Pids { current, limit: if limit == u64::MAX { 0 } else { limit } })
}

/// Converts microseconds to nanoseconds.
fn cpu(dir: &CgroupDir) -> Result<Cpu> {
    let stat = keyed(&text(dir, "cpu.stat")?.unwrap_or_default());
    let value = |key: &str| stat.get(key).copied().unwrap_or(0);
    Ok(Cpu {
        usage: CpuUsage {
            total: value("usage_usec") * 1000,
            user: value("user_usec") * 1000,
            kernel: value("system_usec") * 1000,
            ..CpuUsage::default()
        },
        throttling: Throttling {
            periods: value("nr_periods"),
            throttled_periods: value("nr_throttled"),
            throttled_time: value("throttled_usec") * 1000,
        },
        psi: None,
    })
}

fn memory(dir: &CgroupDir) -> Result<Memory> {
    let raw = keyed(&text(dir, "memory.stat")?.unwrap_or_default());
    let events = keyed(&text(dir, "memory.events")?.unwrap_or_default());
    let mut usage = entry(dir, "memory")?;
    usage.failcnt = events.get("max").copied().unwrap_or(0);
    let mut swap = entry(dir, "memory.swap")?;
    // Readers of v1 expect "memory and swap together"; two peaks cannot be added up to a common one.
    swap.usage += usage.usage;
    swap.limit = swap.limit.saturating_add(usage.limit);
    swap.max = 0;
    Ok(Memory { cache: raw.get("file").copied().unwrap_or(0), usage, swap, raw, ..Memory::default() })
}

fn entry(dir: &CgroupDir, prefix: &str) -> Result<MemoryEntry> {
    let value = |name: &str| number_or_zero(dir, &format!("{prefix}.{name}"));
    // KERNEL(5.19, swap 6.5): the peak.
    Ok(MemoryEntry { limit: value("max")?, usage: value("current")?, max: value("peak")?, failcnt: 0 })
}

/// Parses `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`.
fn block_io(text: &str) -> Blkio {
    let mut blkio = Blkio::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut blkio.io_service_bytes_recursive, "Write"),
                "rios" => (&mut blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut blkio.io_serviced_recursive, "Write"),
                _ => continue,
            };
            let value = value.parse().unwrap_or(0);
            list.push(BlkioEntry { major, minor, op: op.to_owned(), value });
        }
    }
    blkio
}

fn hugetlb(dir: &CgroupDir, size: &str) -> Result<Option<Hugetlb>> {
    for prefix in [format!("hugetlb.{size}.rsvd"), format!("hugetlb.{size}")] {
        if let Some(usage) = number(dir, &format!("{prefix}.current"))? {
            let events = keyed(&text(dir, &format!("hugetlb.{size}.events"))?.unwrap_or_default());
            return Ok(Some(Hugetlb { usage, max: 0, failcnt: events.get("max").copied().unwrap_or(0) }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_counters_become_reads_and_writes() {
        let blkio = block_io("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n\n252:1 \nbad rbytes=1\n");
        let short = |list: &[BlkioEntry]| {
            list.iter().map(|e| format!("{}:{} {} {}", e.major, e.minor, e.op, e.value)).collect::<Vec<_>>()
        };
        assert_eq!(short(&blkio.io_service_bytes_recursive), ["8:0 Read 1", "8:0 Write 2"]);
        assert_eq!(short(&blkio.io_serviced_recursive), ["8:0 Read 3", "8:0 Write 4"]);
    }
}
