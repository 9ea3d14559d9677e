//! Reads the v1 files.

use super::model::{Blkio, BlkioEntry, Cpu, Cpuset, Hugetlb, Memory, MemoryEntry, Pids, Stats};
use super::read::{blkio, cpu_numbers, keyed, number, number_or_zero, page_sizes, text};
use crate::cgroup::dir::CgroupDir;
use crate::cgroup::live::group::Group;
use crate::error::Result;

/// cpuacct.stat counts in ticks of 1/100 s, whatever the kernel's internal tick (USER_HZ).
const TICK: u64 = 10_000_000;

pub(super) fn stats(group: &Group) -> Result<Stats> {
    let mut stats = Stats::default();
    let dir = |name| group.record().location_of(name).map(|location| group.dir(location)).transpose();
    if let Some(dir) = dir("cpu")? {
        throttling(dir, &mut stats.cpu)?;
    }
    if let Some(dir) = dir("cpuacct")? {
        usage(dir, &mut stats.cpu)?;
    }
    if let Some(dir) = dir("cpuset")? {
        stats.cpuset = cpuset(dir)?;
    }
    if let Some(dir) = dir("memory")? {
        stats.memory = memory(dir)?;
    }
    if let Some(dir) = dir("pids")? {
        stats.pids = pids(dir)?;
    }
    if let Some(dir) = dir("blkio")? {
        stats.blkio = block_io(dir)?;
    }
    if let Some(dir) = dir("hugetlb")? {
        for size in page_sizes() {
            let part = hugetlb(dir, &size)?;
            stats.hugetlb.extend(part.map(|part| (size, part)));
        }
    }
    Ok(stats)
}

fn throttling(dir: &CgroupDir, cpu: &mut Cpu) -> Result<()> {
    let stat = keyed(&text(dir, "cpu.stat")?.unwrap_or_default());
    let value = |key: &str| stat.get(key).copied().unwrap_or(0);
    cpu.throttling.periods = value("nr_periods");
    cpu.throttling.throttled_periods = value("nr_throttled");
    cpu.throttling.throttled_time = value("throttled_time");
    Ok(())
}

fn usage(dir: &CgroupDir, cpu: &mut Cpu) -> Result<()> {
    let usage = &mut cpu.usage;
    usage.total = number_or_zero(dir, "cpuacct.usage")?;
    let stat = keyed(&text(dir, "cpuacct.stat")?.unwrap_or_default());
    let ticks = |key: &str| stat.get(key).copied().unwrap_or(0) * TICK;
    (usage.user, usage.kernel) = (ticks("user"), ticks("system"));
    let percpu = text(dir, "cpuacct.usage_percpu")?.unwrap_or_default();
    usage.percpu = percpu.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // A header, then `cpu user system`.
    for line in text(dir, "cpuacct.usage_all")?.unwrap_or_default().lines().skip(1) {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        if let [_, user, system] = numbers[..] {
            usage.percpu_user.push(user);
            usage.percpu_kernel.push(system);
        }
    }
    Ok(())
}

fn cpuset(dir: &CgroupDir) -> Result<Cpuset> {
    let value = |name: &str| number_or_zero(dir, &format!("cpuset.{name}"));
    let level = text(dir, "cpuset.sched_relax_domain_level")?.unwrap_or_default();
    Ok(Cpuset {
        cpus: cpu_numbers(&text(dir, "cpuset.cpus")?.unwrap_or_default()),
        cpu_exclusive: value("cpu_exclusive")?,
        mems: cpu_numbers(&text(dir, "cpuset.mems")?.unwrap_or_default()),
        mem_hardwall: value("mem_hardwall")?,
        mem_exclusive: value("mem_exclusive")?,
        memory_migrate: value("memory_migrate")?,
        memory_spread_page: value("memory_spread_page")?,
        memory_spread_slab: value("memory_spread_slab")?,
        memory_pressure: value("memory_pressure")?,
        sched_load_balance: value("sched_load_balance")?,
        sched_relax_domain_level: level.trim().parse().unwrap_or(0),
    })
}

fn memory(dir: &CgroupDir) -> Result<Memory> {
    let raw = keyed(&text(dir, "memory.stat")?.unwrap_or_default());
    Ok(Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: entry(dir, "memory")?,
        swap: entry(dir, "memory.memsw")?,
        kernel: entry(dir, "memory.kmem")?,
        kernel_tcp: entry(dir, "memory.kmem.tcp")?,
        raw,
        psi: None,
    })
}

fn entry(dir: &CgroupDir, prefix: &str) -> Result<MemoryEntry> {
    let value = |name: &str| number_or_zero(dir, &format!("{prefix}.{name}"));
    Ok(MemoryEntry {
        limit: value("limit_in_bytes")?,
        usage: value("usage_in_bytes")?,
        max: value("max_usage_in_bytes")?,
        failcnt: value("failcnt")?,
    })
}

fn pids(dir: &CgroupDir) -> Result<Pids> {
    let limit = number_or_zero(dir, "pids.max")?;
    Ok(Pids {
        current: number_or_zero(dir, "pids.current")?,
        limit: if limit == u64::MAX { 0 } else { limit },
    })
}

/// Reads the block I/O. The disks' scheduler decides which files count: the first family that has counted
/// anything is used.
fn block_io(dir: &CgroupDir) -> Result<Blkio> {
    for family in ["blkio.bfq.", "blkio."] {
        let read = |name: &str| -> Result<Vec<BlkioEntry>> {
            Ok(blkio(&text(dir, &format!("{family}{name}_recursive"))?.unwrap_or_default()))
        };
        let serviced = read("io_serviced")?;
        if !serviced.is_empty() {
            return Ok(Blkio {
                io_service_bytes_recursive: read("io_service_bytes")?,
                io_serviced_recursive: serviced,
                io_queued_recursive: read("io_queued")?,
                io_service_time_recursive: read("io_service_time")?,
                io_wait_time_recursive: read("io_wait_time")?,
                io_merged_recursive: read("io_merged")?,
                io_time_recursive: read("time")?,
                sectors_recursive: read("sectors")?,
                psi: None,
            });
        }
    }
    for suffix in ["_recursive", ""] {
        let read = |name: &str| -> Result<Vec<BlkioEntry>> {
            Ok(blkio(&text(dir, &format!("blkio.throttle.{name}{suffix}"))?.unwrap_or_default()))
        };
        let serviced = read("io_serviced")?;
        if !serviced.is_empty() {
            let bytes = read("io_service_bytes")?;
            return Ok(Blkio {
                io_service_bytes_recursive: bytes,
                io_serviced_recursive: serviced,
                ..Blkio::default()
            });
        }
    }
    Ok(Blkio::default())
}

/// Reads reservations if the kernel counts them (5.7), otherwise the pages themselves.
fn hugetlb(dir: &CgroupDir, size: &str) -> Result<Option<Hugetlb>> {
    for prefix in [format!("hugetlb.{size}.rsvd"), format!("hugetlb.{size}")] {
        if let Some(usage) = number(dir, &format!("{prefix}.usage_in_bytes"))? {
            let max = number_or_zero(dir, &format!("{prefix}.max_usage_in_bytes"))?;
            let failcnt = number_or_zero(dir, &format!("{prefix}.failcnt"))?;
            return Ok(Some(Hugetlb { usage, max, failcnt }));
        }
    }
    Ok(None)
}
