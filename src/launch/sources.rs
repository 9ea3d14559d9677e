//! The sources of binds, and the rootfs, as detached clones of trees of mounts: made here where a user namespace would
//! hide them from the child, or where only the runtime may map their ids.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::KillOnDrop;
use super::id_mapped::MappingNamespaces;
use crate::error::{Context, Result};
use crate::handshake::ROOTFS;
use crate::plan::Plan;
use crate::plan::mounts::{Mount, MountOperation};
use crate::plan::namespaces::Namespace;
use crate::sys::mount::{enslave, open_tree_clone};
use crate::sys::process::{CloneSide, clone3, exit_now, parent_death_signal};
use crate::sys::socket::{receive_fd, send_fd};

/// What the runtime does for the mounts that a child makes.
pub(crate) struct Sources<'a> {
    mounts: &'a [Mount],
    rootfs: Option<&'a CStr>,
    /// Whether the child does not find the sources itself.
    hidden: bool,
    /// Opens the user namespace that the container has joined, if it has.
    users: &'a dyn Fn() -> Result<Option<OwnedFd>>,
}

impl<'a> Sources<'a> {
    /// Of a new container.
    pub(crate) fn of_plan(plan: &'a Plan, users: &'a dyn Fn() -> Result<Option<OwnedFd>>) -> Self {
        let hidden = plan.namespaces.has(Namespace::USER) || plan.namespaces.mounts_later;
        Self { mounts: &plan.mounts, rootfs: Some(&plan.rootfs.path), hidden, users }
    }

    /// Of mounts for a container that runs.
    pub(crate) fn of_mounts(mounts: &'a [Mount], users: &'a dyn Fn() -> Result<Option<OwnedFd>>) -> Self {
        Self { mounts, rootfs: None, hidden: true, users }
    }

    /// For a child that makes no mounts.
    pub(crate) fn none() -> Self {
        Self::of_mounts(&[], &|| Ok(None))
    }

    /// Maps the ids of a bind that the child has cloned, because its source is inside the rootfs.
    pub(super) fn map_ids(&self, index: usize, tree: &OwnedFd) -> Result<()> {
        let Some(Mount {
            origin,
            operation: MountOperation::Bind { path, id_mapped: Some(mapping), .. },
            ..
        }) = self.mounts.get(index)
        else {
            return Ok(());
        };
        let doing = || format!("{origin}: map the ids of {}", show(path));
        let users = (self.users)()?;
        MappingNamespaces::default().apply(tree, mapping, users.as_ref().map(AsFd::as_fd)).with_context(doing)
    }

    /// Clones a source for `Message::CloneAnew`. The copy that a new mount namespace gets of our mounts lacks those that
    /// pin a mount namespace.
    pub(super) fn clone_anew(&self, index: usize) -> Result<OwnedFd> {
        let tree = match (self.rootfs, self.mounts.get(index)) {
            (Some(rootfs), _) if index == ROOTFS => {
                clone_tree_of_copy(rootfs, true, 0, true).map(Some).context("/root/path")?
            }
            (_, Some(mount)) => {
                let users = (self.users)()?;
                let users = users.as_ref().map(AsFd::as_fd);
                open_source(mount, self.hidden, users, &mut MappingNamespaces::default(), clone_tree_of_copy)?
            }
            _ => None,
        };
        tree.ok_or(Errno::ELOOP).context("clone a source anew")
    }
}

/// Clones the sources of binds: all of them if they are hidden from the child, otherwise only those whose ids
/// only we can map. `users` is the user namespace that the container joins.
pub(crate) fn open_sources(
    mounts: &[Mount],
    hidden: bool,
    users: Option<BorrowedFd<'_>>,
) -> Result<Vec<Option<OwnedFd>>> {
    let mut namespaces = MappingNamespaces::default();
    let mut open = |mount| match open_source(mount, hidden, users, &mut namespaces, clone_tree) {
        // That which pins a mount namespace cannot be mapped.
        Err(error) if mount.maps_ids_below() && error.errno() == Some(Errno::EINVAL) => {
            let anew = open_source(mount, hidden, users, &mut namespaces, clone_tree_of_copy);
            anew.map_err(|_| error)
        }
        other => other,
    };
    mounts.iter().map(&mut open).collect()
}

/// Without privilege we cannot clone a mount; then the child does it, as root of its own namespaces. It has
/// our rights to files, because it is the same user.
pub(super) fn unless_unprivileged(
    tree: std::result::Result<OwnedFd, Errno>,
) -> std::result::Result<Option<OwnedFd>, Errno> {
    match tree {
        Err(Errno::EPERM) => Ok(None),
        other => other.map(Some),
    }
}

fn open_source<'a>(
    mount: &'a Mount,
    hidden: bool,
    users: Option<BorrowedFd<'_>>,
    namespaces: &mut MappingNamespaces<'a>,
    clone: fn(&CStr, bool, i32, bool) -> std::result::Result<OwnedFd, Errno>,
) -> Result<Option<OwnedFd>> {
    let MountOperation::Bind { path, recursive, no_follow, id_mapped, source_in_rootfs: inside, .. } =
        &mount.operation
    else {
        return Ok(None);
    };
    if *inside || !hidden && id_mapped.is_none() {
        return Ok(None);
    }
    let origin = mount.origin;
    let at_flags = if *no_follow { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
    let tree = clone(path, *recursive, at_flags, hidden);
    let tree = if id_mapped.is_some() { tree.map(Some) } else { unless_unprivileged(tree) };
    let pointer = || format!("{origin}/source");
    let tree = tree.with_context(|| format!("open {}", show(path))).with_context(pointer)?;
    let Some(tree) = tree else { return Ok(None) };
    if let Some(mapping) = id_mapped {
        let doing = || format!("{origin}: map the ids of {}", show(path));
        namespaces.apply(&tree, mapping, users).with_context(doing)?;
    }
    Ok(Some(tree))
}

/// Clones a tree of mounts, detached. `enslaved`: a mount made inside must not travel back to the host, and pivot_root
/// refuses a shared root.
pub(super) fn clone_tree(
    path: &CStr,
    recursive: bool,
    at_flags: i32,
    enslaved: bool,
) -> std::result::Result<OwnedFd, Errno> {
    let tree = open_tree_clone(AT_FDCWD.as_fd(), path, recursive, at_flags)?;
    if enslaved {
        enslave(tree.as_fd())?;
    }
    Ok(tree)
}

/// The same by a child with a mount namespace of its own, which is a copy of ours.
fn clone_tree_of_copy(
    path: &CStr,
    recursive: bool,
    at_flags: i32,
    enslaved: bool,
) -> std::result::Result<OwnedFd, Errno> {
    let (ours, its) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let first = match clone3(Namespace::MOUNT.0 as u64, None)? {
        CloneSide::Child => {
            let _ = parent_death_signal(libc::SIGKILL);
            let _ = match clone_tree(path, recursive, at_flags, enslaved) {
                Ok(tree) => send_fd(its.as_fd(), &[0], tree.as_fd()),
                Err(errno) => nix::unistd::write(&its, &[errno as u8]),
            };
            exit_now(0)
        }
        CloneSide::Parent { pid, pidfd } => KillOnDrop { pid, pidfd: Some(pidfd) },
    };
    drop(its);
    let mut failed = [Errno::ESRCH as u8];
    let (_, tree) = receive_fd(ours.as_fd(), &mut failed)?;
    drop(first);
    tree.ok_or_else(|| Errno::from_raw(failed[0].into()))
}

pub(super) fn show(path: &CStr) -> String {
    path.to_string_lossy().into_owned()
}
