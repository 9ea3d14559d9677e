//! `features`: reports what this build supports, as the document of the runtime specification's features.md.
//!
//! Only the seccomp flags of the kernel depend on the host. It needs no privileges and no state root. The
//! types are our own and not oci-spec's: those print `null` where the schema requires that a member is left
//! out, and keep annotations in an order that changes with every run.

use serde::Serialize;

use crate::error::Result;
use crate::lifecycle::host_facts::HostFacts;
use crate::lifecycle::options::Globals;
use crate::plan::{annotations, seccomp};
use crate::spec::{self, mount_options};
use crate::sys::seccomp::supported_flags;

/// The commit that this was built from, if TARE_COMMIT was set at build time, as the Makefile does.
pub(crate) const COMMIT: Option<&str> = option_env!("TARE_COMMIT");

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Features {
    pub oci_version_min: &'static str,
    pub oci_version_max: &'static str,
    pub hooks: &'static [&'static str],
    pub mount_options: Vec<&'static str>,
    pub linux: Linux,
    pub annotations: Annotations,
    pub potentially_unsafe_config_annotations: &'static [&'static str],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Linux {
    pub namespaces: &'static [&'static str],
    pub capabilities: Vec<String>,
    pub cgroup: Cgroup,
    pub seccomp: Seccomp,
    pub apparmor: Enabled,
    pub selinux: Enabled,
    pub intel_rdt: IntelRdt,
    pub memory_policy: MemoryPolicy,
    pub mount_extensions: MountExtensions,
    pub net_devices: Enabled,
}

#[derive(Debug, Serialize)]
pub(crate) struct Enabled {
    pub enabled: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cgroup {
    pub v1: bool,
    pub v2: bool,
    pub systemd: bool,
    pub systemd_user: bool,
    pub rdma: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Seccomp {
    pub enabled: bool,
    pub actions: &'static [&'static str],
    pub operators: &'static [&'static str],
    pub archs: Vec<&'static str>,
    pub known_flags: Vec<&'static str>,
    pub supported_flags: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
pub(crate) struct IntelRdt {
    pub enabled: bool,
    pub schemata: bool,
    pub monitoring: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct MemoryPolicy {
    pub modes: &'static [&'static str],
    pub flags: &'static [&'static str],
}

#[derive(Debug, Serialize)]
pub(crate) struct MountExtensions {
    pub idmap: Enabled,
}

#[derive(Debug, Serialize)]
pub(crate) struct Annotations {
    /// Engines read runc's name before they checkpoint.
    #[serde(rename = "org.opencontainers.runc.checkpoint.enabled")]
    pub checkpoint: &'static str,
    #[serde(rename = "run.oci.tare.commit", skip_serializing_if = "Option::is_none")]
    pub commit: Option<&'static str>,
    #[serde(rename = "run.oci.tare.version")]
    pub version: &'static str,
}

/// Makes the document of what `plan` knows of this host.
///
/// # Errors
/// A fact that cannot be read.
pub(crate) fn host_facts(globals: &Globals) -> Result<HostFacts> {
    HostFacts::of_this_host(globals)
}

/// Makes the features document.
pub(crate) fn features() -> Features {
    Features {
        oci_version_min: "1.0.0",
        oci_version_max: spec::VERSION,
        hooks: HOOKS,
        mount_options: mount_options::features().collect(),
        linux: Linux {
            namespaces: &["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            capabilities: capabilities(),
            cgroup: Cgroup { v1: true, v2: true, systemd: true, systemd_user: true, rdma: true },
            seccomp: seccomp(),
            apparmor: Enabled { enabled: true },
            selinux: Enabled { enabled: true },
            intel_rdt: IntelRdt { enabled: true, schemata: true, monitoring: true },
            memory_policy: MemoryPolicy { modes: MEMORY_MODES, flags: MEMORY_FLAGS },
            mount_extensions: MountExtensions { idmap: Enabled { enabled: true } },
            net_devices: Enabled { enabled: true },
        },
        annotations: Annotations { checkpoint: "true", commit: COMMIT, version: env!("CARGO_PKG_VERSION") },
        potentially_unsafe_config_annotations: annotations::ACTING,
    }
}

const HOOKS: &[&str] =
    &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

const MEMORY_MODES: &[&str] = &[
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

const MEMORY_FLAGS: &[&str] = &["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"];

/// Returns the names of all capabilities, in the order of their numbers.
fn capabilities() -> Vec<String> {
    let mut all: Vec<_> = caps::all().into_iter().collect();
    all.sort_by_key(caps::Capability::index);
    all.iter().map(caps::Capability::to_string).collect()
}

/// Returns what the seccomp compiler supports, and which of its flags this kernel has.
fn seccomp() -> Seccomp {
    Seccomp {
        enabled: seccomp::arch::native().is_some(),
        actions: &seccomp::action::NAMES,
        operators: &seccomp::OPERATORS,
        archs: seccomp::arch::names(),
        known_flags: seccomp::flags::names(),
        supported_flags: seccomp::flags::supported_names(supported_flags()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oci_spec_reads_the_document_and_writes_the_same() {
        let ours = serde_json::to_value(features()).unwrap();
        let theirs: oci_spec::runtime::Features = serde_json::from_value(ours.clone()).unwrap();
        let again = serde_json::to_value(&theirs).unwrap();
        for pointer in [
            "/ociVersionMax",
            "/hooks",
            "/mountOptions",
            "/annotations",
            "/linux/namespaces",
            "/linux/capabilities",
            "/linux/cgroup",
            "/linux/seccomp",
            "/linux/mountExtensions",
            "/linux/intelRdt/enabled",
            "/linux/memoryPolicy",
            "/linux/netDevices",
        ] {
            assert!(ours.pointer(pointer).is_some(), "{pointer}");
            assert_eq!(ours.pointer(pointer), again.pointer(pointer), "{pointer}");
        }
    }

    #[test]
    fn lists_are_sorted_and_engines_find_what_they_probe_for() {
        let features = features();
        assert!(features.mount_options.is_sorted());
        // dockerd and containerd look for recursive read-only mounts.
        assert!(features.mount_options.contains(&"rro"));
        assert!(features.linux.seccomp.actions.is_sorted() && features.linux.seccomp.operators.is_sorted());
        assert!(features.linux.capabilities.contains(&String::from("CAP_CHECKPOINT_RESTORE")));
        assert_eq!(features.linux.capabilities[0], "CAP_CHOWN");
    }
}
