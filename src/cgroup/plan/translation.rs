//! What `v1` and `v2` share. `spec` has checked that each value is sound in itself.

use oci_spec::runtime::{LinuxCpu, LinuxResources};

use super::pointer::{RESOURCES, resource_pointer};
use super::write::Write;

/// Writes and warnings, as they come up.
#[derive(Debug, Default)]
pub(crate) struct Translation {
    pub writes: Vec<Write>,
    /// Accepted fields that mean nothing to this interface.
    pub warnings: Vec<String>,
}

impl Translation {
    pub(crate) fn push(&mut self, write: Write) {
        self.writes.push(write);
    }

    pub(crate) fn warn_ignored(&mut self, field: &str, why: &str) {
        self.warnings.push(format!("{RESOURCES}/{field} has no effect: {why}"));
    }
}

/// Whether the group is to be idle: the kernel then gives it the least weight there is, and takes no other.
pub(crate) fn is_idle(resources: &LinuxResources) -> bool {
    let unified = resources.unified().as_ref().and_then(|unified| unified.get("cpu.idle"));
    let field = || resources.cpu().as_ref().and_then(LinuxCpu::idle) == Some(1);
    unified.map_or_else(field, |value| value.trim() == "1")
}

/// Whether a weight is asked for.
pub(crate) fn has_weight(resources: &LinuxResources) -> bool {
    let unified = resources.unified().as_ref().is_some_and(|unified| unified.contains_key("cpu.weight"));
    unified || resources.cpu().as_ref().and_then(LinuxCpu::shares).is_some_and(|shares| shares != 0)
}

impl Translation {
    /// Leaves out the weights of a group that is to be idle.
    pub(crate) fn without_weights(&mut self) {
        let is_weight = |write: &Write| ["cpu.shares", "cpu.weight"].contains(&&*write.file);
        for Write { pointer, .. } in self.writes.extract_if(.., |write| is_weight(write)) {
            let why = "unable to apply both a weight and cpu.idle";
            self.warnings.push(format!("{pointer} has no effect: {why}"));
        }
    }
}

/// The lists of processors and memory nodes, which both interfaces write alike.
pub(crate) fn cpuset(cpu: &LinuxCpu, out: &mut Translation) {
    for (value, file, field) in
        [(cpu.cpus(), "cpuset.cpus", "cpu/cpus"), (cpu.mems(), "cpuset.mems", "cpu/mems")]
    {
        if let Some(list) = value.as_ref().filter(|list| !list.is_empty()) {
            out.push(Write::new("cpuset", file, list, resource_pointer(field)));
        }
    }
}

/// The cgroup's `pids.max`: 0 is a limit of its own and a group needs at least one process.
pub(crate) fn pids(limit: i64) -> String {
    match limit {
        ..0 => "max".to_owned(),
        0 => "1".to_owned(),
        limit => limit.to_string(),
    }
}

/// The value for `rdma.max`: `NAME hca_handle=N hca_object=N`; None where neither is limited.
pub(crate) fn rdma(name: &str, handles: Option<u32>, objects: Option<u32>) -> Option<String> {
    let mut line = name.to_owned();
    for (key, value) in [("hca_handle", handles), ("hca_object", objects)] {
        if let Some(value) = value {
            line.push_str(&format!(" {key}={value}"));
        }
    }
    (handles.is_some() || objects.is_some()).then_some(line)
}

/// The members of a JSON object in an order that does not change between runs.
pub(crate) fn sorted_by_name<V>(map: &std::collections::HashMap<String, V>) -> Vec<(&String, &V)> {
    let mut all: Vec<_> = map.iter().collect();
    all.sort_by_key(|(name, _)| *name);
    all
}
