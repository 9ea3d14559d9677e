//! Moves threads into a v1 cgroup through its file `tasks` (cgroups(7)).

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::Result;

/// The open `tasks` file of one cgroup.
#[derive(Debug)]
pub struct Tasks {
    /// The path for messages.
    pub path: PathBuf,
    pub file: OwnedFd,
}

impl Tasks {
    /// Moves the calling thread into the group. It must be the only one of its process.
    pub fn enter(&self) -> Result<()> {
        nix::unistd::write(&self.file, b"0").map(drop)
    }
}
