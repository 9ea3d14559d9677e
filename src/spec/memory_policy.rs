//! Rules for `linux.memoryPolicy` (set_mempolicy(2)).

use oci_spec::runtime::{LinuxMemoryPolicy, MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode};

use super::config_error::quote;
use super::cpu_list::CpuList;
use super::diagnostics::Diagnostics;
use super::json_pointer::JsonPointer;

pub(super) fn rules(policy: &LinuxMemoryPolicy, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    nodes(policy, &at.key("nodes"), diagnostics);
    let flags = policy.flags().as_deref().unwrap_or_default();
    if flags.contains(&Flag::MpolFStaticNodes) && flags.contains(&Flag::MpolFRelativeNodes) {
        diagnostics
            .error(&at.key("flags"), "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other");
    }
}

fn nodes(policy: &LinuxMemoryPolicy, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    let list = policy.nodes().as_deref().unwrap_or_default();
    let nodes = match CpuList::parse(list) {
        Ok(nodes) => nodes.count(),
        Err(cause) => {
            return diagnostics.error(at, format!("invalid memory policy nodes {}: {cause}", quote(list)));
        }
    };
    match policy.mode() {
        Mode::MpolDefault | Mode::MpolLocal if nodes > 0 => {
            diagnostics.error(at, format!("memory policy mode requires 0 nodes but got {nodes}"));
        }
        Mode::MpolBind | Mode::MpolInterleave | Mode::MpolWeightedInterleave | Mode::MpolPreferredMany
            if nodes == 0 =>
        {
            diagnostics.error(at, "memory policy mode requires at least one node but got 0");
        }
        // To the kernel, "preferred" without a node means "local".
        _ => {}
    }
}
