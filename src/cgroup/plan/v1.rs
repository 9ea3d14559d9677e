//! `linux.resources` as writes to the control files of cgroup v1.

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxResources, LinuxThrottleDevice,
};

use crate::error::Result;

use super::pointer::{escape_pointer, invalid_resource, resource_pointer};
use super::translation::{Translation, cpuset, pids, rdma, sorted_by_name};
use super::write::Write;

/// The kernel's bounds for `cpu.shares`. It silently changes a value outside of them.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

pub(super) fn writes(resources: &LinuxResources, out: &mut Translation) -> Result<()> {
    if let Some(pids_) = resources.pids() {
        out.push(Write::new("pids", "pids.max", pids(pids_.limit()), resource_pointer("pids/limit")));
    }
    if let Some(memory) = resources.memory() {
        self::memory(memory, out);
    }
    if let Some(block_io) = resources.block_io() {
        self::block_io(block_io, out);
    }
    if let Some(cpu) = resources.cpu() {
        self::cpu(cpu, out)?;
        cpuset(cpu, out);
    }
    hugetlb(resources, out);
    if let Some(network) = resources.network() {
        self::network(network, out);
    }
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
    if resources.unified().as_ref().is_some_and(|unified| !unified.is_empty()) {
        return Err(invalid_resource("unified", "invalid configuration: cannot use unified on cgroup v1"));
    }
    Ok(())
}

fn memory(memory: &LinuxMemory, out: &mut Translation) {
    let bytes = memory.limit().unwrap_or(0);
    let swap = memory.swap().unwrap_or(0);
    // The kernel requires limit <= memsw at every moment, so the right order of the two depends on the
    // present values.
    let put = |out: &mut Translation, file, value: i64, field: &str| {
        out.push(Write::new("memory", file, value, resource_pointer(field)).with_retry());
    };
    if bytes != 0 {
        put(out, "memory.limit_in_bytes", bytes, "memory/limit");
    }
    match (bytes, swap) {
        (-1, 0) => {
            let write =
                Write::new("memory", "memory.memsw.limit_in_bytes", -1, resource_pointer("memory/limit"));
            out.push(write.with_retry().optional());
        }
        (_, 0) => {}
        (_, swap) => put(out, "memory.memsw.limit_in_bytes", swap, "memory/swap"),
    }
    let reservation = memory.reservation().unwrap_or(0);
    if reservation != 0 {
        let field = resource_pointer("memory/reservation");
        out.push(Write::new("memory", "memory.soft_limit_in_bytes", reservation, field));
    }
    // Old engines write the largest number for "not set".
    if let Some(value) = memory.swappiness().filter(|&value| value != u64::MAX) {
        out.push(Write::new("memory", "memory.swappiness", value, resource_pointer("memory/swappiness")));
    }
    // Deprecated, but even new kernels (6.18) have it; the file shows whether this one does.
    #[allow(deprecated)]
    if let Some(limit) = memory.kernel_tcp().filter(|&limit| limit != 0) {
        let field = resource_pointer("memory/kernelTCP");
        out.push(Write::new("memory", "memory.kmem.tcp.limit_in_bytes", limit, field).or_warning());
    }
    if memory.disable_oom_killer() == Some(true) {
        out.push(Write::new("memory", "memory.oom_control", 1, resource_pointer("memory/disableOOMKiller")));
    }
}

fn block_io(io: &LinuxBlockIo, out: &mut Translation) {
    if let Some(weight) = io.weight().filter(|&weight| weight != 0) {
        let write = Write::new("blkio", "blkio.bfq.weight", weight, resource_pointer("blockIO/weight"));
        out.push(write.with_fallback("blkio.weight", weight));
    }
    if let Some(weight) = io.leaf_weight().filter(|&weight| weight != 0) {
        out.push(Write::new("blkio", "blkio.leaf_weight", weight, resource_pointer("blockIO/leafWeight")));
    }
    for (index, device) in io.weight_device().iter().flatten().enumerate() {
        let line = |weight: u16| format!("{}:{} {weight}", device.major(), device.minor());
        let field = format!("blockIO/weightDevice/{index}/weight");
        if let Some(weight) = device.weight().filter(|&weight| weight != 0) {
            let write =
                Write::new("blkio", "blkio.bfq.weight_device", line(weight), resource_pointer(&field));
            out.push(write.with_fallback("blkio.weight_device", line(weight)));
        }
        let field = format!("blockIO/weightDevice/{index}/leafWeight");
        if let Some(weight) = device.leaf_weight().filter(|&weight| weight != 0) {
            out.push(Write::new("blkio", "blkio.leaf_weight_device", line(weight), resource_pointer(&field)));
        }
    }
    for (field, list, file) in throttles(io) {
        for (index, device) in list.iter().flatten().enumerate() {
            let line = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            let file = format!("blkio.throttle.{file}_device");
            out.push(Write::new("blkio", &file, line, resource_pointer(&format!("blockIO/{field}/{index}"))));
        }
    }
}

type Throttle<'a> = (&'static str, &'a Option<Vec<LinuxThrottleDevice>>, &'static str);

/// Returns the four lists: the config's name, the list, v1's file.
fn throttles(io: &LinuxBlockIo) -> [Throttle<'_>; 4] {
    [
        ("throttleReadBpsDevice", io.throttle_read_bps_device(), "read_bps"),
        ("throttleWriteBpsDevice", io.throttle_write_bps_device(), "write_bps"),
        ("throttleReadIOPSDevice", io.throttle_read_iops_device(), "read_iops"),
        ("throttleWriteIOPSDevice", io.throttle_write_iops_device(), "write_iops"),
    ]
}

fn cpu(cpu: &LinuxCpu, out: &mut Translation) -> Result<()> {
    let shares = cpu.shares().unwrap_or(0);
    if shares != 0 {
        let what = match shares {
            ..2 => Some(format!("the minimum allowed cpu-shares is {}", SHARES.start())),
            262_145.. => Some(format!("the maximum allowed cpu-shares is {}", SHARES.end())),
            _ => None,
        };
        if let Some(what) = what {
            return Err(invalid_resource("cpu/shares", what));
        }
        out.push(Write::new("cpu", "cpu.shares", shares, resource_pointer("cpu/shares")).with_retry());
    }
    let mut put = |file, value: Option<String>, field: &str| {
        if let Some(value) = value {
            out.push(Write::new("cpu", file, value, resource_pointer(field)).with_retry());
        }
    };
    let set = |value: u64| (value != 0).then(|| value.to_string());
    let signed = |value: i64| (value != 0).then(|| value.to_string());
    put("cpu.rt_period_us", cpu.realtime_period().and_then(set), "cpu/realtimePeriod");
    put("cpu.rt_runtime_us", cpu.realtime_runtime().and_then(signed), "cpu/realtimeRuntime");
    put("cpu.cfs_period_us", cpu.period().and_then(set), "cpu/period");
    put("cpu.cfs_burst_us", cpu.burst().map(|burst| burst.to_string()), "cpu/burst");
    put("cpu.cfs_quota_us", cpu.quota().and_then(signed), "cpu/quota");
    put("cpu.idle", cpu.idle().map(|idle| idle.to_string()), "cpu/idle");
    Ok(())
}

fn hugetlb(resources: &LinuxResources, out: &mut Translation) {
    for (index, huge) in resources.hugepage_limits().iter().flatten().enumerate() {
        let size = huge.page_size();
        let field = resource_pointer(&format!("hugepageLimits/{index}/limit"));
        out.push(Write::new("hugetlb", &format!("hugetlb.{size}.limit_in_bytes"), huge.limit(), &*field));
        // KERNEL(5.7): reservations have a limit of their own. If its file is missing, they have none.
        let file = format!("hugetlb.{size}.rsvd.limit_in_bytes");
        out.push(Write::new("hugetlb", &file, huge.limit(), field).optional());
    }
}

fn network(network: &LinuxNetwork, out: &mut Translation) {
    if let Some(class) = network.class_id().filter(|&class| class != 0) {
        out.push(Write::new("net_cls", "net_cls.classid", class, resource_pointer("network/classID")));
    }
    for (index, entry) in network.priorities().iter().flatten().enumerate() {
        let line = format!("{} {}", entry.name(), entry.priority());
        let field = resource_pointer(&format!("network/priorities/{index}"));
        out.push(Write::new("net_prio", "net_prio.ifpriomap", line, field));
    }
}
