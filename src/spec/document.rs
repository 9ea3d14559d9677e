//! The documents that are read: members as in the specification, put into the types of `oci-spec`.
//!
//! Some types have their own readers here. `Process` has one because the crate checks the lists of
//! `execCPUAffinity` with a regular expression, whose engine would be a seventh of the binary;
//! [`super::scheduling`] checks them instead. Its capabilities have one because the crate also accepts other
//! spellings of their names. So `Spec`, which contains them, has one too; it ignores members for systems
//! other than Linux.

use std::collections::HashMap;
use std::path::PathBuf;

use oci_spec::runtime;
use serde::Deserialize;

use super::capability;
use super::cpu_list::CpuList;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    #[serde(default)]
    oci_version: String,
    root: Option<runtime::Root>,
    mounts: Option<Vec<runtime::Mount>>,
    process: Option<Process>,
    hostname: Option<String>,
    domainname: Option<String>,
    hooks: Option<runtime::Hooks>,
    annotations: Option<HashMap<String, String>>,
    linux: Option<runtime::Linux>,
}

impl From<Spec> for runtime::Spec {
    fn from(read: Spec) -> Self {
        let mut spec = Self::default();
        spec.set_version(read.oci_version)
            .set_root(read.root)
            .set_mounts(read.mounts)
            .set_process(read.process.map(Into::into))
            .set_hostname(read.hostname)
            .set_domainname(read.domainname)
            .set_hooks(read.hooks)
            .set_annotations(read.annotations)
            .set_linux(read.linux);
        spec
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Process {
    terminal: Option<bool>,
    console_size: Option<runtime::Box>,
    user: runtime::User,
    args: Option<Vec<String>>,
    env: Option<Vec<String>>,
    cwd: PathBuf,
    capabilities: Option<Capabilities>,
    rlimits: Option<Vec<runtime::PosixRlimit>>,
    no_new_privileges: Option<bool>,
    apparmor_profile: Option<String>,
    oom_score_adj: Option<i32>,
    selinux_label: Option<String>,
    io_priority: Option<runtime::LinuxIOPriority>,
    scheduler: Option<runtime::Scheduler>,
    #[serde(rename = "execCPUAffinity")]
    exec_cpu_affinity: Option<ExecCPUAffinity>,
}

impl From<Process> for runtime::Process {
    fn from(read: Process) -> Self {
        let mut process = Self::default();
        process
            .set_terminal(read.terminal)
            .set_console_size(read.console_size)
            .set_user(read.user)
            .set_args(read.args)
            .set_env(read.env)
            .set_cwd(read.cwd)
            .set_capabilities(read.capabilities.map(Into::into))
            .set_rlimits(read.rlimits)
            .set_no_new_privileges(read.no_new_privileges)
            .set_apparmor_profile(read.apparmor_profile)
            .set_oom_score_adj(read.oom_score_adj)
            .set_selinux_label(read.selinux_label)
            .set_io_priority(read.io_priority)
            .set_scheduler(read.scheduler)
            .set_exec_cpu_affinity(read.exec_cpu_affinity.map(Into::into));
        process
    }
}

#[derive(Deserialize)]
struct Capabilities {
    #[serde(default, deserialize_with = "capability::set")]
    bounding: Option<runtime::Capabilities>,
    #[serde(default, deserialize_with = "capability::set")]
    effective: Option<runtime::Capabilities>,
    #[serde(default, deserialize_with = "capability::set")]
    inheritable: Option<runtime::Capabilities>,
    #[serde(default, deserialize_with = "capability::set")]
    permitted: Option<runtime::Capabilities>,
    #[serde(default, deserialize_with = "capability::set")]
    ambient: Option<runtime::Capabilities>,
}

impl From<Capabilities> for runtime::LinuxCapabilities {
    fn from(read: Capabilities) -> Self {
        let mut sets = Self::default();
        sets.set_bounding(read.bounding)
            .set_effective(read.effective)
            .set_inheritable(read.inheritable)
            .set_permitted(read.permitted)
            .set_ambient(read.ambient);
        sets
    }
}

#[derive(Deserialize)]
struct ExecCPUAffinity {
    initial: Option<String>,
    #[serde(rename = "final")]
    last: Option<String>,
}

impl From<ExecCPUAffinity> for runtime::ExecCPUAffinity {
    fn from(read: ExecCPUAffinity) -> Self {
        let mut affinity = Self::default();
        affinity.set_initial(plain_cpu_list(read.initial));
        affinity.set_cpu_affinity_final(plain_cpu_list(read.last));
        affinity
    }
}

/// An empty list counts as missing, and spaces or extra commas are dropped. An invalid list stays, so that
/// the rules refuse it.
fn plain_cpu_list(list: Option<String>) -> Option<String> {
    let list = list?;
    match CpuList::parse(&list) {
        Ok(cpus) => (!cpus.is_empty()).then(|| cpus.to_string()),
        Err(_) => Some(list),
    }
}
