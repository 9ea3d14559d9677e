//! Masks paths and makes them read-only: what of the kernel's files the container shall not see or not change.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::{SFlag, fstat};

use crate::handshake::{InStep, Report, Step};
use crate::inroot::Root;
use crate::kernel::mount::{Attributes, MOUNT_ATTR_RDONLY};
use crate::plan::mount_options::Parameter;
use crate::sys::mount::{
    fsconfig_create, fsconfig_set, fsmount, fsopen, mount_setattr, move_mount, open_tree_clone,
};
use crate::sys::shielded::clone_read_only;

/// Takes the host's /dev/null, checked to be it, as a detached mount: taken before the container's /dev is in sight, where
/// an image could have put anything in its place (CVE-2025-31133).
pub(super) fn host_null(wanted: bool) -> Result<Option<OwnedFd>, Report> {
    if !wanted {
        return Ok(None);
    }
    // The node is the host's: on a read-only mount it can be written to, and its mode, owner and times cannot be changed.
    let null =
        clone_read_only(AT_FDCWD.as_fd(), c"/dev/null").in_step(Step::NullDevice, "clone /dev/null")?;
    let stat = fstat(&null).in_step(Step::NullDevice, "fstat /dev/null")?;
    let is_null = stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(1, 3);
    if !is_null {
        return Err(Report::from_text(Step::NullDevice, "the host's /dev/null is not the null device"));
    }
    Ok(Some(null))
}

/// Covers each path that exists: a file by /dev/null, a directory by one empty read-only tmpfs shared by all.
pub(super) fn mask(
    paths: &[CString],
    context: Option<&Parameter>,
    root: &Root,
    null: Option<OwnedFd>,
) -> Result<(), Report> {
    let Some(null) = null else { return Ok(()) };
    let mut null = Cover { fresh: Some(null), attached: None };
    let mut empty = Cover { fresh: None, attached: None };
    for (index, path) in paths.iter().enumerate() {
        if paths[..index].contains(path) {
            // One mount hides it.
            continue;
        }
        let Some((target, is_root)) = open_existing(root, path, Step::MaskedPath(index))? else { continue };
        if is_root {
            let why = "it leads to the root of the container, which a mask cannot cover";
            return Err(Report::from_text(Step::MaskedPath(index), why));
        }
        let stat = fstat(&target).in_step(Step::MaskedPath(index), "fstat")?;
        let (cover, call) = if SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT) == SFlag::S_IFDIR {
            if empty.is_new() {
                empty.fresh = Some(
                    empty_directory(context).in_step(Step::MaskedPath(index), "mount an empty directory")?,
                );
            }
            (&mut empty, "clone the empty directory")
        } else {
            (&mut null, "open_tree")
        };
        let mount = cover.next().in_step(Step::MaskedPath(index), call)?;
        move_mount(mount.as_fd(), target.as_fd()).in_step(Step::MaskedPath(index), "move_mount")?;
        cover.attached.get_or_insert(mount);
    }
    Ok(())
}

/// One mount that covers many paths. KERNEL(6.15) clones what is attached nowhere; before it, only what is attached: so
/// the first path gets the mount itself, the others clones of it.
struct Cover {
    fresh: Option<OwnedFd>,
    attached: Option<OwnedFd>,
}

impl Cover {
    fn is_new(&self) -> bool {
        self.fresh.is_none() && self.attached.is_none()
    }

    fn next(&mut self) -> Result<OwnedFd, Errno> {
        match (self.fresh.take(), &self.attached) {
            (Some(fresh), _) => Ok(fresh),
            (None, Some(attached)) => open_tree_clone(attached.as_fd(), c"", false, 0),
            (None, None) => Err(Errno::EBADF),
        }
    }
}

fn empty_directory(label: Option<&Parameter>) -> Result<OwnedFd, Errno> {
    let context = fsopen(c"tmpfs")?;
    // Nothing is ever made in it: one block and one inode do.
    for (key, value) in
        [(c"source", c"tmpfs"), (c"nr_blocks", c"1"), (c"nr_inodes", c"1"), (c"mode", c"0755")]
    {
        fsconfig_set(context.as_fd(), key, Some(value))?;
    }
    if let Some((key, value)) = label {
        fsconfig_set(context.as_fd(), key, value.as_deref())?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), MOUNT_ATTR_RDONLY)
}

/// Each path that exists becomes a mount of itself, read-only; its other attributes stay. Not so one that leads to the root:
/// the process would not have a mount over that, which is where it stands already. The step of such a path comes back,
/// and the root itself becomes read-only later.
pub(super) fn make_read_only(paths: &[CString], root: &Root) -> Result<Option<Step>, Report> {
    let mut whole = None;
    let change = Attributes { set: MOUNT_ATTR_RDONLY, ..Attributes::default() };
    for (index, path) in paths.iter().enumerate() {
        let Some((target, is_root)) = open_existing(root, path, Step::ReadOnlyPath(index))? else { continue };
        if is_root {
            whole = Some(Step::ReadOnlyPath(index));
            continue;
        }
        let tree =
            open_tree_clone(target.as_fd(), c"", true, 0).in_step(Step::ReadOnlyPath(index), "open_tree")?;
        mount_setattr(tree.as_fd(), change, None, false)
            .in_step(Step::ReadOnlyPath(index), "mount_setattr")?;
        move_mount(tree.as_fd(), target.as_fd()).in_step(Step::ReadOnlyPath(index), "move_mount")?;
    }
    Ok(whole)
}

/// Opens a path, and says whether it leads to the root. Missing is fine. Any other failure is not: a path that cannot be
/// looked at may still be reached by the process.
fn open_existing(root: &Root, path: &CString, step: Step) -> Result<Option<(OwnedFd, bool)>, Report> {
    let (found, plain) = root.find(path, OFlag::O_PATH);
    match found {
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        found => {
            let found = found.in_step(step, "open")?;
            let is_root = !plain && root.is(&found).in_step(step, "fstat")?;
            Ok(Some((found, is_root)))
        }
    }
}
