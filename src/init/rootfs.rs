//! Takes the process from the host's tree of mounts to the container's root.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, chroot, fchdir};

use super::args::InitFds;
use super::no_pivot;
use super::place::Place;
use super::sync::ask_for_clone;
use crate::handshake::{InStep, ROOTFS, Report, Step, SyncSocket};
use crate::inroot::Root;
use crate::kernel::mount::{Attributes, MOUNT_ATTR_RDONLY};
use crate::plan::Plan;
use crate::plan::rootfs::{RootSwitch, Rootfs};
use crate::sys::errno_of;
use crate::sys::mount::{mount_setattr, move_mount, open_tree_clone, pivot_here};

const NONE: Option<&CStr> = None;
const RSLAVE: u64 = libc::MS_SLAVE | libc::MS_REC;

/// Detaches the tree from the host's, and makes the rootfs a mount of its own, as pivot_root requires.
pub(super) fn enter_mounts(plan: &Rootfs, fds: &InitFds, socket: &SyncSocket) -> Result<Root, Report> {
    let open = |call| move |result: Result<Root, Errno>| result.in_step(Step::Rootfs, call);
    if plan.switch == RootSwitch::Chroot {
        return open("open")(Root::open(path(plan)));
    }
    // rslave: later mounts of the host still arrive here, and none of ours travels back.
    let propagation = plan.propagation.unwrap_or(RSLAVE);
    change_propagation(c"/", bindable(propagation)).in_step(Step::Rootfs, "change propagation of /")?;
    if propagation & libc::MS_SHARED != 0 || propagation & libc::MS_REC == 0 {
        no_longer_share_parent(plan, propagation)?;
    }
    let tree = match &fds.rootfs {
        Some(tree) => tree.try_clone().map_err(|error| errno_of(&error)).in_step(Step::Rootfs, "dup")?,
        None => open_tree_clone(AT_FDCWD.as_fd(), &plan.path, true, 0).in_step(Step::Rootfs, "open_tree")?,
    };
    match attach(&tree, plan) {
        // See `mounts::pins_mount_namespace`.
        Err(Errno::ELOOP) if fds.rootfs.is_some() => {
            let tree = ask_for_clone(ROOTFS, socket)?;
            attach(&tree, plan).in_step(Step::Rootfs, "move_mount")?;
            Ok(Root::from(tree))
        }
        attached => attached.in_step(Step::Rootfs, "move_mount").map(|()| Root::from(tree)),
    }
}

/// Returns a propagation that allows binds. An unbindable tree cannot be bind-mounted, neither as the rootfs
/// nor as the source of a mount, so it is private until `finish`.
fn bindable(propagation: u64) -> u64 {
    match propagation & libc::MS_UNBINDABLE {
        0 => propagation,
        _ => libc::MS_PRIVATE | propagation & libc::MS_REC,
    }
}

/// Whether no mount in a tree of this propagation reaches its peers on the host.
fn keeps_to_itself(propagation: u64) -> bool {
    propagation & libc::MS_REC != 0 && propagation & libc::MS_SHARED == 0
}

fn path(plan: &Rootfs) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(plan.path.to_bytes()).as_ref()
}

fn attach(tree: &OwnedFd, plan: &Rootfs) -> Result<(), Errno> {
    let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC;
    let target = nix::fcntl::open(plan.path.as_c_str(), flags, nix::sys::stat::Mode::empty())?;
    move_mount(tree.as_fd(), target.as_fd())
}

fn change_propagation(path: &CStr, flags: u64) -> Result<(), Errno> {
    mount(NONE, path, NONE, MsFlags::from_bits_retain(flags), NONE)
}

/// Ends the sharing of the rootfs's parent mount: pivot_root refuses a new root whose parent mount is shared,
/// which it may still be after a change of `/` alone. The parent becomes private, or a slave if the rootfs is
/// to be a slave.
fn no_longer_share_parent(plan: &Rootfs, propagation: u64) -> Result<(), Report> {
    let kind = if propagation & libc::MS_SLAVE != 0 { MsFlags::MS_SLAVE } else { MsFlags::MS_PRIVATE };
    let mut candidate = Some(path(plan));
    while let Some(directory) = candidate {
        match mount(NONE, directory, NONE, kind, NONE) {
            // This is no mount point; the directory above may be one.
            Err(Errno::EINVAL) => candidate = directory.parent(),
            other => return other.in_step(Step::Rootfs, "change propagation of the parent mount"),
        }
    }
    Ok(())
}

/// Makes the rootfs `/`, and unmounts the host's tree.
pub(super) fn pivot_root(plan: &Rootfs, root: &Root) -> Result<(), Report> {
    fchdir(root).in_step(Step::Pivot, "fchdir")?;
    match plan.switch {
        RootSwitch::PivotRoot | RootSwitch::TreeNamespace => by_pivot_root(plan)?,
        RootSwitch::MoveMount => by_move_mount(plan)?,
        RootSwitch::Chroot => chroot(c".").in_step(Step::Pivot, "chroot")?,
    }
    chdir(c"/").in_step(Step::Pivot, "chdir")?;
    match plan.propagation {
        Some(propagation) if plan.switch != RootSwitch::Chroot => {
            change_propagation(c"/", bindable(propagation)).in_step(Step::Pivot, "change propagation")
        }
        _ => Ok(()),
    }
}

fn by_pivot_root(plan: &Rootfs) -> Result<(), Report> {
    if keeps_to_itself(plan.propagation.unwrap_or(RSLAVE)) {
        pivot_here().in_step(Step::Pivot, "pivot_root")?;
    } else {
        let old = Root::open("/".as_ref()).in_step(Step::Pivot, "open /")?;
        pivot_here().in_step(Step::Pivot, "pivot_root")?;
        // The old root lies over the new one, so "." could mean either. The new one must keep its
        // propagation.
        fchdir(&old).in_step(Step::Pivot, "fchdir")?;
        // The unmount must not travel to the host.
        change_propagation(c".", RSLAVE).in_step(Step::Pivot, "detach from the host")?;
    }
    // "." leads to the topmost mount there: the old root.
    umount2(c".", MntFlags::MNT_DETACH).in_step(Step::Pivot, "umount2")
}

/// For `--no-pivot`: pivot_root(2) fails if the current root is the initramfs.
fn by_move_mount(plan: &Rootfs) -> Result<(), Report> {
    let hidden = no_pivot::hide_kernel_filesystems(path(plan));
    hidden.in_step(Step::Pivot, "hide the host's procfs and sysfs")?;
    mount(Some(c"."), c"/", NONE, MsFlags::MS_MOVE, NONE).in_step(Step::Pivot, "mount(MS_MOVE)")?;
    chroot(c".").in_step(Step::Pivot, "chroot")
}

/// Describes where the mounts of the plan are made.
pub(super) fn target_context<'a>(plan: &Plan, root: &'a Root) -> Place<'a> {
    let shared = plan.rootfs.propagation.is_some_and(|propagation| !keeps_to_itself(propagation));
    Place::for_plan(root, shared, plan)
}

/// Sets, after all mounts, what would hinder them: an unbindable root, and a read-only root if a step asks
/// for it.
pub(super) fn finish(plan: &Rootfs, read_only: Option<Step>) -> Result<(), Report> {
    if plan.switch == RootSwitch::Chroot {
        return Ok(());
    }
    if let Some(propagation) = plan.propagation.filter(|propagation| bindable(*propagation) != *propagation) {
        change_propagation(c"/", propagation).in_step(Step::Pivot, "change propagation")?;
    }
    let Some(step) = read_only else { return Ok(()) };
    let root = Root::open("/".as_ref()).in_step(step, "open /")?;
    let change = Attributes { set: MOUNT_ATTR_RDONLY, ..Attributes::default() };
    mount_setattr(root.as_fd(), change, None, false).in_step(step, "mount_setattr")
}
