//! One mount in the plan: its source, its target, its flags.

use std::ffi::CString;

use super::id_mapped::IdMapped;
use super::mount_options::{ExplicitFlags, Options, Parameter, Propagation};
use crate::kernel::mount::Attributes;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub origin: MountOrigin,
    /// The place inside the rootfs.
    pub target: CString,
    pub operation: MountOperation,
    /// The attributes of the mount itself.
    pub attributes: Attributes,
    /// The attributes of the mount and of all mounts below it.
    pub recursive_attributes: Attributes,
    /// Changes of propagation that follow the attributes.
    pub propagation: Vec<Propagation>,
    /// Made read-only at the end, because mount points are still made in it.
    pub late_read_only: bool,
    pub lookup: TargetLookup,
}

/// Who asks for a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountOrigin {
    /// Index in /mounts of the configuration.
    Config(usize),
    /// The NOTIFY_SOCKET of the runtime's environment.
    NotifySocket,
}

impl MountOrigin {
    /// The index in /mounts of the configuration.
    pub(crate) fn index(self) -> Option<usize> {
        match self {
            Self::Config(index) => Some(index),
            Self::NotifySocket => None,
        }
    }
}

/// Shows the name that messages use: the JSON pointer of the configuration's field, or the variable.
impl std::fmt::Display for MountOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config(index) => write!(f, "/mounts/{index}"),
            Self::NotifySocket => f.write_str("NOTIFY_SOCKET"),
        }
    }
}

/// How the target is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetLookup {
    /// Symlinks are followed inside the rootfs. A missing target is made: a directory or a file, as the
    /// source is.
    Follow,
    /// A directory with no symlink on the way (proc and sysfs: CVE-2019-19921, CVE-2023-27561).
    NoSymlinks,
    /// The last component is not followed.
    NoFollow,
}

impl Mount {
    /// Whether the runtime maps the ids of this mount after the new process has made it. That is so if the
    /// source is inside the rootfs, as the earlier mounts have left it: only the runtime has the rights to
    /// the filesystem.
    pub fn is_mapped_by_runtime(&self) -> bool {
        matches!(self.operation, MountOperation::Bind { source_in_rootfs: true, id_mapped: Some(_), .. })
    }

    /// Whether the ids of the mounts below the source are mapped, too.
    pub fn maps_ids_below(&self) -> bool {
        matches!(&self.operation, MountOperation::Bind { id_mapped: Some(mapping), .. } if mapping.recursive)
    }

    /// Makes a mount of `source` with the flags of the options.
    pub(super) fn new(
        origin: MountOrigin,
        target: CString,
        operation: MountOperation,
        options: &Options,
    ) -> Self {
        Self {
            origin,
            target,
            operation,
            attributes: options.attributes,
            recursive_attributes: options.recursive_attributes,
            propagation: options.propagation.clone(),
            late_read_only: false,
            lookup: if options.target_no_follow { TargetLookup::NoFollow } else { TargetLookup::Follow },
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountOperation {
    Filesystem {
        kind: CString,
        source: CString,
        parameters: Vec<Parameter>,
        /// A tmpfs without a mode gets the mode of the directory that it covers.
        inherit_mode: bool,
        /// An SELinux label that the root gets when it is made.
        relabel: Option<CString>,
        /// The content of the directory is copied into the new filesystem.
        copy_up: bool,
    },
    Bind {
        path: CString,
        recursive: bool,
        no_follow: bool,
        copy_symlink: bool,
        id_mapped: Option<IdMapped>,
        named: ExplicitFlags,
        /// The container has a user namespace of its own, so the flags of the source count as locked: they
        /// are never cleared. Otherwise clearing is tried first, and they are kept only if the kernel refuses
        /// that.
        flags_locked: bool,
        /// The path is inside the rootfs, so the source may be on an earlier mount.
        source_in_rootfs: bool,
    },
    /// New attributes for an existing mount.
    Remount,
    /// No mount: a symlink in a filesystem that an earlier operation mounted.
    Symlink { to: CString },
}

impl MountOperation {
    /// Makes a bind of the host's `path`.
    pub(super) fn bind(path: CString, recursive: bool) -> Self {
        Self::Bind {
            path,
            recursive,
            no_follow: false,
            copy_symlink: false,
            id_mapped: None,
            named: ExplicitFlags::default(),
            flags_locked: false,
            source_in_rootfs: false,
        }
    }
}
