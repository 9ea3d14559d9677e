//! `process.capabilities`: names become bits. A capability that this host cannot grant is left out with a
//! warning.

use oci_spec::runtime::{Capabilities as Names, LinuxCapabilities};

use crate::host::Facts;
use crate::kernel::process::CapabilitySet;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub bounding: CapabilitySet,
    pub effective: CapabilitySet,
    pub permitted: CapabilitySet,
    pub inheritable: CapabilitySet,
    pub ambient: CapabilitySet,
    /// The highest capability of this kernel: bounding capabilities are dropped up to it.
    pub last: u32,
}

/// Plans the capabilities. One that cannot be granted is a warning and no failure (runtime-spec, config.md,
/// "Linux Process").
pub(crate) fn plan_capabilities(
    spec: Option<&LinuxCapabilities>,
    facts: &Facts,
    new_user_namespace: bool,
    warnings: &mut Vec<String>,
) -> Capabilities {
    let all = u64::MAX >> (63 - facts.last_capability.min(63));
    // A new user namespace starts with all capabilities, whoever makes it.
    let grantable = if new_user_namespace { all } else { facts.capabilities & all };
    let set = |names: &Option<Names>| names.as_ref().map_or(0, bits);
    let Some(spec) = spec else {
        return Capabilities { last: facts.last_capability, ..Default::default() };
    };
    let sets =
        [spec.bounding(), spec.effective(), spec.permitted(), spec.inheritable(), spec.ambient()].map(set);
    let missing = sets.iter().fold(0, |all, set| all | set) & !grantable;
    if missing != 0 {
        let who = if facts.euid == 0 {
            "this host".into()
        } else {
            format!("user {}, who holds none of them,", facts.euid)
        };
        warnings.push(format!("/process/capabilities: {who} cannot grant {}", names(missing).join(", ")));
    }
    let [bounding, effective, permitted, inheritable, ambient] = sets.map(|set| set & grantable);
    let lacking = ambient & !(permitted & inheritable);
    for name in names(lacking) {
        warnings.push(format!(
            "/process/capabilities/ambient: can't raise ambient capability {name}: it is not permitted and inheritable"
        ));
    }
    Capabilities { bounding, effective, permitted, inheritable, ambient, last: facts.last_capability }
}

fn bits(names: &Names) -> CapabilitySet {
    names.iter().filter_map(|name| bit(&format!("CAP_{name}"))).fold(0, |set, bit| set | bit)
}

/// The bit of a capability by its full name.
pub fn bit(name: &str) -> Option<CapabilitySet> {
    name.parse::<caps::Capability>().ok().map(|capability| 1 << capability.index())
}

/// The names in a set, in the order of their numbers.
pub fn names(set: CapabilitySet) -> Vec<String> {
    let mut known: Vec<_> = caps::all().into_iter().filter(|known| set >> known.index() & 1 == 1).collect();
    known.sort_by_key(caps::Capability::index);
    known.iter().map(ToString::to_string).collect()
}
