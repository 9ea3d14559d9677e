//! Delegates a group to the container: gives it an owner, and makes a group below it for the container's
//! process.

use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{Uid, fchownat};

use super::group::Group;
use crate::cgroup::dir::{CgroupDir, is_permission_error};
use crate::cgroup::plan::Record;
use crate::error::{Context, Error, Result};
use crate::host::cgroup::Mode;

/// KERNEL(4.15): here the kernel lists the files to chown besides the directory. Older kernels have `FILES`.
const LIST: &str = "/sys/kernel/cgroup/delegate";
const FILES: &str = "cgroup.procs\ncgroup.threads\ncgroup.subtree_control";

impl Group {
    /// v2: lets the user divide the group. The files of its limits stay ours.
    pub fn delegate_to(&self, owner: u32) -> Result<()> {
        let Some(location) = self.unified() else { return Ok(()) };
        match give(self.dir(location)?, owner) {
            // Rootless: files cannot be given to another id of the container.
            Err(error) if self.may_lack_permission() && is_permission_error(&error) => Ok(()),
            other => other,
        }
    }

    /// v2: makes a group below and moves a process there. The new group gets no limits, and the owner of this
    /// one.
    pub fn move_into_subgroup(&self, below: &Path, pid: i32, owner: Option<u32>) -> Result<()> {
        let record = self.record_below(below);
        let Some(location) = self.unified() else { return Ok(()) };
        let made = self.dir(location)?.create_child(below);
        made.with_context(|| {
            format!("make control group {}", record.locations[location].directory().display())
        })?;
        let group = Self::from_record(&record);
        owner.map_or(Ok(()), |owner| group.delegate_to(owner))?;
        group.join(pid)
    }

    /// Returns the group that `move_into_subgroup` has made; if it is gone, this one.
    pub fn existing_subgroup(&self, below: &Path) -> Self {
        let group = Self::from_record(&self.record_below(below));
        if self.record().mode == Mode::V2 && group.exists().unwrap_or(false) {
            group
        } else {
            Self::from_record(self.record())
        }
    }

    fn record_below(&self, below: &Path) -> Record {
        let mut record = self.record().clone();
        record
            .locations
            .iter_mut()
            .filter(|location| location.is_unified())
            .for_each(|location| location.path.push(below));
        record
    }
}

fn give(dir: &CgroupDir, owner: u32) -> Result<()> {
    let owner = Some(Uid::from_raw(owner));
    let list = match std::fs::read_to_string(LIST) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => FILES.to_owned(),
        other => other.with_context(|| format!("read {LIST}"))?,
    };
    for file in std::iter::once(".").chain(list.lines()) {
        match fchownat(dir, file, owner, None, AtFlags::AT_SYMLINK_NOFOLLOW) {
            // Not every kernel and not every group has all of these files.
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => {
                let doing = format!("give {} to the container", dir.path.join(file).display());
                return Err(Error::from(errno).context(doing));
            }
        }
    }
    Ok(())
}
