//! `linux.namespaces`: decides once which namespaces are made, which are joined, and whether that needs a
//! helper process.

use std::ffi::CString;

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType as Type};

use super::c_string::c_string;
use crate::kernel::namespace as kernel;
use crate::spec::ConfigError;

/// A namespace by its CLONE_NEW* flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespace(pub i32);

impl Namespace {
    pub const USER: Self = Self(kernel::CLONE_NEWUSER);
    pub const PID: Self = Self(kernel::CLONE_NEWPID);
    pub const MOUNT: Self = Self(kernel::CLONE_NEWNS);
    pub const NETWORK: Self = Self(kernel::CLONE_NEWNET);
    pub const IPC: Self = Self(kernel::CLONE_NEWIPC);
    pub const UTS: Self = Self(kernel::CLONE_NEWUTS);
    pub const CGROUP: Self = Self(kernel::CLONE_NEWCGROUP);
    pub const TIME: Self = Self(kernel::CLONE_NEWTIME);

    fn from_type(kind: Type) -> Self {
        match kind {
            Type::User => Self::USER,
            Type::Pid => Self::PID,
            Type::Mount => Self::MOUNT,
            Type::Network => Self::NETWORK,
            Type::Ipc => Self::IPC,
            Type::Uts => Self::UTS,
            Type::Cgroup => Self::CGROUP,
            Type::Time => Self::TIME,
        }
    }

    /// Returns the name in config.json.
    pub fn name(self) -> &'static str {
        match self {
            Self::USER => "user",
            Self::PID => "pid",
            Self::MOUNT => "mount",
            Self::NETWORK => "network",
            Self::IPC => "ipc",
            Self::UTS => "uts",
            Self::CGROUP => "cgroup",
            Self::TIME => "time",
            _ => "unknown",
        }
    }
}

/// An existing namespace to enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    pub namespace: Namespace,
    pub path: CString,
    /// Index in /linux/namespaces.
    pub index: usize,
}

/// A range of ids of a user namespace (user_namespaces(7), /proc/PID/uid_map).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// In the container.
    pub inner: u32,
    /// On the host.
    pub host: u32,
    pub size: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMaps {
    pub uid: Vec<IdMap>,
    pub gid: Vec<IdMap>,
}

impl IdMaps {
    /// Returns the host's id for the container's `inner` id.
    pub fn host_id(maps: &[IdMap], inner: u32) -> Option<u32> {
        let map = maps.iter().find(|map| inner >= map.inner && inner - map.inner < map.size)?;
        map.host.checked_add(inner - map.inner)
    }
}

/// The namespaces of a container: which are made, which are joined, and how ids are mapped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespacePlan {
    /// CLONE_NEW* flags of namespaces to make, all of them.
    pub new_flags: i32,
    /// The existing namespaces to join, in the order of the configuration.
    pub joins: Vec<Join>,
    /// The id maps, if a user namespace is made.
    pub id_maps: Option<IdMaps>,
    /// The id maps that the configuration gives for a joined user namespace.
    pub joined_maps: Option<IdMaps>,
    /// The text for /proc/self/timens_offsets, which is written before the new time namespace has a process.
    pub time_offsets: Option<Vec<u8>>,
    /// Whether the process makes its mount namespace itself, after the clone.
    pub mounts_later: bool,
    /// For `exec`: the CLONE_NEW* flags of the namespaces of a running process, which are joined in one call.
    pub setns_flags: Option<i32>,
}

impl NamespacePlan {
    pub fn makes(&self, namespace: Namespace) -> bool {
        self.new_flags & namespace.0 != 0
    }

    pub fn joins(&self, namespace: Namespace) -> bool {
        self.joins.iter().any(|join| join.namespace == namespace)
    }

    /// Whether the configuration makes or joins this namespace. A joined one may even be the host's own.
    pub fn has(&self, namespace: Namespace) -> bool {
        self.makes(namespace) || self.joins(namespace)
    }

    /// Returns every namespace that the configuration names, as CLONE_NEW* flags: `exec` joins these.
    pub fn all_flags(&self) -> i32 {
        self.joins.iter().fold(self.new_flags, |flags, join| flags | join.namespace.0)
    }

    /// Whether a helper process goes first and clones the container's process.
    ///
    /// Joining a pid or time namespace takes effect only for children. A joined or new user namespace must
    /// own the namespaces that are made after it, and joining others before it needs the host's privileges:
    /// both orders need two steps. Time offsets are written before the namespace has a process.
    pub fn needs_helper(&self) -> bool {
        self.joins(Namespace::PID)
            || self.joins(Namespace::TIME)
            || self.joins(Namespace::USER)
            || (self.makes(Namespace::USER) && !self.joins.is_empty())
            || self.time_offsets.is_some()
            || self.setns_flags.is_some()
    }

    /// Returns the flags of the clone that makes the container's process.
    ///
    /// The cgroup namespace is unshared later: its root is the cgroup of the process at that moment, and
    /// clone3 would use the parent's.
    pub fn clone_flags(&self) -> i32 {
        let helped = if self.needs_helper() { Namespace::USER.0 | self.helper_time() } else { 0 };
        let later = if self.mounts_later { Namespace::MOUNT.0 } else { 0 };
        self.new_flags & !Namespace::CGROUP.0 & !helped & !later
    }

    /// Returns the time namespace's flag if the helper unshares it to write the offsets.
    fn helper_time(&self) -> i32 {
        if self.time_offsets.is_some() { Namespace::TIME.0 } else { 0 }
    }
}

/// Reads which namespaces a configuration asks for.
///
/// # Errors
/// A path with a NUL character.
pub(crate) fn plan_namespaces(linux: Option<&Linux>) -> Result<NamespacePlan, ConfigError> {
    let Some(linux) = linux else { return Ok(NamespacePlan::default()) };
    let mut namespaces = NamespacePlan::default();
    for (index, namespace) in linux.namespaces().iter().flatten().enumerate() {
        let kind = Namespace::from_type(namespace.typ());
        match namespace.path() {
            Some(path) if !path.as_os_str().is_empty() => {
                let pointer = || format!("/linux/namespaces/{index}/path");
                let path = c_string(path.as_os_str(), pointer)?;
                namespaces.joins.push(Join { namespace: kind, path, index });
            }
            _ => namespaces.new_flags |= kind.0,
        }
    }
    let maps = |maps: &Option<Vec<LinuxIdMapping>>| maps.iter().flatten().map(id_map).collect();
    let maps = IdMaps { uid: maps(linux.uid_mappings()), gid: maps(linux.gid_mappings()) };
    if namespaces.makes(Namespace::USER) {
        namespaces.id_maps = Some(maps);
    } else if namespaces.joins(Namespace::USER) && maps != IdMaps::default() {
        namespaces.joined_maps = Some(maps);
    }
    if namespaces.makes(Namespace::TIME) {
        namespaces.time_offsets = time_offsets(linux);
    }
    Ok(namespaces)
}

pub(crate) fn id_map(map: &LinuxIdMapping) -> IdMap {
    IdMap { inner: map.container_id(), host: map.host_id(), size: map.size() }
}

/// The lines of timens_offsets(5): clock, seconds, nanoseconds.
fn time_offsets(linux: &Linux) -> Option<Vec<u8>> {
    let mut clocks: Vec<_> = linux.time_offsets().as_ref()?.iter().collect();
    clocks.sort_by(|a, b| a.0.cmp(b.0));
    let line = |(clock, offset): (&String, &oci_spec::runtime::LinuxTimeOffset)| {
        format!("{clock} {} {}\n", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0))
    };
    let text: String = clocks.into_iter().map(line).collect();
    (!text.is_empty()).then(|| text.into_bytes())
}
