//! Delegates the container's control group: who becomes its owner, and in which group below it the process
//! starts. Only v2: delegating a v1 group to the container is never safe (runtime-spec, config-linux.md,
//! "Cgroup ownership").

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::annotations;
use super::namespaces::{IdMaps, Namespace, NamespacePlan};
use crate::host::Facts;
use crate::host::cgroup::Mode;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delegation {
    /// The host's id of the user who gets the group.
    pub owner: Option<u32>,
    /// The group of the process, one component below the container's. The limits stay above it.
    pub subgroup: Option<PathBuf>,
}

/// Decides who owns the group. `subgroup` comes from an annotation.
pub(crate) fn plan_delegation(
    spec: &Spec,
    namespaces: &NamespacePlan,
    facts: &Facts,
    subgroup: Option<PathBuf>,
    warnings: &mut Vec<String>,
) -> Delegation {
    if facts.cgroup.mode() == Mode::V2 {
        // No chown is needed if we are the owner.
        let owner = owner(spec, namespaces).filter(|&owner| owner != facts.euid);
        return Delegation { owner, subgroup };
    }
    if subgroup.is_some() {
        let pointer = annotations::pointer(annotations::DELEGATE_CGROUP);
        warnings.push(format!("{pointer}: left out: there are no such groups in cgroup v1"));
    }
    Delegation::default()
}

/// Returns the process's user, if the container sees its own group as the root and can write there.
fn owner(spec: &Spec, namespaces: &NamespacePlan) -> Option<u32> {
    let user = spec.process().as_ref().map_or(0, |process| process.user().uid());
    if !namespaces.makes(Namespace::CGROUP) || !has_writable_mount(spec) {
        return None;
    }
    if !namespaces.has(Namespace::USER) {
        return Some(user);
    }
    let maps = namespaces.id_maps.as_ref().or(namespaces.joined_maps.as_ref())?;
    IdMaps::host_id(&maps.uid, user)
}

fn has_writable_mount(spec: &Spec) -> bool {
    let is_group = |mount: &&oci_spec::runtime::Mount| {
        let kind = mount.typ().as_deref().unwrap_or_default();
        matches!(kind, "cgroup" | "cgroup2") && mount.destination() == Path::new("/sys/fs/cgroup")
    };
    let mount = spec.mounts().iter().flatten().rfind(is_group);
    let options = mount.map(|mount| mount.options().as_deref().unwrap_or_default());
    options.is_some_and(|options| {
        options.iter().rfind(|word| *word == "ro" || *word == "rw").is_none_or(|last| last == "rw")
    })
}
