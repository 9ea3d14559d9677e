//! Opens, before the clone, the descriptors that the new process gets: namespaces to join, and sources that a
//! user namespace would hide.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::{Mode, fstat, stat};

use super::id_mapped::MappingNamespaces;
use super::joined_user_namespace;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::init::args::InitFds;
use crate::kernel::mount::Attributes;
use crate::plan::Plan;
use crate::plan::mounts::{Mount, MountOperation};
use crate::plan::namespaces::{Join, Namespace, NamespacePlan};
use crate::sys::mount::{mount_setattr, open_tree_clone};
use crate::sys::process::namespace_type;

/// Opens the descriptors that the plan names.
pub(crate) fn open(plan: &Plan) -> Result<InitFds> {
    let joins: Vec<OwnedFd> = plan.namespaces.joins.iter().map(open_namespace).collect::<Result<_>>()?;
    refuse_host_sysctls(plan, &joins)?;
    let mut fds = InitFds { joins, ..InitFds::default() };
    if plan.namespaces.has(Namespace::USER) {
        let rootfs = unless_unprivileged(clone_tree(&plan.rootfs.path, true, 0, true));
        fds.rootfs =
            rootfs.with_context(|| format!("open {}", show(&plan.rootfs.path))).context("/root/path")?;
    }
    if let (Some(given), Some(users)) = (&plan.namespaces.joined_maps, joined_userns_fd(plan, &fds)) {
        joined_user_namespace::check(users, given)?;
    }
    fds.sources =
        open_sources(&plan.mounts, plan.namespaces.has(Namespace::USER), joined_userns_fd(plan, &fds))?;
    Ok(fds)
}

/// Opens one namespace, and checks that it is of the configured kind.
fn open_namespace(join: &Join) -> Result<OwnedFd> {
    let pointer = || format!("/linux/namespaces/{}/path", join.index);
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let open = nix::fcntl::open(join.path.as_c_str(), flags, Mode::empty());
    let fd = open.with_context(|| format!("open {}", show(&join.path))).with_context(pointer)?;
    match namespace_type(fd.as_fd()) {
        Ok(kind) if kind == join.namespace.0 => Ok(fd),
        Ok(kind) => {
            let (is, expected) = (Namespace(kind).name(), join.namespace.name());
            let article = if is.starts_with('i') { "an" } else { "a" };
            Err(fail!(
                Kind::Spec,
                "{}: {} is {article} {is} namespace, not a {expected} one",
                pointer(),
                show(&join.path)
            ))
        }
        Err(_) => Err(fail!(Kind::Spec, "{}: {} is not a namespace", pointer(), show(&join.path))),
    }
}

/// Refuses kernel parameters in a joined namespace that is our own: they would be set for the host.
fn refuse_host_sysctls(plan: &Plan, joins: &[OwnedFd]) -> Result<()> {
    for (join, fd) in plan.namespaces.joins.iter().zip(joins) {
        let sysctl = plan.sysctls.iter().find(|sysctl| sysctl.namespace == join.namespace);
        if let Some(key) = sysctl.map(|sysctl| &sysctl.key)
            && is_own_namespace(fd, join.namespace).with_context(|| format!("/linux/sysctl/{key}"))?
        {
            let name = join.namespace.name();
            return Err(fail!(
                Kind::Spec,
                "/linux/sysctl/{key}: sysctl {key:?} not allowed in host {name} namespace"
            ));
        }
    }
    Ok(())
}

pub(super) fn is_own_namespace(fd: &OwnedFd, namespace: Namespace) -> Result<bool> {
    let name = if namespace == Namespace::NETWORK { "net" } else { namespace.name() };
    let path = format!("/proc/self/ns/{name}");
    let ours = stat(&*path).with_context(|| format!("stat {path}"))?;
    let joined = fstat(fd).context("stat namespace")?;
    Ok((ours.st_dev, ours.st_ino) == (joined.st_dev, joined.st_ino))
}

/// Clones the sources of binds: all of them if they are hidden from the child, otherwise only those whose ids
/// only we can map. `users` is the user namespace that the container joins.
pub(crate) fn open_sources(
    mounts: &[Mount],
    hidden: bool,
    users: Option<BorrowedFd<'_>>,
) -> Result<Vec<Option<OwnedFd>>> {
    let mut namespaces = MappingNamespaces::default();
    mounts.iter().map(|mount| open_source(mount, hidden, users, &mut namespaces)).collect()
}

/// Without privilege we cannot clone a mount; then the child does it, as root of its own namespaces. It has
/// our rights to files, because it is the same user.
fn unless_unprivileged(
    tree: std::result::Result<OwnedFd, Errno>,
) -> std::result::Result<Option<OwnedFd>, Errno> {
    match tree {
        Err(Errno::EPERM) => Ok(None),
        other => other.map(Some),
    }
}

/// Returns the joined user namespace, from the opened descriptors.
fn joined_userns_fd<'a>(plan: &Plan, fds: &'a InitFds) -> Option<BorrowedFd<'a>> {
    let index = plan.namespaces.joins.iter().position(|join| join.namespace == Namespace::USER)?;
    fds.joins.get(index).map(AsFd::as_fd)
}

fn open_source<'a>(
    mount: &'a Mount,
    hidden: bool,
    users: Option<BorrowedFd<'_>>,
    namespaces: &mut MappingNamespaces<'a>,
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
    let tree = clone_tree(path, *recursive, at_flags, hidden);
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

/// Opens the user namespace that the configuration names.
pub(crate) fn open_joined_user_namespace(namespaces: &NamespacePlan) -> Result<Option<OwnedFd>> {
    namespaces.joins.iter().find(|join| join.namespace == Namespace::USER).map(open_namespace).transpose()
}

/// Maps the ids of a bind that the child has cloned, because its source is inside the rootfs.
pub(crate) fn map_ids(mount: Option<&Mount>, tree: &OwnedFd, userns: Option<&OwnedFd>) -> Result<()> {
    let Some(Mount {
        origin, operation: MountOperation::Bind { path, id_mapped: Some(mapping), .. }, ..
    }) = mount
    else {
        return Ok(());
    };
    let doing = || format!("{origin}: map the ids of {}", show(path));
    MappingNamespaces::default().apply(tree, mapping, userns.map(AsFd::as_fd)).with_context(doing)
}

/// Clones a tree of mounts, detached. `enslaved`: makes the clone a slave, as the kernel does with the mounts
/// that a new mount namespace of another user namespace gets from ours. A mount made inside must not travel
/// back to the host, and pivot_root refuses a shared root.
fn clone_tree(
    path: &CStr,
    recursive: bool,
    at_flags: i32,
    enslaved: bool,
) -> std::result::Result<OwnedFd, Errno> {
    let tree = open_tree_clone(AT_FDCWD.as_fd(), path, recursive, at_flags)?;
    if enslaved {
        let slave = Attributes { propagation: libc::MS_SLAVE, ..Attributes::default() };
        mount_setattr(tree.as_fd(), slave, None, true)?;
    }
    Ok(tree)
}

fn show(path: &CStr) -> String {
    path.to_string_lossy().into_owned()
}
