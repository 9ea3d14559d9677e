//! What `v1` and `v2` share. `spec` has checked that each value is valid by itself.

use oci_spec::runtime::{LinuxCpu, LinuxResources};

use super::pointer::{RESOURCES, resource_pointer};
use super::write::Write;

/// Writes and warnings, in the order in which they are made.
#[derive(Debug, Default)]
pub(crate) struct Translation {
    pub writes: Vec<Write>,
    /// Accepted fields that have no effect in this interface.
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

/// Whether the group is to be idle. The kernel then gives it the least possible weight, and accepts no other.
pub(crate) fn is_idle(resources: &LinuxResources) -> bool {
    let unified = resources.unified().as_ref().and_then(|unified| unified.get("cpu.idle"));
    let field = || resources.cpu().as_ref().and_then(LinuxCpu::idle) == Some(1);
    unified.map_or_else(field, |value| value.trim() == "1")
}

/// Whether the resources give a weight.
pub(crate) fn has_weight(resources: &LinuxResources) -> bool {
    let unified = resources.unified().as_ref().is_some_and(|unified| unified.contains_key("cpu.weight"));
    unified || resources.cpu().as_ref().and_then(LinuxCpu::shares).is_some_and(|shares| shares != 0)
}

impl Translation {
    /// Leaves out the weights of an idle group.
    pub(crate) fn remove_weights(&mut self) {
        let is_weight = |write: &Write| ["cpu.shares", "cpu.weight"].contains(&&*write.file);
        for Write { pointer, .. } in self.writes.extract_if(.., |write| is_weight(write)) {
            let why = "unable to apply both a weight and cpu.idle";
            self.warnings.push(format!("{pointer} has no effect: {why}"));
        }
    }
}

/// Writes the lists of processors and memory nodes, which are the same in both interfaces.
pub(crate) fn cpuset(cpu: &LinuxCpu, out: &mut Translation) {
    for (value, file, field) in
        [(cpu.cpus(), "cpuset.cpus", "cpu/cpus"), (cpu.mems(), "cpuset.mems", "cpu/mems")]
    {
        if let Some(list) = value.as_ref().filter(|list| !list.is_empty()) {
            out.push(Write::new("cpuset", file, list, resource_pointer(field)));
        }
    }
}

/// Returns the value for `pids.max`. 0 becomes 1, because a group needs at least one process.
pub(crate) fn pids(limit: i64) -> String {
    match limit {
        ..0 => "max".to_owned(),
        0 => "1".to_owned(),
        limit => limit.to_string(),
    }
}

/// Returns the value for `rdma.max`: `NAME hca_handle=N hca_object=N`; `None` if neither is limited.
pub(crate) fn rdma(name: &str, handles: Option<u32>, objects: Option<u32>) -> Option<String> {
    let mut line = name.to_owned();
    for (key, value) in [("hca_handle", handles), ("hca_object", objects)] {
        if let Some(value) = value {
            line.push_str(&format!(" {key}={value}"));
        }
    }
    (handles.is_some() || objects.is_some()).then_some(line)
}

/// Returns the members of a JSON object in an order that is always the same.
pub(crate) fn sorted_by_name<V>(map: &std::collections::HashMap<String, V>) -> Vec<(&String, &V)> {
    let mut all: Vec<_> = map.iter().collect();
    all.sort_by_key(|(name, _)| *name);
    all
}
