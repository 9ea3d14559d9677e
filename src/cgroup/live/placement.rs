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
pub struct Placement<'a> {
    /// The directory for CLONE_INTO_CGROUP: the process is never outside.
    pub clone_into: Option<BorrowedFd<'a>>,
    /// v1: what it has to enter itself, first of all.
    pub self_join: Vec<Tasks>,
    /// The parent must move the process with `Group::join`.
    pub parent_joins: bool,
}

impl Group {
    /// A user's process may have to be moved by systemd, or be left where it is: then `join` knows what to do.
    pub fn placement(&self) -> Result<Placement<'_>> {
        let record = self.record();
        let by_user = record.unit.as_ref().is_some_and(|unit| unit.user);
        let may_stay_outside = self.permission == Permission::NotNeeded && record.mode != Mode::V2;
        let parent_joins = !record.locations.is_empty() && (by_user || may_stay_outside || self.is_full());
        if parent_joins {
            Ok(Placement { parent_joins, ..Placement::default() })
        } else {
            self.self_placement()
        }
    }

    fn self_placement(&self) -> Result<Placement<'_>> {
        let mut placement = Placement::default();
        for (index, location) in self.record().locations.iter().enumerate() {
            let dir = self.dir(index)?;
            if location.is_unified() {
                placement.clone_into = Some(dir.as_fd());
                continue;
            }
            let path = dir.path.join("tasks");
            let file = dir.open_file("tasks", OFlag::O_WRONLY);
            let file = file.with_context(|| format!("open {}", path.display()))?;
            placement.self_join.push(Tasks { path, file });
        }
        Ok(placement)
    }

    /// True if pids.max is at most 1 and the placeholder, which keeps the scope alive, already uses it: a clone into
    /// the group would fail; moving a process in is not limited.
    fn is_full(&self) -> bool {
        let resources = self.record().resources.as_ref();
        let pids = resources.and_then(|resources| resources.pids().as_ref());
        self.has_placeholder() && pids.is_some_and(|pids| (0..=1).contains(&pids.limit()))
    }
}
