//! Brings a process that is about to be cloned into its group.
//!
//! Moving another process waits 7–15 ms for a grace period (cgroup_threadgroup_rwsem). Being cloned into the
//! group (v2) or moving oneself while single-threaded (v1, KERNEL(5.5)) does not.

use std::os::fd::{AsFd, BorrowedFd};

use nix::fcntl::OFlag;

use super::group::Group;
use crate::cgroup::plan::Permission;
use crate::error::{Context, Result};
use crate::host::cgroup::Mode;
use crate::sys::tasks::Tasks;

/// How the process comes into its group:
///
/// | the group is on | `clone_into` | `self_join` | `parent_joins` |
/// |---|---|---|---|
/// | v2 | the group | | |
/// | v1 | | each group | |
/// | hybrid | the v2 group | each v1 group | |
/// | any, and one of the three reasons below | | | yes |
///
/// The parent moves the process if systemd manages the group for a user (only systemd may then move processes
/// there), if the process may stay outside of a v1 group, or if the placeholder fills the group.
#[derive(Debug, Default)]
pub struct Placement<'a> {
    /// The directory for CLONE_INTO_CGROUP: the process is never outside the group.
    pub clone_into: Option<BorrowedFd<'a>>,
    /// v1: the groups that the process must join itself, before anything else.
    pub self_join: Vec<Tasks>,
    /// The parent must move the process with `Group::join`.
    pub parent_joins: bool,
}

impl Group {
    /// Decides how the process comes into the group. Whether systemd must move it, or whether it may stay
    /// outside, is known only when it is tried: [`Group::join`] does that.
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

    /// Whether the placeholder, which keeps the scope alive, already uses up a pids.max of at most 1: then a
    /// clone into the group fails, but moving a process in is not limited.
    fn is_full(&self) -> bool {
        let resources = self.record().resources.as_ref();
        let pids = resources.and_then(|resources| resources.pids().as_ref());
        self.has_placeholder() && pids.is_some_and(|pids| (0..=1).contains(&pids.limit()))
    }
}
