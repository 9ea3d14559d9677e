//! `Record`: the content of state.json: facts about a container, but not its status. The file is private to
//! tare; engines use the verb `state`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::boot;
use crate::cgroup;
use crate::container_id::ContainerId;
use crate::error::Result;
use crate::plan::hooks::Hook;

/// The version of the file's format. A file of another version is refused rather than misread.
pub(crate) const VERSION: u32 = 1;

/// One container, as it was created.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub version: u32,
    pub id: ContainerId,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    /// The time of creation: RFC 3339, UTC.
    pub created: String,
    /// The runtime process that creates the container. The record is written, as an intent, before the first
    /// side effect, so that `delete --force` always knows what to remove.
    pub creator: ProcessIdentity,
    /// The boot in which these processes run, if the record may outlast it ([`super::boot`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// The container's first process; `None` until it has been cloned.
    pub init: Option<ProcessIdentity>,
    pub cgroup: Option<cgroup::Record>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rdt: Option<RdtRecord>,
    /// CLONE_NEW* flags of the namespaces that `exec` joins.
    pub namespaces: i32,
    /// Whether the container has a pid namespace of its own: then its processes end with the first one.
    pub own_pid_namespace: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Whether the container has startContainer hooks: `start` waits for their result.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub start_hooks: bool,
    /// Whether the container's processes stay in the session keyring of whoever calls the runtime.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_new_keyring: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<Hook>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<Hook>,
}

impl Record {
    /// Clears everything that ended with an earlier boot. Other processes have the pids now, and a control
    /// group at that path belongs to somebody else.
    pub(super) fn of_this_boot(mut self) -> Result<Self> {
        if self.boot.as_deref().map_or(Ok(true), boot::is_current)? {
            return Ok(self);
        }
        let nobody = ProcessIdentity { pid: 0, start: 0 };
        (self.creator, self.init, self.cgroup, self.rdt) = (nobody, None, None, None);
        Ok(self)
    }
}

/// The directories in resctrl (Intel RDT) that the container uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RdtRecord {
    pub root: PathBuf,
    /// The class of service that the container's processes are in.
    pub class: PathBuf,
    /// Whether the class was made for the container alone, so that `delete` removes it.
    pub remove_class: bool,
    /// The container's own monitoring group.
    pub monitor: Option<PathBuf>,
}

/// A process, with its start time, so that it cannot be mistaken for a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessIdentity {
    pub pid: i32,
    /// The start time in clock ticks since boot: field 22 of /proc/PID/stat (proc_pid_stat(5)).
    pub start: u64,
}
