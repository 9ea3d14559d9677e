//! `events --openmetrics`: one sample as OpenMetrics 1.0 text, for a scraper.
//!
//! Units are the base units, as the standard requires: seconds, bytes, ratios. Values that the host does not
//! measure are left out; a missing limit is `+Inf`. Every series has the container's `id`.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::cgroup::live::stats::{Blkio, BlkioEntry, Cpu, Hugetlb, Memory, Pids, Psi};
use crate::container_id::ContainerId;
use crate::lifecycle::verbs::events::{Rdt, Sample};

pub(crate) fn text(id: &ContainerId, sample: &Sample) -> String {
    let mut text = Text { out: String::new(), id: escaped(id.as_str()) };
    let stats = &sample.group;
    cpu(&mut text, &stats.cpu);
    let processors = stats.cpuset.cpus.len() as u64;
    let allowed = (processors > 0).then(|| series(&[], count(processors)));
    text.gauge("tare_cpuset_cpus", "", "Processors that the container may use.", allowed);
    memory(&mut text, &stats.memory);
    let kills = sample.oom_kills.map(|kills| series(&[], count(kills)));
    text.counter("tare_oom_kills", "", "Processes killed for want of memory.", kills);
    pids(&mut text, stats.pids);
    block_io(&mut text, &stats.blkio);
    hugetlb(&mut text, &stats.hugetlb);
    pressure(&mut text, &[("cpu", stats.cpu.psi), ("memory", stats.memory.psi), ("io", stats.blkio.psi)]);
    rdt(&mut text, &sample.rdt);
    text.out.push_str("# EOF\n");
    text.out
}

/// A value with its labels besides `id`.
type Series = (String, String);

fn series(labels: &[(&str, &str)], value: String) -> Series {
    let mut text = String::new();
    for (name, value) in labels {
        // Writing to a String cannot fail.
        let _ = write!(text, ",{name}=\"{}\"", escaped(value));
    }
    (text, value)
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

struct Text {
    out: String,
    id: String,
}

impl Text {
    fn counter(&mut self, name: &str, unit: &str, help: &str, all: impl IntoIterator<Item = Series>) {
        self.family(name, "counter", unit, help, "_total", all);
    }

    fn gauge(&mut self, name: &str, unit: &str, help: &str, all: impl IntoIterator<Item = Series>) {
        self.family(name, "gauge", unit, help, "", all);
    }

    /// Adds a family, unless it has no series.
    fn family(
        &mut self,
        name: &str,
        kind: &str,
        unit: &str,
        help: &str,
        suffix: &str,
        all: impl IntoIterator<Item = Series>,
    ) {
        let mut all = all.into_iter().peekable();
        if all.peek().is_none() {
            return;
        }
        let out = &mut self.out;
        let _ = writeln!(out, "# TYPE {name} {kind}");
        if !unit.is_empty() {
            let _ = writeln!(out, "# UNIT {name} {unit}");
        }
        let _ = writeln!(out, "# HELP {name} {help}");
        for (labels, value) in all {
            let _ = writeln!(out, "{name}{suffix}{{id=\"{}\"{labels}}} {value}", self.id);
        }
    }
}

fn count(number: u64) -> String {
    number.to_string()
}

fn limit(bytes: u64) -> String {
    // v1 rounds "no limit" down to whole pages.
    if bytes >= i64::MAX as u64 - 65535 { "+Inf".to_owned() } else { bytes.to_string() }
}

/// Converts nanoseconds, without floating-point numbers.
fn seconds(nanoseconds: u64) -> String {
    format!("{}.{:09}", nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000)
}

fn cpu(text: &mut Text, cpu: &Cpu) {
    let usage = &cpu.usage;
    text.counter("tare_cpu_seconds", "seconds", "Processor time used.", [series(&[], seconds(usage.total))]);
    let modes = [("user", usage.user), ("system", usage.kernel)];
    let modes = modes.map(|(mode, time)| series(&[("mode", mode)], seconds(time)));
    text.counter("tare_cpu_mode_seconds", "seconds", "Processor time used, by mode.", modes);
    let each = usage.percpu.iter().enumerate();
    let each = each.map(|(cpu, &time)| series(&[("cpu", &cpu.to_string())], seconds(time)));
    text.counter("tare_cpu_core_seconds", "seconds", "Processor time used, by processor.", each);
    let throttling = &cpu.throttling;
    let one = |value| [series(&[], value)];
    let help = "Periods of the processor quota that have passed.";
    text.counter("tare_cpu_periods", "", help, one(count(throttling.periods)));
    let help = "Periods in which the quota ran out.";
    text.counter("tare_cpu_throttled_periods", "", help, one(count(throttling.throttled_periods)));
    let help = "Time that processes waited for a new quota.";
    text.counter("tare_cpu_throttled_seconds", "seconds", help, one(seconds(throttling.throttled_time)));
}

fn memory(text: &mut Text, memory: &Memory) {
    let kinds = [
        ("memory", &memory.usage),
        ("memory_and_swap", &memory.swap),
        ("kernel", &memory.kernel),
        ("kernel_tcp", &memory.kernel_tcp),
    ];
    // A kind without usage and without a limit is not counted by this interface.
    let counted = kinds.into_iter().filter(|(_, entry)| entry.limit > 0 || entry.usage > 0);
    let counted: Vec<_> = counted.collect();
    let each = |value: fn(&crate::cgroup::live::stats::MemoryEntry) -> String| {
        let all = counted.iter().map(|(kind, entry)| series(&[("kind", kind)], value(entry)));
        all.collect::<Vec<_>>()
    };
    text.gauge("tare_memory_usage_bytes", "bytes", "Memory in use.", each(|entry| count(entry.usage)));
    text.gauge("tare_memory_limit_bytes", "bytes", "Limit of memory.", each(|entry| limit(entry.limit)));
    let peaks = counted.iter().filter(|(_, entry)| entry.max > 0);
    let peaks = peaks.map(|(kind, entry)| series(&[("kind", kind)], count(entry.max)));
    text.gauge("tare_memory_peak_bytes", "bytes", "The most memory that was in use.", peaks);
    let help = "Times that usage came up against the limit.";
    text.counter("tare_memory_limit_hits", "", help, each(|entry| count(entry.failcnt)));
    let cache = [series(&[], count(memory.cache))];
    text.gauge("tare_memory_cache_bytes", "bytes", "Memory that holds what was read from files.", cache);
    let raw = memory.raw.iter().map(|(field, &value)| series(&[("field", field)], count(value)));
    let help = "The kernel's memory.stat, as it is: bytes, pages or events, by field.";
    text.family("tare_memory_stat", "unknown", "", help, "", raw);
}

fn pids(text: &mut Text, pids: Pids) {
    text.gauge("tare_pids", "", "Processes and threads.", [series(&[], count(pids.current))]);
    let most = if pids.limit == 0 { "+Inf".to_owned() } else { count(pids.limit) };
    text.gauge("tare_pids_limit", "", "The most processes and threads allowed.", [series(&[], most)]);
}

fn block_io(text: &mut Text, io: &Blkio) {
    fn each<'a>(
        list: &'a [BlkioEntry],
        value: fn(u64) -> String,
    ) -> impl IntoIterator<Item = Series> + use<'a> {
        // v1 lists sums beside their parts; a scraper adds up by itself.
        let parts = list.iter().filter(|entry| entry.op != "Total");
        parts.map(move |entry| {
            let device = format!("{}:{}", entry.major, entry.minor);
            let operation = entry.op.to_lowercase();
            let labels = [("device", &*device), ("operation", &*operation)];
            series(if operation.is_empty() { &labels[..1] } else { &labels }, value(entry.value))
        })
    }
    let bytes = each(&io.io_service_bytes_recursive, count);
    text.counter("tare_io_bytes", "bytes", "Bytes moved to and from block devices.", bytes);
    let operations = each(&io.io_serviced_recursive, count);
    text.counter("tare_io_operations", "", "Operations on block devices.", operations);
    let queued = each(&io.io_queued_recursive, count);
    text.gauge("tare_io_queued", "", "Operations that wait in a queue.", queued);
    let service = each(&io.io_service_time_recursive, seconds);
    text.counter("tare_io_service_seconds", "seconds", "Time that devices took for operations.", service);
    let waited = each(&io.io_wait_time_recursive, seconds);
    text.counter("tare_io_wait_seconds", "seconds", "Time that operations waited in queues.", waited);
    let merged = each(&io.io_merged_recursive, count);
    text.counter("tare_io_merged", "", "Operations merged into others.", merged);
    // The kernel's file has milliseconds, and sectors of 512 bytes.
    let time = each(&io.io_time_recursive, |value| seconds(value.saturating_mul(1_000_000)));
    text.counter("tare_io_device_seconds", "seconds", "Time for which devices were the container's.", time);
    let sectors = each(&io.sectors_recursive, |value| count(value.saturating_mul(512)));
    text.counter("tare_io_sectors_bytes", "bytes", "Bytes moved, as counted by sectors.", sectors);
}

fn hugetlb(text: &mut Text, sizes: &BTreeMap<String, Hugetlb>) {
    let each = |value: fn(&Hugetlb) -> u64| {
        let all = sizes.iter().map(|(size, huge)| series(&[("page_size", size)], count(value(huge))));
        all.collect::<Vec<_>>()
    };
    text.gauge(
        "tare_hugetlb_usage_bytes",
        "bytes",
        "Huge pages in use or reserved.",
        each(|huge| huge.usage),
    );
    let peaks = sizes.iter().filter(|(_, huge)| huge.max > 0);
    let peaks = peaks.map(|(size, huge)| series(&[("page_size", size)], count(huge.max)));
    text.gauge("tare_hugetlb_peak_bytes", "bytes", "The most huge pages that were in use.", peaks);
    let help = "Times that a huge page was refused for the limit.";
    text.counter("tare_hugetlb_limit_hits", "", help, each(|huge| huge.failcnt));
}

fn pressure(text: &mut Text, resources: &[(&str, Option<Psi>)]) {
    let lines = resources.iter().filter_map(|(resource, psi)| Some((*resource, (*psi)?)));
    let lines =
        lines.flat_map(|(resource, psi)| [(resource, "some", psi.some), (resource, "full", psi.full)]);
    let lines: Vec<_> = lines.collect();
    let total = lines.iter().map(|(resource, tasks, line)| {
        let time = seconds(line.total.saturating_mul(1000));
        series(&[("resource", resource), ("tasks", tasks)], time)
    });
    let help = "Time in which some or all tasks waited for a resource.";
    text.counter("tare_pressure_seconds", "seconds", help, total);
    let average = lines.iter().flat_map(|(resource, tasks, line)| {
        [("10s", line.avg10), ("60s", line.avg60), ("300s", line.avg300)].map(|(window, percent)| {
            let labels = [("resource", *resource), ("tasks", *tasks), ("window", window)];
            // The kernel gives only two decimals of a percent.
            series(&labels, format!("{:.4}", percent / 100.0))
        })
    });
    text.gauge("tare_pressure_ratio", "ratio", "Share of a time window that was so waited.", average);
}

fn rdt(text: &mut Text, rdt: &Rdt) {
    let nodes = rdt.mbm_stats.iter().flatten().enumerate();
    let traffic = nodes.flat_map(|(node, stats)| {
        [("total", stats.mbm_total_bytes), ("local", stats.mbm_local_bytes)]
            .map(|(scope, bytes)| series(&[("node", &*node.to_string()), ("scope", scope)], count(bytes)))
    });
    text.counter("tare_rdt_memory_bytes", "bytes", "Memory traffic, as resctrl counts it.", traffic);
    let caches = rdt.cmt_stats.iter().flatten().enumerate();
    let caches =
        caches.map(|(node, stats)| series(&[("node", &*node.to_string())], count(stats.llc_occupancy)));
    text.gauge("tare_rdt_cache_bytes", "bytes", "Occupied bytes of the last-level cache.", caches);
}
