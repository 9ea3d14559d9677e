//! `/mounts`: the mounts in their order, as operations of the mount API.

use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount as SpecMount;

use super::c_string::c_string;
use super::cgroup_mounts::{Cgroups, cgroup_mounts};
use super::id_mapped::id_mapped;
use super::mount_label::MountLabel;
use super::mount_options::{self, Options};
use super::namespaces::{Namespace, NamespacePlan};
use crate::error::{Faults, Result};
use crate::kernel::mount::{Attributes, MOUNT_ATTR_RDONLY};
use crate::spec::ConfigError;

pub(crate) use super::mount::{Mount, MountOperation, MountOrigin, TargetLookup};

/// Filesystems that are not opened read-only: some have one superblock for all mounts, and in a tmpfs files
/// are still made. Only the mount becomes read-only.
const NODEV_FILESYSTEMS: [&str; 9] =
    ["tmpfs", "proc", "sysfs", "devpts", "mqueue", "securityfs", "debugfs", "tracefs", "bpf"];

/// What the mounts depend on besides their own objects.
pub(crate) struct MountContext<'a> {
    pub bundle: &'a Path,
    /// The rootfs on the host.
    pub rootfs: &'a Path,
    pub cgroups: &'a Cgroups,
    pub namespaces: &'a NamespacePlan,
    pub label: &'a MountLabel,
}

/// Plans the mounts of a configuration. The result may have more operations than the configuration has
/// mounts.
///
/// # Errors
/// For each mount that cannot be made, the first field that prevents it.
pub(crate) fn plan_mounts(specs: &[SpecMount], context: &MountContext<'_>) -> Result<Vec<Mount>> {
    let mut mounts = Vec::with_capacity(specs.len() + 8);
    let mut faults = Faults::default();
    for (index, spec) in specs.iter().enumerate() {
        faults.keep(add_mount(index, spec, context, &mut mounts));
    }
    faults.into_result(mounts)
}

fn add_mount(
    index: usize,
    spec: &SpecMount,
    context: &MountContext<'_>,
    mounts: &mut Vec<Mount>,
) -> Result<(), ConfigError> {
    let words = spec.options().as_deref().unwrap_or_default();
    let kind = spec.typ().as_deref().unwrap_or("bind");
    let options = mount_options::parse_options(words, kind).map_err(|word| {
        ConfigError::new(format!("/mounts/{index}/options/{word}"), "has a NUL character within")
    })?;
    let target = target(index, spec, context.rootfs)?;
    if options.remount {
        let mut mount = Mount::new(MountOrigin::Config(index), target, MountOperation::Remount, &options);
        // Made read-only at the end: later mounts may create mount points below it.
        mount.late_read_only = mount.attributes.set & MOUNT_ATTR_RDONLY != 0;
        mount.attributes.set &= !MOUNT_ATTR_RDONLY;
        mounts.push(mount);
    } else if options.bind.is_some() || kind == "bind" {
        mounts.push(bind(index, spec, target, &options, context)?);
    } else if kind == "cgroup" || kind == "cgroup2" {
        let mount = |target, source| Mount::new(MountOrigin::Config(index), target, source, &options);
        mounts.extend(cgroup_mounts(&target, context.cgroups, context.label, mount));
    } else {
        mounts.push(filesystem(index, spec, target, options, context.label)?);
    }
    Ok(())
}

/// Returns the target, absolute and inside the rootfs. As with runc, a relative one starts at the rootfs, and
/// one may be written as the path on the host.
fn target(index: usize, spec: &SpecMount, rootfs: &Path) -> Result<CString, ConfigError> {
    let pointer = || format!("/mounts/{index}/destination");
    let path = Path::new("/").join(spec.destination());
    let path = within(&path, rootfs).unwrap_or(path);
    let target = c_string(path.as_os_str(), pointer)?;
    let names_root = |part: &[u8]| part.is_empty() || part == b".";
    if target.to_bytes().split(|&b| b == b'/').all(names_root) {
        return Err(ConfigError::new(pointer(), "a mount cannot cover the root of the container"));
    }
    clean(&target).ok_or_else(|| ConfigError::new(pointer(), "has a NUL character within"))
}

/// Returns a path of the host as the container sees it, if it lies below the rootfs.
pub(crate) fn within(path: &Path, rootfs: &Path) -> Option<PathBuf> {
    let relative = path.strip_prefix(rootfs).ok().filter(|_| rootfs != Path::new("/"))?;
    (relative != Path::new("")).then(|| Path::new("/").join(relative))
}

/// Returns the path without empty and `.` components, so that comparisons with known paths are exact. `..` is
/// left to the kernel, which keeps it inside the root.
fn clean(path: &CStr) -> Option<CString> {
    let parts = path.to_bytes().split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".");
    let mut clean = Vec::with_capacity(path.count_bytes());
    for part in parts {
        clean.push(b'/');
        clean.extend_from_slice(part);
    }
    CString::new(clean).ok()
}

fn bind(
    index: usize,
    spec: &SpecMount,
    target: CString,
    options: &Options,
    context: &MountContext<'_>,
) -> Result<Mount, ConfigError> {
    let pointer = || format!("/mounts/{index}/source");
    let source =
        spec.source().as_deref().ok_or_else(|| ConfigError::new(pointer(), "a bind needs a source"))?;
    let path = context.bundle.join(source);
    let inside = within(&path, context.rootfs).filter(|_| !options.copy_symlink);
    let source = MountOperation::Bind {
        source_in_rootfs: inside.is_some(),
        path: c_string(inside.as_deref().unwrap_or(&path).as_os_str(), pointer)?,
        recursive: options.bind == Some(true),
        no_follow: options.source_no_follow || options.copy_symlink,
        copy_symlink: options.copy_symlink,
        id_mapped: id_mapped(index, spec, options, context.namespaces)?,
        named: options.named,
        flags_locked: context.namespaces.has(Namespace::USER),
    };
    let propagation = options.attributes.propagation;
    let attributes = Attributes { propagation, ..options.named.to_attributes() };
    Ok(Mount { attributes, ..Mount::new(MountOrigin::Config(index), target, source, options) })
}

fn filesystem(
    index: usize,
    spec: &SpecMount,
    target: CString,
    mut options: Options,
    label: &MountLabel,
) -> Result<Mount, ConfigError> {
    let pointer = |field: &'static str| move || format!("/mounts/{index}/{field}");
    let kind = spec.typ().as_deref().unwrap_or_default();
    if target.as_c_str() == c"/proc" && kind != "proc" {
        let why = "only a proc filesystem can be mounted on /proc";
        return Err(ConfigError::new(format!("/mounts/{index}"), why));
    }
    let read_only = options.attributes.set & MOUNT_ATTR_RDONLY != 0;
    // A filesystem on a device is opened read-only too.
    if read_only && !NODEV_FILESYSTEMS.contains(&kind) {
        options.parameters.push((c"ro".into(), None));
    }
    let late_read_only = read_only && (kind == "tmpfs" || target.as_c_str() == c"/dev");
    if late_read_only {
        options.attributes.set &= !MOUNT_ATTR_RDONLY;
    }
    let has_mode = options.parameters.iter().any(|(key, _)| key.as_c_str() == c"mode");
    let mut parameters = std::mem::take(&mut options.parameters);
    let source = MountOperation::Filesystem {
        kind: c_string(kind, pointer("type"))?,
        source: c_string(spec.source().as_deref().unwrap_or_else(|| Path::new(kind)), pointer("source"))?,
        inherit_mode: kind == "tmpfs" && !has_mode,
        relabel: label.apply(kind, &mut parameters),
        parameters,
        copy_up: options.copy_up,
    };
    let mount = Mount::new(MountOrigin::Config(index), target, source, &options);
    // No symlink on the way to these two may lead elsewhere.
    let lookup = if matches!(kind, "proc" | "sysfs") { TargetLookup::NoSymlinks } else { mount.lookup };
    Ok(Mount { late_read_only, lookup, ..mount })
}
