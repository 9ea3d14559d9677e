//! Which namespaces a process is in, and which of them are this command's own.

use nix::errno::Errno;
use serde::Serialize;

use crate::error::{Context, Result};

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NamespaceSeen {
    /// The name in config.json.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The inode, by which lsns(8) and /proc/PID/ns name it.
    pub inode: u64,
    /// Whether this command is in the same namespace.
    pub shared_with_host: bool,
}

/// The names in config.json, each with the one in /proc/PID/ns.
const KINDS: [(&str, &str); 8] = [
    ("cgroup", "cgroup"),
    ("ipc", "ipc"),
    ("mount", "mnt"),
    ("network", "net"),
    ("pid", "pid"),
    ("time", "time"),
    ("user", "user"),
    ("uts", "uts"),
];

/// Returns the namespaces of process `pid`. Kinds that this kernel does not have are left out.
pub(super) fn of_process(pid: i32) -> Result<Vec<NamespaceSeen>> {
    let mut seen = Vec::new();
    for (kind, file) in KINDS {
        let Some(inode) = inode_of(&format!("/proc/{pid}/ns/{file}"))? else { continue };
        let shared_with_host = inode_of(&format!("/proc/self/ns/{file}"))? == Some(inode);
        seen.push(NamespaceSeen { kind, inode, shared_with_host });
    }
    Ok(seen)
}

fn inode_of(path: &str) -> Result<Option<u64>> {
    match nix::sys::stat::stat(path) {
        Err(Errno::ENOENT) => Ok(None),
        other => other.map(|stat| Some(stat.st_ino)).with_context(|| format!("stat {path}")),
    }
}
