//! What a container uses, and the limits.

use serde::Serialize;

use crate::cgroup::Stats;
use crate::lifecycle::out_of_memory::NO_LIMIT;

/// One resource.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Usage {
    pub resource: &'static str,
    pub unit: &'static str,
    pub used: u64,
    /// `None` means that there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// How often the limit was reached: allocations refused, periods throttled, processes killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hit: Option<u64>,
}

/// Returns the usage of the most important resources.
pub(super) fn of_stats(stats: &Stats, oom_kills: Option<u64>) -> Vec<Usage> {
    let (memory, throttling) = (&stats.memory.usage, &stats.cpu.throttling);
    let limited = |limit: u64| Some(limit).filter(|&limit| limit != 0 && limit < NO_LIMIT);
    let usage = |resource, unit, used, limit, hit| Usage { resource, unit, used, limit, hit };
    let mut all = vec![
        usage("memory", "bytes", memory.usage, limited(memory.limit), Some(memory.failcnt)),
        usage("memory and swap", "bytes", stats.memory.swap.usage, limited(stats.memory.swap.limit), None),
        usage("processes", "count", stats.pids.current, limited(stats.pids.limit), None),
        usage("cpu", "nanoseconds", stats.cpu.usage.total, None, Some(throttling.throttled_periods)),
    ];
    if let Some(kills) = oom_kills {
        all.push(usage("killed for lack of memory", "count", kills, None, None));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_largest_numbers_are_no_limits() {
        let mut stats = Stats::default();
        stats.memory.usage.limit = 0x7fff_ffff_ffff_f000;
        stats.memory.swap.limit = 64 << 20;
        stats.pids.limit = 0;
        let limits: Vec<_> = of_stats(&stats, None).iter().map(|usage| usage.limit).collect();
        assert_eq!(limits, [None, Some(64 << 20), None, None]);
    }
}
