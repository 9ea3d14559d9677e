//! The cgroup manager: who makes and removes a container's group (`--cgroup-manager`, `--systemd-cgroup`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The cgroup manager; runc calls it the cgroup driver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    #[default]
    /// The runtime itself, with directories in the cgroup file systems.
    Cgroupfs,
    /// systemd: the runtime asks for a transient unit over D-Bus.
    Systemd,
    /// Nobody: the container stays in the groups that the runtime is in.
    Disabled,
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cgroupfs => "cgroupfs",
            Self::Systemd => "systemd",
            Self::Disabled => "disabled",
        })
    }
}
