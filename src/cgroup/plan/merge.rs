//! Merges changed resources with those that a container has. Fields that are not given stay.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxResources};

use super::translation::{has_weight, is_idle};

/// Merges `wanted` into `saved`. Numbers for which 0 means "not given" do not count if they are 0.
pub(super) fn merge(saved: Option<&LinuxResources>, wanted: &LinuxResources) -> LinuxResources {
    let Some(saved) = saved else { return wanted.clone() };
    let mut merged = saved.clone();
    if let Some(wanted) = wanted.memory() {
        merged.set_memory(Some(memory(saved.memory().unwrap_or_default(), *wanted)));
    }
    if let Some(wanted) = wanted.cpu() {
        merged.set_cpu(Some(cpu(&saved.cpu().clone().unwrap_or_default(), wanted)));
    }
    if let Some(wanted) = wanted.block_io() {
        merged.set_block_io(Some(block_io(&saved.block_io().clone().unwrap_or_default(), wanted)));
    }
    if let Some(wanted) = wanted.network() {
        merged.set_network(Some(network(&saved.network().clone().unwrap_or_default(), wanted)));
    }
    if wanted.pids().is_some() {
        merged.set_pids(*wanted.pids());
    }
    if let Some(wanted) = wanted.hugepage_limits() {
        let all = saved.hugepage_limits().iter().flatten().chain(wanted);
        let last: BTreeMap<_, _> = all.map(|limit| (limit.page_size(), limit)).collect();
        merged.set_hugepage_limits(Some(last.into_values().cloned().collect()));
    }
    merged.set_rdma(joined(saved.rdma(), wanted.rdma()));
    merged.set_unified(joined(saved.unified(), wanted.unified()));
    idle_or_weight(&mut merged, wanted);
    merged
}

/// A group is either idle or has a weight: the one that is given replaces the other.
fn idle_or_weight(merged: &mut LinuxResources, wanted: &LinuxResources) {
    let (idle, weight) = (is_idle(wanted), has_weight(wanted));
    if idle == weight || !is_idle(merged) {
        return;
    }
    let mut cpu = merged.cpu().clone().unwrap_or_default();
    let gone = if idle { "cpu.weight" } else { "cpu.idle" };
    if idle {
        cpu.set_shares(None);
    } else {
        cpu.set_idle(Some(0));
    }
    merged.set_cpu(Some(cpu));
    if let Some(unified) = merged.unified_mut() {
        unified.remove(gone);
    }
}

fn joined<V: Clone>(
    saved: &Option<std::collections::HashMap<String, V>>,
    wanted: &Option<std::collections::HashMap<String, V>>,
) -> Option<std::collections::HashMap<String, V>> {
    let mut all = saved.clone();
    if let Some(wanted) = wanted {
        all.get_or_insert_default().extend(wanted.clone());
    }
    all
}

/// Returns a number if it is given, otherwise the saved one. Only for fields where 0 means "not given":
/// swappiness, idle and burst have a real value 0, and their `or_else` keeps it.
fn over<T: PartialEq + Default>(wanted: Option<T>, saved: Option<T>) -> Option<T> {
    wanted.filter(|value| *value != T::default()).or(saved)
}

fn memory(saved: LinuxMemory, wanted: LinuxMemory) -> LinuxMemory {
    let mut merged = saved;
    merged.set_limit(over(wanted.limit(), saved.limit()));
    merged.set_swap(over(wanted.swap(), saved.swap()));
    if wanted.limit() == Some(-1) && wanted.swap().unwrap_or(0) == 0 {
        // Without a limit on memory there is none for memory and swap together.
        merged.set_swap(Some(-1));
    }
    merged.set_reservation(over(wanted.reservation(), saved.reservation()));
    #[allow(deprecated)]
    merged.set_kernel_tcp(over(wanted.kernel_tcp(), saved.kernel_tcp()));
    merged.set_swappiness(wanted.swappiness().or_else(|| saved.swappiness()));
    merged.set_disable_oom_killer(wanted.disable_oom_killer().or_else(|| saved.disable_oom_killer()));
    // This applies only to the present change.
    merged.set_check_before_update(wanted.check_before_update());
    merged
}

fn cpu(saved: &LinuxCpu, wanted: &LinuxCpu) -> LinuxCpu {
    let text = |wanted: &Option<String>, saved: &Option<String>| {
        wanted.clone().filter(|list| !list.is_empty()).or_else(|| saved.clone())
    };
    let mut merged = saved.clone();
    merged.set_shares(over(wanted.shares(), saved.shares()));
    merged.set_idle(wanted.idle().or_else(|| saved.idle()));
    merged.set_quota(over(wanted.quota(), saved.quota()));
    merged.set_period(over(wanted.period(), saved.period()));
    merged.set_burst(wanted.burst().or_else(|| saved.burst()));
    merged.set_realtime_runtime(over(wanted.realtime_runtime(), saved.realtime_runtime()));
    merged.set_realtime_period(over(wanted.realtime_period(), saved.realtime_period()));
    merged.set_cpus(text(wanted.cpus(), saved.cpus()));
    merged.set_mems(text(wanted.mems(), saved.mems()));
    merged
}

/// Merges lists of devices. The kernel keeps one value for each device, so the new entries replace the old
/// ones.
fn block_io(saved: &LinuxBlockIo, wanted: &LinuxBlockIo) -> LinuxBlockIo {
    macro_rules! list {
        ($merged:ident, $get:ident, $set:ident) => {
            let mut list = saved.$get().clone().unwrap_or_default();
            for device in wanted.$get().iter().flatten() {
                list.retain(|old| (old.major(), old.minor()) != (device.major(), device.minor()));
                list.push(device.clone());
            }
            $merged.$set((!list.is_empty()).then_some(list));
        };
    }
    let mut merged = saved.clone();
    merged.set_weight(over(wanted.weight(), saved.weight()));
    merged.set_leaf_weight(over(wanted.leaf_weight(), saved.leaf_weight()));
    list!(merged, weight_device, set_weight_device);
    list!(merged, throttle_read_bps_device, set_throttle_read_bps_device);
    list!(merged, throttle_write_bps_device, set_throttle_write_bps_device);
    list!(merged, throttle_read_iops_device, set_throttle_read_iops_device);
    list!(merged, throttle_write_iops_device, set_throttle_write_iops_device);
    merged
}

fn network(saved: &LinuxNetwork, wanted: &LinuxNetwork) -> LinuxNetwork {
    let mut merged = saved.clone();
    merged.set_class_id(over(wanted.class_id(), saved.class_id()));
    if wanted.priorities().is_some() {
        merged.set_priorities(wanted.priorities().clone());
    }
    merged
}
