//! Masks paths and makes paths read-only: files of the kernel that the container must not see or not change.

use std::collections::HashSet;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::{SFlag, fstat};

use super::place::Place;
use crate::handshake::{InStep, Report, Step};
use crate::kernel::mount::{Attributes, MOUNT_ATTR_RDONLY};
use crate::plan::mount_options::Parameter;
use crate::sys::mount::{
    fsconfig_create, fsconfig_set, fsmount, fsopen, mount_setattr, move_mount, open_tree_clone,
};
use crate::sys::shielded::clone_read_only;
use crate::weak::{Defence, stands};

/// Takes the host's /dev/null as a detached mount, and checks that it is the null device. This is done before
/// the container's /dev is in sight, where an image could have put anything in its place (CVE-2025-31133).
pub(super) fn host_null(wanted: bool) -> Result<Option<OwnedFd>, Report> {
    if !wanted {
        return Ok(None);
    }
    // The node is the host's: on a read-only mount it can be written to, and its mode, owner and times cannot
    // be changed.
    let null =
        clone_read_only(AT_FDCWD.as_fd(), c"/dev/null").in_step(Step::NullDevice, "clone /dev/null")?;
    let stat = fstat(&null).in_step(Step::NullDevice, "fstat /dev/null")?;
    let is_null = stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(1, 3);
    if !is_null {
        return Err(Report::from_text(Step::NullDevice, "the host's /dev/null is not the null device"));
    }
    Ok(Some(null))
}

/// Covers each path that exists: a file with /dev/null, a directory with one empty read-only tmpfs for all.
pub(super) fn mask_paths(
    paths: &[CString],
    context: Option<&Parameter>,
    place: &Place<'_>,
    null: Option<OwnedFd>,
) -> Result<(), Report> {
    let Some(mut null) = null else { return Ok(()) };
    if !stands(Defence::HostNull) {
        null = open_tree_clone(AT_FDCWD.as_fd(), c"/dev/null", false, 0)
            .in_step(Step::NullDevice, "clone /dev/null")?;
    }
    let mut null = Cover { fresh: Some(null), attached: None };
    let mut empty = Cover { fresh: None, attached: None };
    let mut hidden = HashSet::with_capacity(paths.len());
    for (index, path) in paths.iter().enumerate() {
        if !hidden.insert(path) {
            // The path is already hidden by its first mount.
            continue;
        }
        let Some((target, is_root)) = open_existing(place, path, Step::MaskedPath(index))? else { continue };
        if is_root && stands(Defence::RootTarget) {
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

/// One mount that covers many paths. Before KERNEL(6.15), only an attached mount can be cloned: so the first
/// path gets the mount itself, and the others get clones of it.
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
    // Nothing is ever made in it: one block and one inode are enough.
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

/// Makes each path that exists a read-only mount of itself; its other attributes stay. A path that leads to
/// the root is an exception: the process already uses the root and would not see a mount over it. For such a
/// path the step is returned, and the root itself becomes read-only later.
pub(super) fn make_paths_read_only(paths: &[CString], place: &Place<'_>) -> Result<Option<Step>, Report> {
    let mut whole = None;
    let change = Attributes { set: MOUNT_ATTR_RDONLY, ..Attributes::default() };
    for (index, path) in paths.iter().enumerate() {
        let Some((target, is_root)) = open_existing(place, path, Step::ReadOnlyPath(index))? else {
            continue;
        };
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

/// Opens a path, and says whether it leads to the root. A missing path is no failure. Any other failure is
/// one: the process may still be able to reach the path.
fn open_existing(place: &Place<'_>, path: &CString, step: Step) -> Result<Option<(OwnedFd, bool)>, Report> {
    let (found, plain) = place.find(path, OFlag::O_PATH);
    match found {
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(_) if !stands(Defence::MaskErrors) => Ok(None),
        found => {
            let found = found.in_step(step, "open")?;
            let is_root = !plain && place.root.is(&found).in_step(step, "fstat")?;
            Ok(Some((found, is_root)))
        }
    }
}
