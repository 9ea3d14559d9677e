//! `/root` and `linux.rootfsPropagation`: the path of the root filesystem, how mounts propagate in and out of
//! it, and how it becomes `/`.

use std::ffi::CString;
use std::path::Path;

use oci_spec::runtime::{LinuxPersonality, LinuxPersonalityDomain, Spec};

use super::c_string::c_string;
use super::namespaces::{Namespace, NamespacePlan};
use crate::kernel::mount;
use crate::kernel::process::{PER_LINUX, PER_LINUX32};
use crate::spec::ConfigError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rootfs {
    /// Absolute, on the host.
    pub path: CString,
    pub read_only: bool,
    pub switch: RootSwitch,
    /// The MS_* flag of `linux.rootfsPropagation`, with MS_REC for the r-forms. `None`: rslave for the old
    /// tree, and no change for the new root.
    pub propagation: Option<u64>,
}

/// How the rootfs becomes the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootSwitch {
    PivotRoot,
    /// The process enters a new mount namespace that has the rootfs alone: nothing of the host's tree is copied and
    /// unmounted again, however many mounts it has. KERNEL(7.0), otherwise as `PivotRoot`.
    TreeNamespace,
    /// `--no-pivot`: for a rootfs on the initial ramdisk, for which pivot_root fails.
    MoveMount,
    /// Without a mount namespace of its own: only the root changes, and nothing is mounted.
    Chroot,
}

pub(crate) fn plan_rootfs(
    spec: &Spec,
    bundle: &Path,
    no_pivot: bool,
    namespaces: &NamespacePlan,
) -> Result<Rootfs, ConfigError> {
    let root = spec.root().as_ref().ok_or_else(|| ConfigError::new("/root", "is required"))?;
    let path = bundle.join(root.path());
    let word = spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref());
    let propagation = word.filter(|word| !word.is_empty()).map(propagation).transpose()?;
    if no_pivot && propagation.is_some_and(|propagation| propagation & mount::MS_PRIVATE != 0) {
        let why = "rootfsPropagation of [r]private is not safe without pivot_root";
        return Err(ConfigError::new("/linux/rootfsPropagation", why));
    }
    Ok(Rootfs {
        path: c_string(path.as_os_str(), || "/root/path".into())?,
        read_only: root.readonly().unwrap_or(false),
        switch: match (namespaces.has(Namespace::MOUNT), no_pivot) {
            (false, _) => RootSwitch::Chroot,
            (true, true) => RootSwitch::MoveMount,
            (true, false) => RootSwitch::PivotRoot,
        },
        propagation,
    })
}

fn propagation(word: &str) -> Result<u64, ConfigError> {
    let (plain, recursive) = match word.strip_prefix('r') {
        Some(plain) => (plain, mount::MS_REC),
        None => (word, 0),
    };
    let kind = match plain {
        "shared" => mount::MS_SHARED,
        "slave" => mount::MS_SLAVE,
        "private" => mount::MS_PRIVATE,
        "unbindable" => mount::MS_UNBINDABLE,
        _ => {
            let why = format!("not a propagation: {word}");
            return Err(ConfigError::new("/linux/rootfsPropagation", why));
        }
    };
    Ok(kind | recursive)
}

/// Returns personality(2)'s number. Flags are ignored: the specification defines none.
pub(crate) fn personality(spec: &LinuxPersonality) -> u64 {
    match spec.domain() {
        LinuxPersonalityDomain::PerLinux => PER_LINUX,
        LinuxPersonalityDomain::PerLinux32 => PER_LINUX32,
    }
}
