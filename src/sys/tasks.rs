//! `tasks`, the file by which threads come into a control group of v1.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::Result;

/// The open file of one group.
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
