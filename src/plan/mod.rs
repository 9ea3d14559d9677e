//! Decisions. The configuration, the facts of this host and the options become one `Plan`: owned, printable and
//! comparable. No system call and no side effect: the same input gives the same plan.
//!
//! What the child needs is here in the kernel's own terms, so that it decides nothing: C strings, flags, numbers,
//! lists in order. Mount targets are not resolved here: earlier mounts change what later paths mean.

pub mod activation;
pub mod annotations;
pub mod capabilities;
pub mod cgroup_mounts;
pub mod delegation;
pub mod devices;
mod c_string;
pub mod hooks;
pub mod id_mapped;
pub mod label;
pub mod mount_options;
pub mod mounts;
pub mod net_devices;
pub mod process;
pub mod rdt;
pub mod rootfs;
pub mod scheduling;
/// linux.seccomp becomes one BPF program.
pub mod seccomp;
pub mod show;
pub mod topology;
pub mod waits;

use std::ffi::CString;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, Process, Spec};

use crate::cgroup;
use crate::container_id::ContainerId;
use crate::error::{Error, Kind, Result, matched};
use crate::host::Facts;
use crate::spec::ConfigError;
use c_string::c_string;
use process::ProcessPlan;
use rootfs::Enter;
use topology::{Namespace, Topology};

/// All that is done to make one container.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub id: ContainerId,
    pub topology: Topology,
    pub cgroup: cgroup::Plan,
    pub delegation: delegation::Delegation,
    pub rdt: Option<rdt::Rdt>,
    pub rootfs: rootfs::Rootfs,
    pub mounts: Vec<mounts::Mount>,
    pub devices: devices::Devices,
    pub hostname: Option<CString>,
    pub domainname: Option<CString>,
    pub sysctls: Vec<Sysctl>,
    pub net_devices: Vec<net_devices::NetDevice>,
    pub read_only_paths: Vec<CString>,
    pub masked_paths: Vec<CString>,
    /// The SELinux label of what covers them, as a mount option.
    pub mask_context: Option<mount_options::Parameter>,
    pub hooks: hooks::Hooks,
    /// Files for the standard output and error of hooks.
    pub hook_output: [Option<CString>; 2],
    pub process: ProcessPlan,
    /// Odd, but no reason to refuse.
    pub warnings: Vec<String>,
}

/// A kernel parameter: its file below /proc/sys and what is written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    pub key: String,
    pub file: CString,
    pub value: Vec<u8>,
    /// Whose it is.
    pub namespace: Namespace,
}

/// What the command line adds to the configuration.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    pub id: &'a ContainerId,
    /// Absolute.
    pub bundle: PathBuf,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    pub preserve_fds: u32,
    pub cgroup_manager: cgroup::Driver,
    /// Errors about cgroup permissions are ignored where nothing was asked for.
    pub rootless: bool,
    pub activation: activation::Activation,
}

impl<'a> Request<'a> {
    /// What holds where the command line says nothing more. `bundle` is absolute.
    pub fn new(id: &'a ContainerId, bundle: PathBuf) -> Self {
        Self {
            id,
            bundle,
            no_pivot: false,
            no_new_keyring: false,
            preserve_fds: 0,
            cgroup_manager: cgroup::Driver::default(),
            rootless: false,
            activation: activation::Activation::default(),
        }
    }
}

/// Decides everything about a container.
pub fn container(spec: &Spec, facts: &Facts, request: &Request<'_>) -> Result<Plan> {
    let linux = spec.linux().as_ref();
    let mut warnings = Vec::new();
    let topology = topology::topology(linux)?;
    let annotations = spec.annotations().clone().unwrap_or_default();
    let acting = annotations::read(|key| annotations.get(key))?;
    let mut cgroup =
        cgroup::plan::new_group(linux, request.id, request.cgroup_manager, &facts.cgroup, request.rootless)?;
    cgroup.annotate(spec.annotations().as_ref())?;
    if let Some(name) = &acting.systemd_subgroup {
        cgroup.go_below(name);
    }
    let below = acting.delegate_cgroup;
    let delegation = delegation::delegation(spec, &topology, facts, below, &mut warnings);
    if !acting.default_device_rules {
        cgroup.own_device_rules_only()?;
    }
    warnings.extend(cgroup.warnings.iter().cloned());
    let rootfs = rootfs::rootfs(spec, &request.bundle, request.no_pivot, &topology)?;
    let wanted_mounts = spec.mounts().as_deref().unwrap_or_default();
    let shown = cgroup_mounts::shown(&facts.cgroup, &cgroup, topology.has(Namespace::CGROUP));
    let around = mounts::Surroundings {
        bundle: &request.bundle,
        rootfs: Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(
            rootfs.path.to_bytes(),
        )),
        cgroups: &shown,
        topology: &topology,
    };
    let mut mounts = mounts::mounts(wanted_mounts, &around)?;
    let context = label::context(linux, &annotations)?;
    if let Some(context) = &context {
        label::apply(&mut mounts, context, facts.selinux);
    }
    let mut process = process_of(spec, facts, &topology, &mut warnings)?;
    process.preserve_fds = request.preserve_fds;
    process.scheduling.of_first_process();
    process.keyring = (!request.no_new_keyring).then(|| keyring(request.id));
    let paths = |paths: Option<&Option<Vec<String>>>, pointer| absolute(paths, pointer);
    let text = |text: &Option<String>, pointer: &'static str| {
        let given = text.as_deref().filter(|text| !text.is_empty());
        given.map(|text| c_string(text, || pointer.into())).transpose()
    };
    let wanted_devices = linux.and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
    let mut plan = Plan {
        id: request.id.clone(),
        mounts,
        mask_context: context,
        devices: devices::devices(wanted_devices, wanted_mounts)?,
        hostname: text(spec.hostname(), "/hostname")?,
        domainname: text(spec.domainname(), "/domainname")?,
        sysctls: sysctls(linux)?,
        net_devices: net_devices::net_devices(
            linux.and_then(|linux| linux.net_devices().as_ref()),
            facts.euid,
        )?,
        read_only_paths: paths(linux.map(Linux::readonly_paths), "/linux/readonlyPaths")?,
        masked_paths: paths(linux.map(Linux::masked_paths), "/linux/maskedPaths")?,
        hooks: hooks::hooks(spec.hooks().as_ref())?,
        hook_output: acting.hook_output,
        rdt: rdt::rdt(
            linux.and_then(|linux| linux.intel_rdt().as_ref()),
            facts.resctrl.as_ref(),
            request.id,
        )?,
        topology,
        cgroup,
        delegation,
        rootfs,
        process,
        warnings,
    };
    activation::apply(&request.activation, &mut plan, wanted_mounts.len())?;
    if plan.rootfs.enter == Enter::Chroot {
        leave_the_hosts_mounts(&mut plan);
    }
    Ok(plan)
}

/// Without a mount namespace of the container's, everything mounted would be mounted on the host, and nodes would be
/// made in a rootfs that keeps them.
fn leave_the_hosts_mounts(plan: &mut Plan) {
    let left_out = [
        ("/mounts", !plan.mounts.is_empty()),
        ("/linux/devices", plan.devices.nodes.iter().any(|node| node.item.is_some())),
        ("/root/readonly", plan.rootfs.read_only),
        ("/linux/rootfsPropagation", plan.rootfs.propagation.is_some()),
    ];
    for (field, _) in left_out.into_iter().filter(|(_, wanted)| *wanted) {
        plan.warnings.push(format!("{field}: left out: the container has no mount namespace of its own"));
    }
    plan.mounts.clear();
    plan.devices = devices::Devices::default();
    plan.rootfs.read_only = false;
    plan.rootfs.propagation = None;
}

fn process_of(
    spec: &Spec,
    facts: &Facts,
    topology: &Topology,
    warnings: &mut Vec<String>,
) -> Result<ProcessPlan> {
    let wanted = spec.process().as_ref();
    let wanted = wanted.ok_or_else(|| ConfigError::new("/process", matched::PROCESS_EMPTY))?;
    process_in(wanted, spec, facts, topology, warnings)
}

/// A process in a container of this configuration: its own, or one that `exec` adds.
pub fn process_in(
    wanted: &Process,
    spec: &Spec,
    facts: &Facts,
    topology: &Topology,
    warnings: &mut Vec<String>,
) -> Result<ProcessPlan> {
    let linux = spec.linux().as_ref();
    let around = process::Around {
        facts,
        new_user_namespace: topology.has(Namespace::USER),
        setgroups: facts.euid == 0 || !topology.has(Namespace::USER),
    };
    let mut plan = process::process(wanted, &around, warnings)?;
    if plan.apparmor.is_some() && !facts.apparmor {
        let why = "apparmor profile is specified in config, but apparmor is disabled or not supported";
        return Err(ConfigError::new("/process/apparmorProfile", why).into());
    }
    if plan.selinux.is_some() && !facts.selinux {
        let why = crate::error::matched::SELINUX_DISABLED;
        return Err(ConfigError::new("/process/selinuxLabel", why).into());
    }
    let annotation = |key: &str| spec.annotations().as_ref().and_then(|all| all.get(key));
    if annotations::read(annotation)?.keep_groups {
        if plan.groups.take().is_some_and(|groups| !groups.is_empty()) {
            let why = "left out: run.oci.keep_original_groups keeps the groups of the caller";
            warnings.push(format!("/process/user/additionalGids: {why}"));
        }
        plan.keep_groups = true;
    }
    plan.scheduling = scheduling::scheduling(wanted, linux.and_then(|linux| linux.memory_policy().as_ref()))?;
    plan.seccomp = filter(linux, facts)?;
    plan.personality = linux.and_then(|linux| linux.personality().as_ref()).map(rootfs::personality);
    Ok(plan)
}

fn filter(linux: Option<&Linux>, facts: &Facts) -> Result<Option<seccomp::Filter>> {
    let Some(profile) = linux.and_then(|linux| linux.seccomp().as_ref()) else { return Ok(None) };
    let machine = seccomp::arch::native();
    let machine =
        machine.ok_or_else(|| Error::new(Kind::Unsupported, "seccomp is not supported on this machine"))?;
    seccomp::compile(profile, machine, facts.seccomp_flags).map(Some)
}

fn keyring(id: &ContainerId) -> CString {
    // An id has been checked: no NUL.
    CString::new(format!("_ses.{id}")).unwrap_or_default()
}

fn absolute(paths: Option<&Option<Vec<String>>>, pointer: &str) -> Result<Vec<CString>, ConfigError> {
    let paths = paths.and_then(|paths| paths.as_deref()).unwrap_or_default();
    let one = |(item, path): (usize, &String)| {
        let at = || format!("{pointer}/{item}");
        if !Path::new(path).is_absolute() {
            return Err(ConfigError::new(at(), format!("must be an absolute path: {path}")));
        }
        c_string(path, at)
    };
    paths.iter().enumerate().map(one).collect()
}

/// The namespace that a parameter belongs to; the rules of the configuration let no others through.
fn owner(name: &str) -> Namespace {
    match name.split_once('.') {
        Some(("net", _)) => Namespace::NETWORK,
        Some(("user", _)) => Namespace::USER,
        Some(("kernel", "domainname")) => Namespace::UTS,
        _ => Namespace::IPC,
    }
}

/// In the order of their names: the configuration's has no order.
fn sysctls(linux: Option<&Linux>) -> Result<Vec<Sysctl>, ConfigError> {
    let Some(wanted) = linux.and_then(|linux| linux.sysctl().as_ref()) else { return Ok(Vec::new()) };
    let mut sorted: Vec<_> = wanted.iter().collect();
    sorted.sort();
    let one = |(key, value): (&String, &String)| {
        // Dotted, a slash stands for a dot within a part: the two change places for the file's path.
        let swap = |c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        };
        let name = crate::spec::sysctl::dotted(key);
        let file: String = name.chars().map(swap).collect();
        let file = c_string(file, || format!("/linux/sysctl/{key}"))?;
        let value = value.clone().into_bytes();
        Ok(Sysctl { key: key.clone(), file, value, namespace: owner(&name) })
    };
    sorted.into_iter().map(one).collect()
}
