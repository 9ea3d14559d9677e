//! What is mounted where, in order: the mounts of the configuration as operations of the mount API.

use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount as Wanted;

use super::c_string::c_string;
use super::id_mapped::{IdMapped, id_mapped};
use super::mount_options::{self, NamedFlags, Options, Parameter, Propagation};
use super::topology::{Namespace, Topology};
use crate::kernel::mount::{Attributes, MOUNT_ATTR_RDONLY};
use crate::spec::ConfigError;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Index in /mounts.
    pub item: usize,
    /// Where, inside the rootfs.
    pub target: CString,
    pub source: Source,
    /// Of the mount itself.
    pub attributes: Attributes,
    /// Of the mount and all below it.
    pub recursive: Attributes,
    /// Changes of propagation after those.
    pub propagation: Vec<Propagation>,
    /// Becomes read-only at the very end: mount points are still made within.
    pub late_read_only: bool,
    pub find: Find,
}

impl Mount {
    /// Whether the runtime maps the ids of this mount after the new process has made it: its source is inside the rootfs,
    /// as the mounts before it have left that, and only the runtime has the rights to the filesystem.
    pub fn is_mapped_by_runtime(&self) -> bool {
        matches!(self.source, Source::Bind { inside: true, id_mapped: Some(_), .. })
    }
}

/// How the target is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Find {
    /// Symlinks are followed inside the rootfs; made if missing, a directory or a file as the source is.
    Follow,
    /// A directory with no symlink on the way (proc and sysfs: CVE-2019-19921, CVE-2023-27561).
    Ordinary,
    /// The last component is not followed.
    NoFollow,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Filesystem {
        kind: CString,
        source: CString,
        parameters: Vec<Parameter>,
        /// A tmpfs without a mode takes that of the directory it covers.
        inherit_mode: bool,
        /// An SELinux label that its root gets when it is made.
        relabel: Option<CString>,
        /// What the directory holds is copied into the new filesystem.
        copy_up: bool,
    },
    Bind {
        path: CString,
        recursive: bool,
        no_follow: bool,
        copy_symlink: bool,
        id_mapped: Option<IdMapped>,
        named: NamedFlags,
        /// It comes from another user namespace: the flags that it has are not to be cleared here.
        locked: bool,
        /// The path is one inside the rootfs, to be seen with the mounts that come before.
        inside: bool,
    },
    /// Attributes of what is mounted there already.
    Remount,
    /// No mount: a symlink in a filesystem that an earlier operation mounted.
    Symlink { to: CString },
}

/// What the mounts depend on besides the configuration.
pub struct Surroundings<'a> {
    pub bundle: &'a Path,
    /// The rootfs on the host.
    pub rootfs: &'a Path,
    pub cgroups: &'a super::cgroup_mounts::Cgroups,
    pub topology: &'a Topology,
}

pub fn mounts(wanted: &[Wanted], around: &Surroundings<'_>) -> Result<Vec<Mount>, ConfigError> {
    let mut all = Vec::with_capacity(wanted.len() + 8);
    for (item, mount) in wanted.iter().enumerate() {
        plan_one(item, mount, around, &mut all)?;
    }
    Ok(all)
}

fn plan_one(
    item: usize,
    wanted: &Wanted,
    around: &Surroundings<'_>,
    all: &mut Vec<Mount>,
) -> Result<(), ConfigError> {
    let words = wanted.options().as_deref().unwrap_or_default();
    let options = mount_options::parse(words).map_err(|word| {
        ConfigError::new(format!("/mounts/{item}/options/{word}"), "has a NUL character within")
    })?;
    let target = target(item, wanted, around.rootfs)?;
    let kind = wanted.typ().as_deref().unwrap_or("bind");
    if options.remount {
        all.push(Mount { source: Source::Remount, ..plain(item, target, &options) });
    } else if options.bind.is_some() || kind == "bind" {
        all.push(bind(item, wanted, target, &options, around)?);
    } else if kind == "cgroup" || kind == "cgroup2" {
        super::cgroup_mounts::mounts(plain(item, target, &options), around.cgroups, all);
    } else {
        all.push(filesystem(item, wanted, target, kind, options)?);
    }
    Ok(())
}

/// Inside the rootfs and absolute; a relative one counts from its root, and one may be spelled as the host sees it, as
/// runc has both.
fn target(item: usize, wanted: &Wanted, rootfs: &Path) -> Result<CString, ConfigError> {
    let pointer = || format!("/mounts/{item}/destination");
    let path = Path::new("/").join(wanted.destination());
    let path = within(&path, rootfs).unwrap_or(path);
    let target = c_string(path.as_os_str(), pointer)?;
    let names_root = |part: &[u8]| part.is_empty() || part == b".";
    if target.to_bytes().split(|&b| b == b'/').all(names_root) {
        return Err(ConfigError::new(pointer(), "a mount cannot cover the root of the container"));
    }
    clean(&target).ok_or_else(|| ConfigError::new(pointer(), "has a NUL character within"))
}

/// A path of the host as the container sees it, where it lies below the rootfs.
pub fn within(path: &Path, rootfs: &Path) -> Option<PathBuf> {
    let below = path.strip_prefix(rootfs).ok().filter(|_| rootfs != Path::new("/"))?;
    (below != Path::new("")).then(|| Path::new("/").join(below))
}

/// Without empty and `.` components: comparisons with known paths are then exact. `..` is left for the kernel, which
/// keeps it inside the root.
fn clean(path: &CStr) -> Option<CString> {
    let parts = path.to_bytes().split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".");
    let mut clean = Vec::with_capacity(path.count_bytes());
    for part in parts {
        clean.push(b'/');
        clean.extend_from_slice(part);
    }
    CString::new(clean).ok()
}

fn plain(item: usize, target: CString, options: &Options) -> Mount {
    Mount {
        item,
        target,
        source: Source::Remount,
        attributes: options.attributes,
        recursive: options.recursive,
        propagation: options.propagation.clone(),
        late_read_only: false,
        find: if options.target_no_follow { Find::NoFollow } else { Find::Follow },
    }
}

fn bind(
    item: usize,
    wanted: &Wanted,
    target: CString,
    options: &Options,
    around: &Surroundings<'_>,
) -> Result<Mount, ConfigError> {
    let pointer = || format!("/mounts/{item}/source");
    let source =
        wanted.source().as_deref().ok_or_else(|| ConfigError::new(pointer(), "a bind needs a source"))?;
    let path = around.bundle.join(source);
    let inside = within(&path, around.rootfs).filter(|_| !options.copy_symlink);
    let source = Source::Bind {
        inside: inside.is_some(),
        path: c_string(inside.as_deref().unwrap_or(&path).as_os_str(), pointer)?,
        recursive: options.bind == Some(true),
        no_follow: options.source_no_follow || options.copy_symlink,
        copy_symlink: options.copy_symlink,
        id_mapped: id_mapped(item, wanted, options, around.topology)?,
        named: options.named,
        locked: around.topology.has(Namespace::USER),
    };
    let attributes =
        Attributes { propagation: options.attributes.propagation, ..options.named.as_attributes() };
    Ok(Mount { source, attributes, ..plain(item, target, options) })
}

fn filesystem(
    item: usize,
    wanted: &Wanted,
    target: CString,
    kind: &str,
    mut options: Options,
) -> Result<Mount, ConfigError> {
    let pointer = |field: &'static str| move || format!("/mounts/{item}/{field}");
    let ordinary = matches!(kind, "proc" | "sysfs");
    if target.as_c_str() == c"/proc" && kind != "proc" {
        return Err(ConfigError::new(
            format!("/mounts/{item}"),
            "only a proc filesystem can be mounted on /proc",
        ));
    }
    let read_only = options.attributes.set & MOUNT_ATTR_RDONLY != 0;
    // A filesystem on a device is opened read-only too; the kernel's own ones are shared and only their mount is.
    let virtual_ones =
        ["tmpfs", "proc", "sysfs", "devpts", "mqueue", "securityfs", "debugfs", "tracefs", "bpf"];
    if read_only && !virtual_ones.contains(&kind) {
        options.parameters.push((c"ro".into(), None));
    }
    let late_read_only = read_only && (kind == "tmpfs" || is_dev(&target));
    let mut mount = plain(item, target, &options);
    if late_read_only {
        mount.attributes.set &= !MOUNT_ATTR_RDONLY;
    }
    if ordinary {
        mount.find = Find::Ordinary;
    }
    let has_mode = options.parameters.iter().any(|(key, _)| key.as_c_str() == c"mode");
    let source = wanted.source().as_deref().unwrap_or_else(|| Path::new(kind));
    mount.source = Source::Filesystem {
        kind: c_string(kind, pointer("type"))?,
        source: c_string(source.as_os_str(), pointer("source"))?,
        parameters: options.parameters,
        inherit_mode: kind == "tmpfs" && !has_mode,
        relabel: None,
        copy_up: options.copy_up,
    };
    mount.late_read_only = late_read_only;
    Ok(mount)
}

fn is_dev(target: &CStr) -> bool {
    Path::new("/dev")
        == Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(target.to_bytes()))
}
