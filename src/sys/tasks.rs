//! Moves threads into a v1 cgroup by its file `tasks` (cgroups(7)).

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::Result;

/// The open `tasks` file of one cgroup.
#[derive(Debug)]
pub struct Tasks {
    /// For messages.
    pub path: PathBuf,
    pub file: OwnedFd,
}

impl Tasks {
    /// Moves the calling thread, which is to be its process's only one, into the group.
    pub fn enter(&self) -> Result<()> {
        nix::unistd::write(&self.file, b"0").map(drop)
    }
}
