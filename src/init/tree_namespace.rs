//! Enters a mount namespace that has the rootfs alone (`RootSwitch::TreeNamespace`), KERNEL(7.0).
//!
//! Before that, everything that the container gets of the host is cloned: sources of binds, and the null device that
//! covers masked paths. Afterwards `/` is the container's root, whose files are an enemy's: no absolute path is used
//! until the container is set up.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sched::{CloneFlags, unshare};

use super::args::InitFds;
use super::masked_paths::host_null;
use super::mount_error::InCall;
use crate::handshake::{InStep, Report, Step};
use crate::inroot::Root;
use crate::plan::Plan;
use crate::plan::mounts::{Mount, MountOperation};
use crate::sys::errno_of;
use crate::sys::mount::{enslave, open_tree_clone, open_tree_namespace};
use crate::sys::process::setns;

/// What was cloned of the host's tree.
pub(super) struct Cloned {
    /// By index in the plan's mounts.
    pub sources: Vec<Option<OwnedFd>>,
    pub null: Option<OwnedFd>,
}

/// Clones what the container gets of the host.
pub(super) fn clone_sources(plan: &Plan, fds: &InitFds) -> Result<Cloned, Report> {
    let null = host_null(!plan.masked_paths.is_empty())?;
    if let Some(null) = &null {
        enslave(null.as_fd()).in_step(Step::NullDevice, "mount_setattr")?;
    }
    let sources = plan.mounts.iter().enumerate().map(|(index, mount)| match fds.sources.get(index) {
        Some(Some(opened)) => {
            opened.try_clone().map(Some).map_err(|error| errno_of(&error)).in_step(Step::Mount(index), "dup")
        }
        _ => clone_source(index, mount),
    });
    Ok(Cloned { sources: sources.collect::<Result<_, _>>()?, null })
}

fn clone_source(index: usize, mount: &Mount) -> Result<Option<OwnedFd>, Report> {
    let MountOperation::Bind { path, recursive, no_follow, source_in_rootfs: false, .. } = &mount.operation
    else {
        return Ok(None);
    };
    let at_flags = if *no_follow { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
    let tree = open_tree_clone(AT_FDCWD.as_fd(), path, *recursive, at_flags).call("open_tree");
    let tree = tree.and_then(|tree| enslave(tree.as_fd()).call("mount_setattr").map(|()| tree));
    tree.map(Some).map_err(|fail| fail.report(index))
}

/// Enters the namespace. Returns its root, or `None` where the kernel makes no such namespace: then this process has a
/// copy of all mounts of the host, as if it had been born with it.
pub(super) fn enter(plan: &Plan) -> Result<Option<Root>, Report> {
    let namespace = match open_tree_namespace(&plan.rootfs.path) {
        Err(Errno::EINVAL) => {
            unshare(CloneFlags::CLONE_NEWNS).in_step(Step::Rootfs, "unshare(CLONE_NEWNS)")?;
            return Ok(None);
        }
        other => other.in_step(Step::Rootfs, "open_tree")?,
    };
    // Also makes the root of the namespace our root and working directory.
    setns(namespace.as_fd(), libc::CLONE_NEWNS).in_step(Step::Rootfs, "setns")?;
    let root = Root::open("/".as_ref()).in_step(Step::Rootfs, "open /")?;
    enslave(root.as_fd()).in_step(Step::Rootfs, "change propagation of /")?;
    Ok(Some(root))
}
