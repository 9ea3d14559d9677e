//! `Place`: the place where mounts are made. It finds paths in it again: a path on a mount that was made here
//! is looked up from that mount.
//!
//! A rootfs may be shared with others, who can rename its directories and mount points at any time: during a
//! lookup, a name such as /proc may belong to an empty directory that has nothing to mask. So a name is used
//! only once, for the mount itself.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::statfs::{PROC_SUPER_MAGIC, SYSFS_MAGIC, fstatfs};

use crate::inroot::{Root, is_same};
use crate::plan::Plan;
use crate::plan::mounts::Mount;
use crate::sys::mount::mount_id;
use crate::weak::{Defence, stands};

/// The place where mounts are made.
pub(super) struct Place<'a> {
    pub root: &'a Root,
    /// Whether the rootfs may have shared propagation. A mount then also appears elsewhere (a bind of the
    /// root itself is a peer of the root), so a path does not prove where a target is.
    pub shared: bool,
    /// The paths that are looked up after the mounts.
    wanted: Vec<Vec<u8>>,
    /// The mounts on which paths are looked up later, in the order in which they were made.
    made: Vec<Made>,
}

/// A directory mounted at a path. The path is written without slashes at its ends.
struct Made {
    path: Vec<u8>,
    mount: Root,
}

impl<'a> Place<'a> {
    pub(super) fn new(root: &'a Root, shared: bool) -> Self {
        Self { root, shared, wanted: Vec::new(), made: Vec::new() }
    }

    /// Makes the place for all paths that the plan looks up.
    pub(super) fn for_plan(root: &'a Root, shared: bool, plan: &Plan) -> Self {
        let devices = plan.devices.nodes.iter().map(|node| &node.path);
        let links = plan.devices.links.iter().map(|link| &link.path);
        let paths = plan.masked_paths.iter().chain(&plan.read_only_paths);
        let wanted = paths.chain(devices).chain(links).filter_map(|path| written_plainly(path)).collect();
        Self { wanted, ..Self::new(root, shared) }
    }

    /// Keeps the mount that was made from `mounts[index]`, if a path is looked up on it later.
    pub(super) fn keep(&mut self, mounts: &[Mount], index: usize, mount: OwnedFd) {
        // Paths on the root are looked up from the root.
        let path = written_plainly(&mounts[index].target).filter(|path| !path.is_empty());
        let Some(path) = path else { return };
        let mut later = mounts[index + 1..].iter().filter_map(|mount| written_plainly(&mount.target));
        let is_on_it = |other: &Vec<u8>| below(other, &path).is_some();
        if self.wanted.iter().any(is_on_it) || later.any(|other| is_on_it(&other)) {
            self.made.push(Made { path, mount: Root::from(mount) });
        }
    }

    /// Returns which kept mount a target is the root of: a mount on that target takes its place.
    pub(super) fn covered_by(&self, target: &OwnedFd) -> Result<Option<usize>, Errno> {
        for (index, made) in self.made.iter().enumerate() {
            if is_same(&made.mount, target)? && mount_id(made.mount.as_fd())? == mount_id(target.as_fd())? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Keeps a mount instead of the one that it covers.
    pub(super) fn cover(&mut self, covered: usize, mount: OwnedFd) {
        self.made[covered].mount = Root::from(mount);
    }

    /// Finds a path like [`Root::find`].
    pub(super) fn find(&self, path: &CStr, flags: OFlag) -> (Result<OwnedFd, Errno>, bool) {
        let Some((mount, rest)) = self.on_mount(path) else { return self.root.find(path, flags) };
        match mount.resolve_without_symlinks(&rest, flags) {
            // Symlinks of the kernel's own filesystems do not leave them; those of a bind may lead anywhere
            // in the root.
            Err(Errno::ELOOP | Errno::ENOSYS) if is_kernels(mount) => (mount.resolve(&rest, flags), false),
            Err(Errno::ELOOP | Errno::ENOSYS) => (self.root.resolve(path, flags), false),
            found => (found, true),
        }
    }

    /// Resolves a path like [`Root::resolve_without_symlinks`].
    pub(super) fn resolve_without_symlinks(&self, path: &CStr, flags: OFlag) -> Result<OwnedFd, Errno> {
        match self.on_mount(path) {
            Some((mount, rest)) => mount.resolve_without_symlinks(&rest, flags),
            None => self.root.resolve_without_symlinks(path, flags),
        }
    }

    /// Makes a directory like [`Root::open_or_make_dir`], if `find` has not found it.
    pub(super) fn make_dir(&self, path: &CStr, mode: u32) -> Result<OwnedFd, Errno> {
        match self.on_mount(path) {
            Some((mount, rest)) => mount.open_or_make_dir(&rest, mode),
            None => self.root.open_or_make_dir(path, mode),
        }
    }

    /// Makes a file like [`Root::open_or_make_file`], if `find` has not found it.
    pub(super) fn make_file(&self, path: &CStr, mode: u32) -> Result<OwnedFd, Errno> {
        match self.on_mount(path) {
            Some((mount, rest)) => mount.open_or_make_file(&rest, mode),
            None => self.root.open_or_make_file(path, mode),
        }
    }

    /// Makes directories like [`Root::mkdir_all`].
    pub(super) fn mkdir_all(&self, path: &CStr, mode: u32) -> Result<OwnedFd, Errno> {
        let Some((mount, rest)) = self.on_mount(path) else { return self.root.mkdir_all(path, mode) };
        match mount.resolve_without_symlinks(&rest, OFlag::O_PATH | OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT) => mount.mkdir_all(&rest, mode),
            Err(Errno::ELOOP | Errno::ENOTDIR | Errno::ENOSYS) => self.root.mkdir_all(path, mode),
            other => other,
        }
    }

    /// Returns the mount that contains a path, and the rest of the path. It is the last mount that was made,
    /// which covers the earlier ones.
    fn on_mount(&self, path: &CStr) -> Option<(&Root, CString)> {
        let path = written_plainly(path).filter(|_| stands(Defence::PlaceByMount))?;
        let found = |made: &Made| below(&path, &made.path).map(<[u8]>::to_vec);
        let (mount, rest) = self.made.iter().rev().find_map(|made| Some((&made.mount, found(made)?)))?;
        let rest = if rest.is_empty() { c".".to_owned() } else { CString::new(rest).ok()? };
        Some((mount, rest))
    }
}

/// Returns a path without empty and `.` components; `None` if it contains `..`, which may lead anywhere.
fn written_plainly(path: &CStr) -> Option<Vec<u8>> {
    let parts = || path.to_bytes().split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let plain = parts().all(|part| part != b"..");
    plain.then(|| parts().collect::<Vec<_>>().join(&b'/'))
}

/// Returns the rest of a path that is in the directory, or is the directory itself.
fn below<'p>(path: &'p [u8], directory: &[u8]) -> Option<&'p [u8]> {
    match path.strip_prefix(directory)? {
        [] => Some(&[]),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

fn is_kernels(mount: &Root) -> bool {
    fstatfs(mount).is_ok_and(|told| matches!(told.filesystem_type(), PROC_SUPER_MAGIC | SYSFS_MAGIC))
}
