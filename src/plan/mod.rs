//! Decisions: the configuration, the facts of this host and the command's options become one [`Plan`], which
//! is owned, printable and comparable. Nothing here makes a system call or has a side effect: the same input
//! gives the same plan.
//!
//! The plan contains everything that the child needs in the kernel's own terms: C strings, flags, numbers,
//! ordered lists. So the child decides nothing. Mount targets are not resolved here: earlier mounts change
//! what later paths mean.

pub(crate) mod annotations;
mod c_string;
pub(crate) mod capabilities;
pub(crate) mod cgroup_mounts;
pub(crate) mod delegation;
pub(crate) mod devices;
pub(crate) mod hooks;
pub(crate) mod id_mapped;
pub(crate) mod mount;
mod mount_parameters;
pub(crate) mod mount_label;
pub(crate) mod mount_options;
pub(crate) mod mounts;
pub(crate) mod namespaces;
pub(crate) mod net_devices;
pub(crate) mod process;
pub(crate) mod rdt;
pub(crate) mod rootfs;
pub(crate) mod scheduling;
pub(crate) mod seccomp;
pub(crate) mod service_manager;
pub(crate) mod show;
pub(crate) mod sysctl;
pub(crate) mod toolbox;
mod tree_namespace;
pub(crate) mod waits;

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, Spec};

use crate::cgroup;
use crate::container_id::ContainerId;
use crate::error::{Faults, Result, matched};
use crate::host::Facts;
use crate::spec::ConfigError;
use annotations::Annotations;
use c_string::{absolute_paths, optional_c_string};
use mount_label::MountLabel;
use mounts::MountContext;
use namespaces::{Namespace, NamespacePlan};
use process::{ProcessContext, ProcessPlan, ProcessRequest, plan_process};
use rootfs::RootSwitch;

/// Everything that is done to make one container.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub id: ContainerId,
    pub namespaces: NamespacePlan,
    pub cgroup: cgroup::plan::Plan,
    pub delegation: delegation::Delegation,
    pub rdt: Option<rdt::Rdt>,
    pub rootfs: rootfs::Rootfs,
    pub mounts: Vec<mounts::Mount>,
    pub devices: devices::Devices,
    pub hostname: Option<CString>,
    pub domainname: Option<CString>,
    pub sysctls: Vec<sysctl::Sysctl>,
    pub net_devices: Vec<net_devices::NetDevice>,
    pub read_only_paths: Vec<CString>,
    pub masked_paths: Vec<CString>,
    /// The SELinux label of the mounts that cover the masked paths, as a mount option.
    pub mask_context: Option<mount_options::Parameter>,
    pub hooks: hooks::Hooks,
    /// Files for the standard output and error of hooks.
    pub hook_output: [Option<CString>; 2],
    pub process: ProcessPlan,
    /// Oddities that are no reason to refuse. Each begins with the JSON pointer of its field.
    pub warnings: Vec<String>,
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
    pub cgroup_manager: cgroup::plan::Manager,
    /// Ignore errors about cgroup permissions if the configuration asks for no resources.
    pub rootless: bool,
    pub activation: service_manager::Activation,
}

impl<'a> Request<'a> {
    /// Makes a request with the defaults of the command line. `bundle` is absolute.
    pub fn new(id: &'a ContainerId, bundle: PathBuf) -> Self {
        Self {
            id,
            bundle,
            no_pivot: false,
            no_new_keyring: false,
            preserve_fds: 0,
            cgroup_manager: cgroup::Manager::default(),
            rootless: false,
            activation: service_manager::Activation::default(),
        }
    }
}

/// Decides everything about a container.
///
/// # Errors
/// All fields that cannot be applied, each with its JSON pointer: `Kind::Spec`, or `Kind::Unsupported` if
/// only this host cannot apply them. The kind of the first one counts.
pub fn plan_container(spec: &Spec, facts: &Facts, request: &Request<'_>) -> Result<Plan> {
    let mut warnings = Vec::new();
    let plan = plan_or_warn(spec, facts, request, &mut warnings);
    plan.map(|plan| Plan { warnings, ..plan })
}

/// Plans like [`plan_container`]. There are warnings even if there is no plan.
pub(crate) fn plan_or_warn(
    spec: &Spec,
    facts: &Facts,
    request: &Request<'_>,
    warnings: &mut Vec<String>,
) -> Result<Plan> {
    let linux = spec.linux().as_ref();
    // Everything else depends on it.
    let namespaces = namespaces::plan_namespaces(linux)?;
    let mut faults = Faults::default();
    let annotations = annotations::read(|key| spec.annotations().as_ref()?.get(key));
    let annotations = faults.keep(annotations).unwrap_or_default();
    let cgroup = faults.keep(plan_cgroup(spec, &annotations, facts, request));
    let subgroup = annotations.delegate_cgroup.clone();
    let delegation = delegation::plan_delegation(spec, &namespaces, facts, subgroup, warnings);
    match &cgroup {
        Some(cgroup) => warnings.extend(cgroup.warnings.iter().cloned()),
        None => warnings.extend(cgroup_warnings(linux, facts)),
    }
    let filesystem = faults.keep(plan_filesystem(spec, facts, request, &namespaces, cgroup.as_ref()));
    let context = ProcessContext { spec, facts, namespaces: &namespaces };
    let process = spec.process().as_ref();
    let process = process.ok_or_else(|| ConfigError::new("/process", matched::PROCESS_EMPTY).into());
    let process =
        process.and_then(|process| plan_process(process, &context, &ProcessRequest::init(request), warnings));
    let process = faults.keep(process);
    warnings.extend(filesystem.iter().flat_map(|filesystem| filesystem.warnings.iter().cloned()));
    let settings = faults.keep(plan_settings(spec, facts, request));
    let (Some(cgroup), Some(filesystem), Some(process), Some(settings)) =
        (cgroup, filesystem, process, settings)
    else {
        return Err(faults.error().unwrap_or_else(|| ConfigError::new("", "no plan").into()));
    };
    let (rootfs, namespaces) = enter_alone(facts, &filesystem, &settings.hooks, namespaces);
    faults.into_result(Plan {
        id: request.id.clone(),
        hostname: settings.hostname,
        domainname: settings.domainname,
        sysctls: settings.sysctls,
        net_devices: settings.net_devices,
        read_only_paths: settings.read_only_paths,
        masked_paths: settings.masked_paths,
        hooks: settings.hooks,
        rdt: settings.rdt,
        hook_output: annotations.hook_output,
        mounts: filesystem.mounts,
        mask_context: filesystem.mask_context,
        devices: filesystem.devices,
        rootfs,
        namespaces,
        cgroup,
        delegation,
        process,
        warnings: Vec::new(),
    })
}

/// Lets the process enter a mount namespace of the rootfs alone, where the kernel and the plan permit it.
fn enter_alone(
    facts: &Facts,
    filesystem: &Filesystem,
    hooks: &hooks::Hooks,
    namespaces: NamespacePlan,
) -> (rootfs::Rootfs, NamespacePlan) {
    let Filesystem { rootfs, mounts, devices, .. } = filesystem;
    let mut rootfs = rootfs.clone();
    let mounts_later =
        facts.tree_namespaces && tree_namespace::fits(&rootfs, mounts, devices, hooks, &namespaces);
    if mounts_later {
        rootfs.switch = RootSwitch::TreeNamespace;
    }
    (rootfs, NamespacePlan { mounts_later, ..namespaces })
}

/// Returns the warnings about resources without effect, if there is no plan for the group that would contain
/// them.
fn cgroup_warnings(linux: Option<&Linux>, facts: &Facts) -> Vec<String> {
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    resources.map(|resources| cgroup::plan::warnings(resources, facts.cgroup.mode())).unwrap_or_default()
}

/// The parts of a plan that depend on nothing else.
struct Settings {
    hostname: Option<CString>,
    domainname: Option<CString>,
    sysctls: Vec<sysctl::Sysctl>,
    net_devices: Vec<net_devices::NetDevice>,
    read_only_paths: Vec<CString>,
    masked_paths: Vec<CString>,
    hooks: hooks::Hooks,
    rdt: Option<rdt::Rdt>,
}

fn plan_settings(spec: &Spec, facts: &Facts, request: &Request<'_>) -> Result<Settings> {
    let linux = spec.linux().as_ref();
    let devices = linux.and_then(|linux| linux.net_devices().as_ref());
    let rdt = linux.and_then(|linux| linux.intel_rdt().as_ref());
    let mut faults = Faults::default();
    let read_only = absolute_paths(linux.map(Linux::readonly_paths), "/linux/readonlyPaths");
    let masked = absolute_paths(linux.map(Linux::masked_paths), "/linux/maskedPaths");
    let settings = Settings {
        hostname: faults.keep(optional_c_string(spec.hostname().as_deref(), "/hostname")).flatten(),
        domainname: faults.keep(optional_c_string(spec.domainname().as_deref(), "/domainname")).flatten(),
        sysctls: faults.keep(sysctl::plan_sysctls(linux)).unwrap_or_default(),
        net_devices: faults.keep(net_devices::plan_net_devices(devices, facts.euid)).unwrap_or_default(),
        read_only_paths: faults.keep(read_only).unwrap_or_default(),
        masked_paths: faults.keep(masked).unwrap_or_default(),
        hooks: faults.keep(hooks::plan_hooks(spec.hooks().as_ref())).unwrap_or_default(),
        rdt: faults.keep(rdt::plan_rdt(rdt, facts.resctrl.as_ref(), request.id)).flatten(),
    };
    faults.into_result(settings)
}

fn plan_cgroup(
    spec: &Spec,
    annotations: &Annotations,
    facts: &Facts,
    request: &Request<'_>,
) -> Result<cgroup::Plan> {
    let linux = spec.linux().as_ref();
    cgroup::plan::new_group(&cgroup::plan::Request {
        linux,
        annotations: spec.annotations().as_ref(),
        id: request.id,
        manager: request.cgroup_manager,
        layout: &facts.cgroup,
        rootless: request.rootless,
        systemd_subgroup: annotations.systemd_subgroup.as_deref(),
        without_default_devices: !annotations.default_device_rules,
    })
}

/// The mounts and nodes in the rootfs.
struct Filesystem {
    rootfs: rootfs::Rootfs,
    mounts: Vec<mounts::Mount>,
    mask_context: Option<mount_options::Parameter>,
    devices: devices::Devices,
    warnings: Vec<String>,
}

/// Without a mount namespace of the container's own, mounts would be made on the host, and nodes in a rootfs
/// that keeps them. So both are left out, with a warning.
fn plan_filesystem(
    spec: &Spec,
    facts: &Facts,
    request: &Request<'_>,
    namespaces: &NamespacePlan,
    cgroup: Option<&cgroup::Plan>,
) -> Result<Filesystem> {
    let linux = spec.linux().as_ref();
    let mut faults = Faults::default();
    let rootfs = faults.keep(rootfs::plan_rootfs(spec, &request.bundle, request.no_pivot, namespaces));
    let specs = spec.mounts().as_deref().unwrap_or_default();
    let annotations = spec.annotations().clone().unwrap_or_default();
    let label = faults.keep(MountLabel::new(linux, &annotations, facts.selinux)).unwrap_or_default();
    let shown = cgroup.map_or(cgroup_mounts::Cgroups::Absent, |cgroup| {
        cgroup_mounts::shown_cgroups(&facts.cgroup, cgroup, namespaces.has(Namespace::CGROUP))
    });
    let path = rootfs.as_ref().map_or(c"/", |rootfs| &rootfs.path);
    let context = MountContext {
        bundle: &request.bundle,
        rootfs: Path::new(OsStr::from_bytes(path.to_bytes())),
        cgroups: &shown,
        namespaces,
        label: &label,
    };
    let mut mounts = faults.keep(mounts::plan_mounts(specs, &context)).unwrap_or_default();
    mounts.extend(faults.keep(request.activation.notify_mount()).flatten());
    let devices = linux.and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
    let terminal = spec.process().as_ref().and_then(oci_spec::runtime::Process::terminal).unwrap_or(false);
    let devices = faults.keep(devices::plan_devices(devices, specs, terminal));
    let (Some(rootfs), Some(devices)) = (rootfs, devices) else {
        return Err(faults.error().unwrap_or_else(|| ConfigError::new("/root", "no plan").into()));
    };
    faults.into_result(())?;
    let mask_context = label.parameter;
    if rootfs.switch != RootSwitch::Chroot {
        return Ok(Filesystem { rootfs, mounts, mask_context, devices, warnings: Vec::new() });
    }
    let left_out = [
        ("/mounts", !mounts.is_empty()),
        ("/linux/devices", devices.nodes.iter().any(|node| node.index.is_some())),
        ("/root/readonly", rootfs.read_only),
        ("/linux/rootfsPropagation", rootfs.propagation.is_some()),
    ];
    let left_out = left_out.into_iter().filter(|(_, requested)| *requested);
    let why = "left out: the container has no mount namespace of its own";
    Ok(Filesystem {
        rootfs: rootfs::Rootfs { read_only: false, propagation: None, ..rootfs },
        mounts: Vec::new(),
        mask_context,
        devices: devices::Devices::default(),
        warnings: left_out.map(|(field, _)| format!("{field}: {why}")).collect(),
    })
}
