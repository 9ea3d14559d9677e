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
mod mount_data;
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
mod show;
pub(crate) mod sysctl;
pub(crate) mod waits;

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, Spec};

use crate::cgroup;
use crate::container_id::ContainerId;
use crate::error::{Result, matched};
use crate::host::Facts;
use crate::spec::ConfigError;
use annotations::Annotations;
use c_string::{absolute_paths, optional_c_string};
use mount_label::MountLabel;
use mounts::MountContext;
use namespaces::{Namespace, Topology};
use process::{ProcessContext, ProcessPlan, ProcessRequest, plan_process};
use rootfs::RootSwitch;

/// Everything that is done to make one container.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub id: ContainerId,
    pub topology: Topology,
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
/// `Kind::Spec` at the first invalid field, `Kind::Unsupported` at the first that this host cannot do. Both
/// have the field's JSON pointer.
pub fn plan_container(spec: &Spec, facts: &Facts, request: &Request<'_>) -> Result<Plan> {
    let linux = spec.linux().as_ref();
    let topology = namespaces::topology(linux)?;
    let annotations = annotations::read(|key| spec.annotations().as_ref()?.get(key))?;
    let cgroup = plan_cgroup(spec, &annotations, facts, request)?;
    let mut warnings = Vec::new();
    let subgroup = annotations.delegate_cgroup;
    let delegation = delegation::delegation(spec, &topology, facts, subgroup, &mut warnings);
    warnings.extend(cgroup.warnings.iter().cloned());
    let filesystem = plan_filesystem(spec, facts, request, &topology, &cgroup)?;
    let process = spec.process().as_ref();
    let process = process.ok_or_else(|| ConfigError::new("/process", matched::PROCESS_EMPTY))?;
    let context = ProcessContext { spec, facts, topology: &topology };
    let process = plan_process(process, &context, &ProcessRequest::init(request), &mut warnings)?;
    warnings.extend(filesystem.warnings);
    let net_devices = linux.and_then(|linux| linux.net_devices().as_ref());
    let rdt = linux.and_then(|linux| linux.intel_rdt().as_ref());
    Ok(Plan {
        id: request.id.clone(),
        hostname: optional_c_string(spec.hostname().as_deref(), "/hostname")?,
        domainname: optional_c_string(spec.domainname().as_deref(), "/domainname")?,
        sysctls: sysctl::sysctls(linux)?,
        net_devices: net_devices::net_devices(net_devices, facts.euid)?,
        read_only_paths: absolute_paths(linux.map(Linux::readonly_paths), "/linux/readonlyPaths")?,
        masked_paths: absolute_paths(linux.map(Linux::masked_paths), "/linux/maskedPaths")?,
        hooks: hooks::hooks(spec.hooks().as_ref())?,
        rdt: rdt::rdt(rdt, facts.resctrl.as_ref(), request.id)?,
        hook_output: annotations.hook_output,
        mounts: filesystem.mounts,
        mask_context: filesystem.mask_context,
        devices: filesystem.devices,
        rootfs: filesystem.rootfs,
        topology,
        cgroup,
        delegation,
        process,
        warnings,
    })
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
    topology: &Topology,
    cgroup: &cgroup::Plan,
) -> Result<Filesystem> {
    let linux = spec.linux().as_ref();
    let rootfs = rootfs::rootfs(spec, &request.bundle, request.no_pivot, topology)?;
    let specs = spec.mounts().as_deref().unwrap_or_default();
    let annotations = spec.annotations().clone().unwrap_or_default();
    let label = MountLabel::new(linux, &annotations, facts.selinux)?;
    let context = MountContext {
        bundle: &request.bundle,
        rootfs: Path::new(OsStr::from_bytes(rootfs.path.to_bytes())),
        cgroups: &cgroup_mounts::shown_cgroups(&facts.cgroup, cgroup, topology.has(Namespace::CGROUP)),
        topology,
        label: &label,
    };
    let mut mounts = mounts::mounts(specs, &context)?;
    mounts.extend(request.activation.notify_mount()?);
    let devices = linux.and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
    let terminal = spec.process().as_ref().and_then(oci_spec::runtime::Process::terminal).unwrap_or(false);
    let devices = devices::devices(devices, specs, terminal)?;
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
