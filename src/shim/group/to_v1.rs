//! Figures as the message for control groups v1.

use crate::cgroup::Stats;
use crate::cgroup::live::stats::{BlkioEntry, MemoryEntry as Entry};
use crate::shim::wire::metrics_v1::{
    BlkIoEntry, BlkIoStat, CpuStat, CpuUsage, HugetlbStat, MemoryEntry, MemoryOomControl, MemoryStat,
    Metrics, PidsStat, Throttle,
};
use crate::shim::wire::rdma::RdmaStat;

pub(super) fn metrics(stats: &Stats, oom_kills: Option<u64>, rdma: Option<RdmaStat>) -> Metrics {
    let hugetlb = stats.hugetlb.iter().map(|(size, pages)| HugetlbStat {
        usage: pages.usage,
        max: pages.max,
        failcnt: pages.failcnt,
        pagesize: size.clone(),
    });
    Metrics {
        hugetlb: hugetlb.collect(),
        pids: Some(PidsStat { current: stats.pids.current, limit: stats.pids.limit }),
        cpu: Some(cpu(stats)),
        memory: Some(memory(stats)),
        blkio: Some(block_io(stats)),
        rdma,
        memory_oom_control: oom_kills
            .map(|oom_kill| MemoryOomControl { oom_kill, ..MemoryOomControl::default() }),
    }
}

fn cpu(stats: &Stats) -> CpuStat {
    let (usage, throttling) = (&stats.cpu.usage, &stats.cpu.throttling);
    CpuStat {
        usage: Some(CpuUsage {
            total: usage.total,
            kernel: usage.kernel,
            user: usage.user,
            per_cpu: usage.percpu.clone(),
        }),
        throttling: Some(Throttle {
            periods: throttling.periods,
            throttled_periods: throttling.throttled_periods,
            throttled_time: throttling.throttled_time,
        }),
    }
}

fn memory(stats: &Stats) -> MemoryStat {
    let value = |name: &str| stats.memory.raw.get(name).copied().unwrap_or(0);
    MemoryStat {
        cache: value("cache"),
        rss: value("rss"),
        rss_huge: value("rss_huge"),
        mapped_file: value("mapped_file"),
        dirty: value("dirty"),
        writeback: value("writeback"),
        pg_pg_in: value("pgpgin"),
        pg_pg_out: value("pgpgout"),
        pg_fault: value("pgfault"),
        pg_maj_fault: value("pgmajfault"),
        inactive_anon: value("inactive_anon"),
        active_anon: value("active_anon"),
        inactive_file: value("inactive_file"),
        active_file: value("active_file"),
        unevictable: value("unevictable"),
        hierarchical_memory_limit: value("hierarchical_memory_limit"),
        hierarchical_swap_limit: value("hierarchical_memsw_limit"),
        total_cache: value("total_cache"),
        total_rss: value("total_rss"),
        total_rss_huge: value("total_rss_huge"),
        total_mapped_file: value("total_mapped_file"),
        total_dirty: value("total_dirty"),
        total_writeback: value("total_writeback"),
        total_pg_pg_in: value("total_pgpgin"),
        total_pg_pg_out: value("total_pgpgout"),
        total_pg_fault: value("total_pgfault"),
        total_pg_maj_fault: value("total_pgmajfault"),
        total_inactive_anon: value("total_inactive_anon"),
        total_active_anon: value("total_active_anon"),
        total_inactive_file: value("total_inactive_file"),
        total_active_file: value("total_active_file"),
        total_unevictable: value("total_unevictable"),
        usage: Some(entry(&stats.memory.usage)),
        swap: Some(entry(&stats.memory.swap)),
        kernel: Some(entry(&stats.memory.kernel)),
        kernel_tcp: Some(entry(&stats.memory.kernel_tcp)),
    }
}

fn entry(entry: &Entry) -> MemoryEntry {
    MemoryEntry { limit: entry.limit, usage: entry.usage, max: entry.max, failcnt: entry.failcnt }
}

fn block_io(stats: &Stats) -> BlkIoStat {
    let blkio = &stats.blkio;
    BlkIoStat {
        io_service_bytes_recursive: entries(&blkio.io_service_bytes_recursive),
        io_serviced_recursive: entries(&blkio.io_serviced_recursive),
        io_queued_recursive: entries(&blkio.io_queued_recursive),
        io_service_time_recursive: entries(&blkio.io_service_time_recursive),
        io_wait_time_recursive: entries(&blkio.io_wait_time_recursive),
        io_merged_recursive: entries(&blkio.io_merged_recursive),
        io_time_recursive: entries(&blkio.io_time_recursive),
        sectors_recursive: entries(&blkio.sectors_recursive),
    }
}

fn entries(list: &[BlkioEntry]) -> Vec<BlkIoEntry> {
    let entry = |entry: &BlkioEntry| BlkIoEntry {
        op: entry.op.clone(),
        device: String::new(),
        major: entry.major,
        minor: entry.minor,
        value: entry.value,
    };
    list.iter().map(entry).collect()
}
