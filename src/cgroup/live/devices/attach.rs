//! Puts a filter into force on a group.

use std::os::fd::AsFd;

use nix::errno::Errno;

use super::{list, program};
use crate::cgroup::dir::CgroupDir;
use crate::cgroup::plan::Record;
use crate::cgroup::plan::devices::filter::Filter;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::host::cgroup::Mode;
use crate::sys::bpf;

/// Sets the filter, through the interface of `mode`. `fresh`: nothing can be attached yet, so the kernel is
/// not asked.
pub(crate) fn set(dir: &CgroupDir, filter: &Filter, mode: Mode, fresh: bool) -> Result<()> {
    let set = if mode == Mode::V2 { attach(dir, filter, fresh) } else { write(dir, filter) };
    set.context("/linux/resources/devices")
}

/// Returns the filter in force. v1 shows it; on v2 it follows from the last rules.
pub(crate) fn current(dir: &CgroupDir, record: &Record) -> Result<Filter> {
    if dir.is_v2() { record.filter(&record.devices) } else { read(dir) }
}

fn write(dir: &CgroupDir, filter: &Filter) -> Result<()> {
    let current = read(dir)?;
    for step in list::steps(&current, filter) {
        dir.write_with_context(step.file, &step.value)?;
    }
    // The list of an open group does not show its exceptions; the list of a closed group is complete.
    let now = read(dir)?;
    if now.allow != filter.allow || (!filter.allow && now != *filter) {
        return Err(fail!(Kind::State, "{}: asked for \"{filter}\", got \"{now}\"", dir.path.display()));
    }
    Ok(())
}

fn read(dir: &CgroupDir) -> Result<Filter> {
    let text = dir.read_with_context("devices.list")?;
    list::parse(&text).ok_or_else(|| {
        fail!(Kind::Unsupported, "{}/devices.list cannot be read: {text:?}", dir.path.display())
    })
}

fn attach(dir: &CgroupDir, filter: &Filter, fresh: bool) -> Result<()> {
    let at = || format!("attach the device filter to {}", dir.path.display());
    let program = bpf::load_device_filter(&program::program(filter), c"Apache");
    let program = program.context("load the eBPF device filter")?;
    let group = dir.as_fd();
    let mut old = if fresh { Vec::new() } else { bpf::device_filters(group).with_context(at)? };
    // A single filter can be replaced in one step. If there are several, nobody knows which is ours.
    if let [only] = &old[..] {
        match bpf::replace_device_filter(group, program.as_fd(), only.as_fd()) {
            // KERNEL(5.6): BPF_F_REPLACE.
            Err(Errno::EINVAL) => {}
            other => return other.with_context(at),
        }
    }
    bpf::attach_device_filter(group, program.as_fd()).with_context(at)?;
    // Devices must pass all filters. The old ones are removed after the new one is attached, so there is no
    // gap.
    for old in old.drain(..) {
        bpf::detach_device_filter(group, old.as_fd()).with_context(at)?;
    }
    Ok(())
}
