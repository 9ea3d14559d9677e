//! Maps the ids of id-mapped mounts. mount_setattr(2) takes the mappings only as the descriptor of a user
//! namespace.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{KillOnDrop, id_maps};
use crate::error::{Context, Result};
use crate::kernel::mount::{Attributes, MOUNT_ATTR_IDMAP};
use crate::plan::id_mapped::{IdMapped, Ids};
use crate::plan::namespaces::{IdMaps, Namespace};
use crate::sys::mount::mount_setattr;
use crate::sys::process::{CloneSide, clone3, exit_now, parent_death_signal};

/// User namespaces that hold mappings: one for each set of mappings, however many mounts use it.
#[derive(Default)]
pub(super) struct MappingNamespaces<'a>(Vec<(&'a IdMaps, OwnedFd)>);

impl<'a> MappingNamespaces<'a> {
    /// Maps the ids of a detached mount. `joined` is the user namespace that the container joins.
    pub(super) fn apply(
        &mut self,
        mount: &OwnedFd,
        mapping: &'a IdMapped,
        joined: Option<BorrowedFd<'_>>,
    ) -> Result<()> {
        let namespace = match &mapping.ids {
            Ids::Maps(maps) => Some(self.namespace_with(maps)?),
            Ids::Joined => joined,
        };
        let change = Attributes { set: MOUNT_ATTR_IDMAP, ..Attributes::default() };
        let mapped = mount_setattr(mount.as_fd(), change, namespace, mapping.recursive);
        mapped.context("mount_setattr(MOUNT_ATTR_IDMAP)").map_err(|error| match error.errno() {
            Some(nix::errno::Errno::EINVAL) => {
                error.with_hint("the source's filesystem, or this kernel, may not know id-mapped mounts")
            }
            _ => error,
        })
    }

    fn namespace_with(&mut self, maps: &'a IdMaps) -> Result<BorrowedFd<'_>> {
        let index = match self.0.iter().position(|(known, _)| *known == maps) {
            Some(index) => index,
            None => {
                self.0.push((maps, make_namespace(maps).context("make a user namespace with the mappings")?));
                self.0.len() - 1
            }
        };
        Ok(self.0[index].1.as_fd())
    }
}

/// Makes a user namespace with these mappings. Only a process in it can be given mappings; afterwards the
/// descriptor alone keeps the namespace.
fn make_namespace(maps: &IdMaps) -> Result<OwnedFd> {
    let first = match clone3(Namespace::USER.0 as u64, None).context("clone3")? {
        CloneSide::Child => {
            let _ = parent_death_signal(libc::SIGKILL);
            nix::unistd::pause();
            exit_now(0)
        }
        CloneSide::Parent { pid, pidfd } => KillOnDrop { pid, pidfd: Some(pidfd) },
    };
    id_maps::write_id_maps(first.pid, maps)?;
    let path = format!("/proc/{}/ns/user", first.pid);
    File::open(&path).map(OwnedFd::from).with_context(|| format!("open {path}"))
}
