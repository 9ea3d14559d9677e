//! `update`: changes the limits of a running container. Fields that are not given keep their value (runc
//! resets some). If the kernel refuses a value, the others are restored.

use std::path::Path;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};

use crate::cgroup;
use crate::container::{Record, Status};
use crate::container_id::ContainerId;
use crate::error::{Context, Error, Kind, Result, matched};
use crate::launch::rdt;
use crate::lifecycle::load;
use crate::lifecycle::options::{Globals, Update};
use crate::{fail, log, spec};

mod device_rules;

/// Changes the limits.
pub(crate) fn update(globals: &Globals, id: &ContainerId, options: &Update) -> Result<()> {
    let mut resources = match &options.resources {
        Some(path) => from_document(path, options)?,
        None => from_flags(options)?,
    };
    if options.kernel_memory {
        log::warn(format_args!(
            "--kernel-memory has no effect: kernels have no limit of kernel memory alone any more"
        ));
    }
    let entry = load::entry(globals, id);
    let _lock = entry.lock()?;
    let mut container = load::from_entry(entry)?;
    if container.status == Status::Stopped {
        return Err(Error::new(Kind::State, matched::NOT_RUNNING));
    }
    let group = container.group()?;
    device_rules::add(&options.devices, &group.record().devices, &mut resources)?;
    let rootless = load::rootless(globals, group.record().manager)?;
    let plan = cgroup::plan::update(group.record(), &resources, rootless)?;
    for warning in &plan.warnings {
        log::warn(format_args!("{warning}"));
    }
    let lines = schemata(options, &container.record)?;
    container.record.cgroup = Some(plan.record());
    group.update_then(&plan, || match container.record.rdt.as_ref().filter(|_| !lines.is_empty()) {
        None => container.entry.write_record(&container.record),
        Some(class) => {
            let before = rdt::schemata(class)?;
            rdt::update(class, &lines)?;
            container.entry.write_record(&container.record).inspect_err(|_| drop(rdt::update(class, &before)))
        }
    })
}

/// Returns the new schemata of the container's class in resctrl. A document replaces all flags, for these as
/// for all limits.
fn schemata(options: &Update, record: &Record) -> Result<Vec<String>> {
    let lines = [&options.l3_cache_schema, &options.mem_bw_schema].into_iter().flatten().cloned();
    let lines: Vec<_> = lines.filter(|_| options.resources.is_none()).collect();
    if !lines.is_empty() && record.rdt.is_none() {
        return Err(fail!(Kind::Unsupported, "Intel RDT: the container was created without intelRdt"));
    }
    Ok(lines)
}

/// Reads a `linux.resources` object from a file or from standard input. It replaces all flags.
fn from_document(path: &Path, options: &Update) -> Result<LinuxResources> {
    let alone = Update {
        resources: options.resources.clone(),
        devices: options.devices.clone(),
        kernel_memory: options.kernel_memory,
        ..Update::default()
    };
    if *options != alone {
        log::warn(format_args!("--resources is given: limits in other flags are ignored"));
    }
    let bytes = load::read_input(path)?;
    let from = if path == Path::new("-") { Path::new("standard input") } else { path };
    let parsed = spec::parse_resources(&bytes);
    let (resources, warnings) = parsed.with_context(|| format!("--resources {}", from.display()))?;
    for warning in warnings {
        log::warn(format_args!("{warning}"));
    }
    Ok(resources)
}

fn from_flags(options: &Update) -> Result<LinuxResources> {
    let mut resources = LinuxResources::default();
    resources.set_devices(None).set_cpu(cpu(options)).set_memory(memory(options));
    if let Some(limit) = options.pids_limit {
        let mut pids = LinuxPids::default();
        pids.set_limit(limit);
        resources.set_pids(Some(pids));
    }
    if let Some(weight) = options.blkio_weight {
        let mut block_io = LinuxBlockIo::default();
        block_io.set_weight(Some(weight));
        resources.set_block_io(Some(block_io));
    }
    Ok(resources)
}

fn cpu(options: &Update) -> Option<LinuxCpu> {
    let mut cpu = LinuxCpu::default();
    let unset = cpu.clone();
    cpu.set_shares(options.cpu_shares)
        .set_quota(options.cpu_quota)
        .set_period(options.cpu_period)
        .set_burst(options.cpu_burst)
        .set_realtime_period(options.cpu_rt_period)
        .set_realtime_runtime(options.cpu_rt_runtime)
        .set_cpus(options.cpuset_cpus.clone())
        .set_mems(options.cpuset_mems.clone())
        .set_idle(options.cpu_idle);
    (cpu != unset).then_some(cpu)
}

fn memory(options: &Update) -> Option<LinuxMemory> {
    let mut memory = LinuxMemory::default();
    let unset = memory;
    // If the memory limit is removed, the limit of memory and swap together must be removed too: it would
    // still bound the memory.
    let swap = options.memory_swap.or_else(|| options.memory.filter(|limit| *limit == -1));
    memory.set_limit(options.memory).set_reservation(options.memory_reservation).set_swap(swap);
    #[allow(deprecated)]
    memory.set_kernel_tcp(options.kernel_memory_tcp);
    (memory != unset).then_some(memory)
}
