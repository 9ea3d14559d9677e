//! How a process that is about to be cloned comes into its group.
//!
//! Whoever moves another process makes the kernel wait for a grace period, 7 to 15 ms: the other must not fork or end
//! meanwhile (cgroup_threadgroup_rwsem). It waits for neither one that is born in the group (v2) nor, KERNEL(5.5), one
//! that moves its own single thread (v1).

use std::os::fd::{AsFd, BorrowedFd};

use nix::fcntl::OFlag;

use super::group::Group;
use crate::cgroup::plan::Permission;
use crate::error::{Context, Result};
use crate::host::cgroup::Mode;
use crate::sys::tasks::Tasks;

#[derive(Debug, Default)]
pub struct Entrance<'a> {
    /// The directory for CLONE_INTO_CGROUP: the process is never outside.
    pub birth: Option<BorrowedFd<'a>>,
    /// v1: what it has to enter itself, first of all.
    pub doors: Vec<Tasks>,
    /// It is to be moved, by `Group::join`.
    pub by_parent: bool,
}

impl Group {
    /// A user's process may have to be moved by systemd, or be left where it is: then `join` knows what to do.
    pub fn entrance(&self) -> Result<Entrance<'_>> {
        let record = self.record();
        let by_user = record.unit.as_ref().is_some_and(|unit| unit.user);
        let left_alone = self.permission == Permission::NotNeeded && record.mode != Mode::V2;
        let by_parent = !record.places.is_empty() && (by_user || left_alone || self.is_full());
        if by_parent { Ok(Entrance { by_parent, ..Entrance::default() }) } else { self.by_its_own_steps() }
    }

    fn by_its_own_steps(&self) -> Result<Entrance<'_>> {
        let mut entrance = Entrance::default();
        for (index, place) in self.record().places.iter().enumerate() {
            let dir = self.dir(index)?;
            if place.is_unified() {
                entrance.birth = Some(dir.as_fd());
                continue;
            }
            let path = dir.path.join("tasks");
            let file = dir.file("tasks", OFlag::O_WRONLY);
            let file = file.with_context(|| format!("open {}", path.display()))?;
            entrance.doors.push(Tasks { path, file });
        }
        Ok(entrance)
    }
}
