//! `update`: new limits for a container that runs. Only what is named changes; what is not mentioned stays as it is
//! (runc resets some of it).

use std::io::Read;
use std::path::Path;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};

use super::load;
use super::options::{Globals, Update};
use crate::cgroup;
use crate::container::{Record, Status};
use crate::error::{Context, Error, Kind, Result, matched};
use crate::launch::rdt;
use crate::plan::annotations;
use crate::{fail, log, spec};

pub fn update(globals: &Globals, options: &Update) -> Result<()> {
    let resources = match &options.resources {
        Some(path) => from_document(path)?,
        None => from_flags(options)?,
    };
    if options.kernel_memory {
        log::warn(format_args!("kernel memory limits are ignored: kernels since 5.4 have none"));
    }
    let entry = load::entry(globals, &options.id)?;
    let _lock = entry.lock()?;
    let mut known = load::of_entry(entry)?;
    if known.status == Status::Stopped {
        return Err(Error::new(Kind::State, matched::NOT_RUNNING));
    }
    let group = known.group()?;
    let mut plan = cgroup::update(group.record(), &resources, load::rootless(globals))?;
    if !annotations::read(|key| known.record.annotations.get(key))?.default_device_rules {
        plan.own_device_rules_only(resources.devices().as_deref().unwrap_or_default())?;
    }
    for warning in &plan.warnings {
        log::warn(format_args!("{warning}"));
    }
    let lines = schemata(options, &known.record)?;
    group.change(&plan)?;
    known.record.cgroup = Some(plan.record());
    known.entry.write(&known.record)?;
    match &known.record.rdt {
        Some(rdt) if !lines.is_empty() => rdt::update(rdt, &lines),
        _ => Ok(()),
    }
}

/// Lines for the container's class in resctrl. As with all flags, a document takes their place.
fn schemata(options: &Update, record: &Record) -> Result<Vec<String>> {
    let lines = [&options.l3_cache_schema, &options.mem_bw_schema].into_iter().flatten().cloned();
    let lines: Vec<_> = lines.filter(|_| options.resources.is_none()).collect();
    if !lines.is_empty() && record.rdt.is_none() {
        return Err(fail!(Kind::Unsupported, "Intel RDT: the container was created without intelRdt"));
    }
    Ok(lines)
}

/// A resources object, from a file or from standard input.
fn from_document(path: &Path) -> Result<LinuxResources> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin()
            .take(spec::LARGEST)
            .read_to_end(&mut bytes)
            .context("read resources from standard input")?;
    } else {
        bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    }
    let (resources, warnings) = spec::parse_resources(&bytes)?;
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
    // Without a limit on memory, one on memory and swap together would still be in its way.
    let swap = options.memory_swap.or_else(|| options.memory.filter(|limit| *limit == -1));
    memory.set_limit(options.memory).set_reservation(options.memory_reservation).set_swap(swap);
    (memory != unset).then_some(memory)
}
