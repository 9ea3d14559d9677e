//! A control group that the container may divide: whose it is, and which group below it the process starts in. v2 only:
//! a v1 group is never safe in the container's hands (runtime-spec, config-linux.md, "Cgroup ownership").

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Spec;

use super::annotations;
use super::topology::{IdMaps, Namespace, Topology};
use crate::host::Facts;
use crate::host::cgroup::Mode;
use crate::spec::ConfigError;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delegation {
    /// The host's id of the user who gets the group.
    pub owner: Option<u32>,
    /// Below the container's group, one component. The limits stay above it.
    pub below: Option<PathBuf>,
}

/// `below` is what an annotation asks for.
pub fn delegation(
    spec: &Spec,
    topology: &Topology,
    facts: &Facts,
    below: Option<PathBuf>,
    warnings: &mut Vec<String>,
) -> Delegation {
    if facts.cgroup.mode() == Mode::V2 {
        // What we make is ours already.
        let owner = owner(spec, topology).filter(|&owner| owner != facts.euid);
        return Delegation { owner, below };
    }
    if below.is_some() {
        let pointer = annotations::pointer(annotations::DELEGATE_CGROUP);
        warnings.push(format!("{pointer}: left out: there are no such groups in cgroup v1"));
    }
    Delegation::default()
}

/// The process's user, where the container sees its own group as the root and can write there.
fn owner(spec: &Spec, topology: &Topology) -> Option<u32> {
    let user = spec.process().as_ref().map_or(0, |process| process.user().uid());
    if !topology.makes(Namespace::CGROUP) || !mounts_for_writing(spec) {
        return None;
    }
    if !topology.has(Namespace::USER) {
        return Some(user);
    }
    let maps = topology.id_maps.as_ref().or(topology.joined_maps.as_ref())?;
    IdMaps::host_id(&maps.uid, user)
}

fn mounts_for_writing(spec: &Spec) -> bool {
    let is_group = |mount: &&oci_spec::runtime::Mount| {
        let kind = mount.typ().as_deref().unwrap_or_default();
        matches!(kind, "cgroup" | "cgroup2") && mount.destination() == Path::new("/sys/fs/cgroup")
    };
    let mount = spec.mounts().iter().flatten().rfind(is_group);
    let words = mount.map(|mount| mount.options().as_deref().unwrap_or_default());
    words.is_some_and(|words| {
        words.iter().rfind(|word| *word == "ro" || *word == "rw").is_none_or(|last| last == "rw")
    })
}

/// The name of one group below another; people write it with a slash before it, which crun does not mind.
pub fn name(typed: &str, key: &str) -> Result<PathBuf, ConfigError> {
    let text = typed.strip_prefix('/').unwrap_or(typed);
    let path = Path::new(text);
    let mut parts = path.components();
    let is_name = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    // These are the kernel's own, and a name with a newline breaks /proc/PID/cgroup.
    let is_file = text.starts_with("cgroup.");
    if is_name && !is_file && !text.contains(['\0', '\n', '/']) && text.len() < 256 {
        return Ok(path.into());
    }
    Err(ConfigError::new(
        annotations::pointer(key),
        format!("must be the name of a control group: {typed:?}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_component_and_leads_nowhere_else() {
        assert_eq!(name("payload", "k").unwrap(), Path::new("payload"));
        assert_eq!(name("/init", "k").unwrap(), Path::new("init"));
        let long = "a".repeat(256);
        for text in
            ["", ".", "..", "a/b", "/a/b", "//a", "/", "a/", "../a", "a\n", "a\0", "cgroup.procs", &long]
        {
            assert_eq!(name(text, "k").unwrap_err().pointer, "/annotations/k", "{text:?}");
        }
    }
}
