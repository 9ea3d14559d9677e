//! Turns `linux.resources`, which uses v1's terms, into writes to the control files of cgroup v2.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxResources};

use crate::error::Result;

use super::convert::{DEFAULT_CFS_PERIOD_US, SwapMax, io_weight, shares_to_weight, swap_max};
use super::pointer::{escape_pointer, resource_pointer};
use super::translation::{Translation, cpuset, pids, rdma, sorted_by_name};
use super::write::Write;

/// Makes the writes in runc's order; `unified` comes last, so that it wins.
pub(super) fn writes(resources: &LinuxResources, out: &mut Translation) -> Result<()> {
    if let Some(pids_) = resources.pids() {
        out.push(Write::new("pids", "pids.max", pids(pids_.limit()), resource_pointer("pids/limit")));
    }
    if let Some(memory) = resources.memory() {
        self::memory(memory, out)?;
    }
    if let Some(block_io) = resources.block_io() {
        self::block_io(block_io, out);
    }
    if let Some(cpu) = resources.cpu() {
        self::cpu(cpu, out);
        cpuset(cpu, out);
    }
    hugetlb(resources, out);
    for (name, rdma_) in resources.rdma().iter().flat_map(sorted_by_name) {
        if let Some(line) = rdma(name, rdma_.hca_handles(), rdma_.hca_objects()) {
            out.push(Write::new(
                "rdma",
                "rdma.max",
                line,
                resource_pointer(&format!("rdma/{}", escape_pointer(name))),
            ));
        }
    }
    if let Some(network) = resources.network() {
        self::network(network, out);
    }
    for (key, value) in resources.unified().iter().flat_map(sorted_by_name) {
        unified(key, value, out);
    }
    Ok(())
}

/// Formats a number of bytes; -1 is `max`.
fn bytes(value: i64) -> String {
    if value == -1 { "max".to_owned() } else { value.to_string() }
}

fn memory(memory: &LinuxMemory, out: &mut Translation) -> Result<()> {
    let limit = memory.limit().unwrap_or(0);
    let memory_and_swap = memory.swap().unwrap_or(0);
    let swap = resource_pointer("memory/swap");
    match swap_max(limit, memory_and_swap, &swap)? {
        None => {}
        // A kernel without swap accounting has no such file, so there is nothing to allow or to switch off.
        Some(SwapMax::Unlimited) => out.push(Write::new("memory", "memory.swap.max", "max", swap).optional()),
        Some(SwapMax::Bytes(0)) => out.push(Write::new("memory", "memory.swap.max", 0, swap).optional()),
        Some(SwapMax::Bytes(rest)) => out.push(Write::new("memory", "memory.swap.max", rest, swap)),
    }
    if limit != 0 {
        out.push(Write::new("memory", "memory.max", bytes(limit), resource_pointer("memory/limit")));
    }
    let reservation = memory.reservation().unwrap_or(0);
    if reservation != 0 {
        out.push(Write::new(
            "memory",
            "memory.low",
            bytes(reservation),
            resource_pointer("memory/reservation"),
        ));
    }
    if memory.swappiness().is_some_and(|value| value != u64::MAX) {
        out.warn_ignored("memory/swappiness", "cgroup v2 has no swappiness");
    }
    #[allow(deprecated)]
    if memory.kernel_tcp().unwrap_or(0) != 0 {
        out.warn_ignored(
            "memory/kernelTCP",
            "cgroup v2 counts what TCP uses as memory, without a limit of its own",
        );
    }
    if memory.disable_oom_killer() == Some(true) {
        out.warn_ignored("memory/disableOOMKiller", "cgroup v2 cannot switch the OOM killer off");
    }
    Ok(())
}

fn block_io(io: &LinuxBlockIo, out: &mut Translation) {
    if let Some(weight) = io.weight().filter(|&weight| weight != 0) {
        let write = Write::new("io", "io.bfq.weight", weight, resource_pointer("blockIO/weight"));
        out.push(write.with_fallback("io.weight", io_weight(weight)));
    }
    for (index, device) in io.weight_device().iter().flatten().enumerate() {
        let field = format!("blockIO/weightDevice/{index}/weight");
        let numbers = format!("{}:{}", device.major(), device.minor());
        if let Some(weight) = device.weight().filter(|&weight| weight != 0) {
            let write =
                Write::new("io", "io.bfq.weight", format!("{numbers} {weight}"), resource_pointer(&field));
            out.push(write.with_fallback("io.weight", format!("{numbers} {}", io_weight(weight))));
        }
        if device.leaf_weight().unwrap_or(0) != 0 {
            out.warn_ignored(
                &format!("blockIO/weightDevice/{index}/leafWeight"),
                "cgroup v2 has no leaf weights",
            );
        }
    }
    if io.leaf_weight().unwrap_or(0) != 0 {
        out.warn_ignored("blockIO/leafWeight", "cgroup v2 has no leaf weights");
    }
    for (field, list, key) in [
        ("throttleReadBpsDevice", io.throttle_read_bps_device(), "rbps"),
        ("throttleWriteBpsDevice", io.throttle_write_bps_device(), "wbps"),
        ("throttleReadIOPSDevice", io.throttle_read_iops_device(), "riops"),
        ("throttleWriteIOPSDevice", io.throttle_write_iops_device(), "wiops"),
    ] {
        for (index, device) in list.iter().flatten().enumerate() {
            // In v1, 0 removes the limit. v2 refuses the number, and has `max`.
            let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
            let line = format!("{}:{} {key}={rate}", device.major(), device.minor());
            out.push(Write::new("io", "io.max", line, resource_pointer(&format!("blockIO/{field}/{index}"))));
        }
    }
}

fn cpu(cpu: &LinuxCpu, out: &mut Translation) {
    let shares = cpu.shares().unwrap_or(0);
    if shares != 0 {
        let weight = shares_to_weight(shares);
        // An idle group accepts no weight. If the write is refused, it is repeated after `cpu.idle` is 0.
        out.push(Write::new("cpu", "cpu.weight", weight, resource_pointer("cpu/shares")).with_retry());
    }
    if let Some(idle) = cpu.idle() {
        out.push(Write::new("cpu", "cpu.idle", idle, resource_pointer("cpu/idle")));
    }
    if let Some(burst) = cpu.burst() {
        out.push(Write::new("cpu", "cpu.max.burst", burst, resource_pointer("cpu/burst")).with_retry());
    }
    let (quota, period) = (cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0));
    if quota != 0 || period != 0 {
        let quota_ = if quota > 0 { quota.to_string() } else { "max".to_owned() };
        let period_ = if period == 0 { DEFAULT_CFS_PERIOD_US } else { period };
        let field = resource_pointer(if quota != 0 { "cpu/quota" } else { "cpu/period" });
        out.push(Write::new("cpu", "cpu.max", format!("{quota_} {period_}"), field).with_retry());
    }
    let realtime = [
        (cpu.realtime_runtime().unwrap_or(0) != 0, "cpu/realtimeRuntime"),
        (cpu.realtime_period().unwrap_or(0) != 0, "cpu/realtimePeriod"),
    ];
    for (_, field) in realtime.iter().filter(|(set, _)| *set) {
        out.warn_ignored(field, "cgroup v2 does not divide real-time bandwidth");
    }
}

fn hugetlb(resources: &LinuxResources, out: &mut Translation) {
    for (index, huge) in resources.hugepage_limits().iter().flatten().enumerate() {
        let size = huge.page_size();
        let field = resource_pointer(&format!("hugepageLimits/{index}/limit"));
        out.push(Write::new("hugetlb", &format!("hugetlb.{size}.max"), bytes(huge.limit()), &*field));
        let file = format!("hugetlb.{size}.rsvd.max");
        out.push(Write::new("hugetlb", &file, bytes(huge.limit()), field).optional());
    }
}

fn network(network: &LinuxNetwork, out: &mut Translation) {
    const WHY: &str = "cgroup v2 has no network controllers";
    if network.class_id().unwrap_or(0) != 0 {
        out.warn_ignored("network/classID", WHY);
    }
    if network.priorities().as_ref().is_some_and(|list| !list.is_empty()) {
        out.warn_ignored("network/priorities", WHY);
    }
}

/// Writes a control file by its own name; a value of several lines becomes several writes.
fn unified(key: &str, value: &str, out: &mut Translation) {
    let controller = key.split_once('.').map_or(key, |(controller, _)| controller);
    for line in value.lines() {
        out.push(Write::new(
            controller,
            key,
            line,
            resource_pointer(&format!("unified/{}", escape_pointer(key))),
        ));
    }
}
