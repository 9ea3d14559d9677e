//! Figures as the message for control groups v2.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::rdma;
use crate::cgroup::Stats;
use crate::cgroup::live::stats::Psi;
use crate::shim::wire::metrics_v2::{
    CpuStat, HugeTlbStat, IoEntry, IoStat, MemoryEvents, MemoryStat, Metrics, PidsStat, PsiData, PsiStats,
};
use crate::shim::wire::rdma::RdmaStat;

/// What the message has and runc's figures have not.
#[derive(Debug, Default)]
pub(super) struct Extra {
    events: BTreeMap<String, u64>,
    cpu: BTreeMap<String, u64>,
    swap: [u64; 3],
    rdma: RdmaStat,
}

/// Reads it. A file that is missing leaves zeros.
pub(super) fn read_extra(dir: &Path) -> Extra {
    let swap = ["memory.swap.current", "memory.swap.max", "memory.swap.peak"];
    Extra {
        events: keyed(&dir.join("memory.events")),
        cpu: keyed(&dir.join("cpu.stat")),
        swap: swap.map(|file| number(&dir.join(file))),
        rdma: rdma::read(dir),
    }
}

fn keyed(file: &Path) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?))).collect()
}

fn number(file: &Path) -> u64 {
    match fs::read_to_string(file).unwrap_or_default().trim() {
        "max" => u64::MAX,
        digits => digits.parse().unwrap_or(0),
    }
}

pub(super) fn metrics(stats: &Stats, extra: &Extra) -> Metrics {
    let event = |name: &str| extra.events.get(name).copied().unwrap_or(0);
    let hugetlb = stats.hugetlb.iter().map(|(size, pages)| HugeTlbStat {
        current: pages.usage,
        max: pages.max,
        pagesize: size.clone(),
        failcnt: pages.failcnt,
    });
    Metrics {
        pids: Some(PidsStat {
            current: stats.pids.current,
            // Without a limit it is the largest number here.
            limit: if stats.pids.limit == 0 { u64::MAX } else { stats.pids.limit },
        }),
        cpu: Some(cpu(stats, extra)),
        memory: Some(memory(stats, extra)),
        rdma: Some(extra.rdma.clone()),
        io: Some(io(stats)),
        hugetlb: hugetlb.collect(),
        memory_events: Some(MemoryEvents {
            low: event("low"),
            high: event("high"),
            max: event("max"),
            oom: event("oom"),
            oom_kill: event("oom_kill"),
            oom_group_kill: event("oom_group_kill"),
        }),
    }
}

fn cpu(stats: &Stats, extra: &Extra) -> CpuStat {
    let (usage, throttling) = (&stats.cpu.usage, &stats.cpu.throttling);
    let value = |name: &str| extra.cpu.get(name).copied().unwrap_or(0);
    CpuStat {
        usage_usec: usage.total / 1000,
        user_usec: usage.user / 1000,
        system_usec: usage.kernel / 1000,
        nr_periods: throttling.periods,
        nr_throttled: throttling.throttled_periods,
        throttled_usec: throttling.throttled_time / 1000,
        psi: stats.cpu.psi.as_ref().map(pressure),
        nr_bursts: value("nr_bursts"),
        burst_usec: value("burst_usec"),
    }
}

fn memory(stats: &Stats, extra: &Extra) -> MemoryStat {
    let value = |name: &str| stats.memory.raw.get(name).copied().unwrap_or(0);
    // KERNEL(5.9) tells these for anonymous memory and files apart, and the sum no more.
    let either = |name: &str| value(name) + value(&format!("{name}_anon")) + value(&format!("{name}_file"));
    let [swap_usage, swap_limit, swap_max_usage] = extra.swap;
    MemoryStat {
        anon: value("anon"),
        file: value("file"),
        kernel_stack: value("kernel_stack"),
        slab: value("slab"),
        sock: value("sock"),
        shmem: value("shmem"),
        file_mapped: value("file_mapped"),
        file_dirty: value("file_dirty"),
        file_writeback: value("file_writeback"),
        anon_thp: value("anon_thp"),
        inactive_anon: value("inactive_anon"),
        active_anon: value("active_anon"),
        inactive_file: value("inactive_file"),
        active_file: value("active_file"),
        unevictable: value("unevictable"),
        slab_reclaimable: value("slab_reclaimable"),
        slab_unreclaimable: value("slab_unreclaimable"),
        pgfault: value("pgfault"),
        pgmajfault: value("pgmajfault"),
        workingset_refault: either("workingset_refault"),
        workingset_activate: either("workingset_activate"),
        workingset_nodereclaim: value("workingset_nodereclaim"),
        pgrefill: value("pgrefill"),
        pgscan: value("pgscan"),
        pgsteal: value("pgsteal"),
        pgactivate: value("pgactivate"),
        pgdeactivate: value("pgdeactivate"),
        pglazyfree: value("pglazyfree"),
        pglazyfreed: value("pglazyfreed"),
        thp_fault_alloc: value("thp_fault_alloc"),
        thp_collapse_alloc: value("thp_collapse_alloc"),
        usage: stats.memory.usage.usage,
        usage_limit: stats.memory.usage.limit,
        swap_usage,
        swap_limit,
        max_usage: stats.memory.usage.max,
        swap_max_usage,
        psi: stats.memory.psi.as_ref().map(pressure),
        workingset_refault_anon: value("workingset_refault_anon"),
        workingset_refault_file: value("workingset_refault_file"),
        workingset_activate_anon: value("workingset_activate_anon"),
        workingset_activate_file: value("workingset_activate_file"),
    }
}

fn io(stats: &Stats) -> IoStat {
    let mut devices: BTreeMap<(u64, u64), IoEntry> = BTreeMap::new();
    let bytes = stats.blkio.io_service_bytes_recursive.iter().map(|entry| (entry, true));
    let operations = stats.blkio.io_serviced_recursive.iter().map(|entry| (entry, false));
    for (entry, is_bytes) in bytes.chain(operations) {
        let (major, minor) = (entry.major, entry.minor);
        let device =
            devices.entry((major, minor)).or_insert_with(|| IoEntry { major, minor, ..IoEntry::default() });
        match (is_bytes, entry.op.as_str()) {
            (true, "Read") => device.rbytes = entry.value,
            (true, _) => device.wbytes = entry.value,
            (false, "Read") => device.rios = entry.value,
            (false, _) => device.wios = entry.value,
        }
    }
    IoStat { usage: devices.into_values().collect(), psi: stats.blkio.psi.as_ref().map(pressure) }
}

fn pressure(psi: &Psi) -> PsiStats {
    let line = |line: &crate::cgroup::live::stats::PsiLine| PsiData {
        avg10: line.avg10,
        avg60: line.avg60,
        avg300: line.avg300,
        total: line.total,
    };
    PsiStats { some: Some(line(&psi.some)), full: Some(line(&psi.full)) }
}
