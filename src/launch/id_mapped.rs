//! The mappings of id-mapped mounts, which the kernel takes only as the descriptor of a user namespace.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{First, id_maps};
use crate::error::{Context, Result};
use crate::kernel::mount::{Attributes, MOUNT_ATTR_IDMAP};
use crate::plan::id_mapped::{IdMapped, Ids};
use crate::plan::topology::{IdMaps, Namespace};
use crate::sys::mount::mount_setattr;
use crate::sys::process::{Clone, clone3, exit_now, parent_death_signal};

/// One namespace for each set of mappings, however many mounts have it.
#[derive(Default)]
pub struct Namespaces<'a>(Vec<(&'a IdMaps, OwnedFd)>);

impl<'a> Namespaces<'a> {
    /// Maps a detached mount. `joined` is the user namespace that the container joins.
    pub fn apply(
        &mut self,
        mount: &OwnedFd,
        how: &'a IdMapped,
        joined: Option<BorrowedFd<'_>>,
    ) -> Result<()> {
        let namespace = match &how.ids {
            Ids::Maps(maps) => Some(self.of(maps)?),
            Ids::Joined => joined,
        };
        let change = Attributes { set: MOUNT_ATTR_IDMAP, ..Attributes::default() };
        let mapped = mount_setattr(mount.as_fd(), change, namespace, how.recursive);
        mapped.context("mount_setattr(MOUNT_ATTR_IDMAP)").map_err(|error| match error.errno() {
            Some(nix::errno::Errno::EINVAL) => {
                error.with_hint("the source's filesystem, or this kernel, may not know id-mapped mounts")
            }
            _ => error,
        })
    }

    fn of(&mut self, maps: &'a IdMaps) -> Result<BorrowedFd<'_>> {
        let index = match self.0.iter().position(|(known, _)| *known == maps) {
            Some(index) => index,
            None => {
                self.0.push((maps, make(maps).context("make a user namespace with the mappings")?));
                self.0.len() - 1
            }
        };
        Ok(self.0[index].1.as_fd())
    }
}

/// A process is needed to make a namespace and to write its mappings; then the descriptor alone keeps it.
fn make(maps: &IdMaps) -> Result<OwnedFd> {
    let first = match clone3(Namespace::USER.0 as u64, None).context("clone3")? {
        Clone::Child => {
            let _ = parent_death_signal(libc::SIGKILL);
            nix::unistd::pause();
            exit_now(0)
        }
        Clone::Parent { pid, pidfd } => First { pid, pidfd: Some(pidfd) },
    };
    id_maps::write(first.pid, maps)?;
    let path = format!("/proc/{}/ns/user", first.pid);
    File::open(&path).map(OwnedFd::from).with_context(|| format!("open {path}"))
}
