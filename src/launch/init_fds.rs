//! Opens, before the clone, the descriptors that the new process gets: namespaces to join, and sources that a
//! user namespace would hide.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat, stat};

use super::joined_user_namespace;
use super::sources::{clone_tree, open_sources, show, unless_unprivileged};
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::init::args::InitFds;
use crate::plan::Plan;
use crate::plan::namespaces::{Join, Namespace, NamespacePlan};
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

/// Returns the joined user namespace, from the opened descriptors.
fn joined_userns_fd<'a>(plan: &Plan, fds: &'a InitFds) -> Option<BorrowedFd<'a>> {
    let index = plan.namespaces.joins.iter().position(|join| join.namespace == Namespace::USER)?;
    fds.joins.get(index).map(AsFd::as_fd)
}

/// Opens the user namespace that the configuration names.
pub(crate) fn open_joined_user_namespace(namespaces: &NamespacePlan) -> Result<Option<OwnedFd>> {
    namespaces.joins.iter().find(|join| join.namespace == Namespace::USER).map(open_namespace).transpose()
}
