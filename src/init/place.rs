//! `Place` is where mounts are made, and finds paths in it again: what lies on a mount that was made here
//! from that mount.
//!
//! A rootfs may be shared with others, who can rename its directories at any time, mount points too: for the
//! moment of a lookup a name such as /proc may be that of an empty directory, on which nothing is to be
//! masked. So a name is used once, for the mount itself.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::statfs::{PROC_SUPER_MAGIC, SYSFS_MAGIC, fstatfs};

use crate::inroot::{Root, is_same};
use crate::plan::Plan;
use crate::plan::mounts::Mount;
use crate::sys::mount::mount_id;

/// Where mounts are made.
pub(super) struct Place<'a> {
    pub root: &'a Root,
    /// The rootfs may have shared propagation: a mount then also appears elsewhere (a bind of the root itself
    /// is a peer of the root), and a path is no proof of where a target is.
    pub shared: bool,
    /// What is looked up after the mounts.
    wanted: Vec<Vec<u8>>,
    /// Those that something is looked up on later, in the order they were made.
    made: Vec<Made>,
}

/// A directory mounted at a path, which is written without slashes at its ends.
struct Made {
    path: Vec<u8>,
    mount: Root,
}

impl<'a> Place<'a> {
    pub(super) fn new(root: &'a Root, shared: bool) -> Self {
        Self { root, shared, wanted: Vec::new(), made: Vec::new() }
    }

    /// For all that the plan wants to find.
    pub(super) fn for_plan(root: &'a Root, shared: bool, plan: &Plan) -> Self {
        let devices = plan.devices.nodes.iter().map(|node| &node.path);
        let links = plan.devices.links.iter().map(|link| &link.path);
        let paths = plan.masked_paths.iter().chain(&plan.read_only_paths);
        let wanted = paths.chain(devices).chain(links).filter_map(|path| written_plainly(path)).collect();
        Self { wanted, ..Self::new(root, shared) }
    }

    /// Keeps the mount that was made of `mounts[index]`, if something is looked up on it later.
    pub(super) fn keep(&mut self, mounts: &[Mount], index: usize, mount: OwnedFd) {
        // What is on the root is looked up from the root.
        let path = written_plainly(&mounts[index].target).filter(|path| !path.is_empty());
        let Some(path) = path else { return };
        let mut later = mounts[index + 1..].iter().filter_map(|mount| written_plainly(&mount.target));
        let is_on_it = |other: &Vec<u8>| below(other, &path).is_some();
        if self.wanted.iter().any(is_on_it) || later.any(|other| is_on_it(&other)) {
            self.made.push(Made { path, mount: Root::from(mount) });
        }
    }

    /// Which of the mounts that are kept a target is the root of: a mount on it stands in its place.
    pub(super) fn covered_by(&self, target: &OwnedFd) -> Result<Option<usize>, Errno> {
        for (index, made) in self.made.iter().enumerate() {
            if is_same(&made.mount, target)? && mount_id(made.mount.as_fd())? == mount_id(target.as_fd())? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Keeps a mount in the place of the one that it covers.
    pub(super) fn cover(&mut self, covered: usize, mount: OwnedFd) {
        self.made[covered].mount = Root::from(mount);
    }

    /// As [`Root::find`].
    pub(super) fn find(&self, path: &CStr, flags: OFlag) -> (Result<OwnedFd, Errno>, bool) {
        let Some((mount, rest)) = self.on_mount(path) else { return self.root.find(path, flags) };
        match mount.resolve_without_symlinks(&rest, flags) {
            // The kernel's own lead nowhere else; those of a bind may, in the whole root.
            Err(Errno::ELOOP | Errno::ENOSYS) if is_kernels(mount) => (mount.resolve(&rest, flags), false),
            Err(Errno::ELOOP | Errno::ENOSYS) => (self.root.resolve(path, flags), false),
            found => (found, true),
        }
    }

    /// As [`Root::resolve_without_symlinks`].
    pub(super) fn resolve_without_symlinks(&self, path: &CStr, flags: OFlag) -> Result<OwnedFd, Errno> {
        match self.on_mount(path) {
            Some((mount, rest)) => mount.resolve_without_symlinks(&rest, flags),
            None => self.root.resolve_without_symlinks(path, flags),
        }
    }

    /// As [`Root::make_dir`], of what `find` has not found.
    pub(super) fn make_dir(&self, path: &CStr, mode: u32) -> Result<OwnedFd, Errno> {
        match self.on_mount(path) {
            Some((mount, rest)) => mount.make_dir(&rest, mode),
            None => self.root.make_dir(path, mode),
        }
    }

    /// As [`Root::make_file`], of what `find` has not found.
    pub(super) fn make_file(&self, path: &CStr, mode: u32) -> Result<OwnedFd, Errno> {
        match self.on_mount(path) {
            Some((mount, rest)) => mount.make_file(&rest, mode),
            None => self.root.make_file(path, mode),
        }
    }

    /// As [`Root::mkdir_all`].
    pub(super) fn mkdir_all(&self, path: &CStr, mode: u32) -> Result<OwnedFd, Errno> {
        let Some((mount, rest)) = self.on_mount(path) else { return self.root.mkdir_all(path, mode) };
        match mount.resolve_without_symlinks(&rest, OFlag::O_PATH | OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT) => mount.mkdir_all(&rest, mode),
            Err(Errno::ELOOP | Errno::ENOTDIR | Errno::ENOSYS) => self.root.mkdir_all(path, mode),
            other => other,
        }
    }

    /// Returns the mount that a path lies on, and the rest of the path. The last that was made: it covers
    /// those before.
    fn on_mount(&self, path: &CStr) -> Option<(&Root, CString)> {
        let path = written_plainly(path)?;
        let found = |made: &Made| below(&path, &made.path).map(<[u8]>::to_vec);
        let (mount, rest) = self.made.iter().rev().find_map(|made| Some((&made.mount, found(made)?)))?;
        let rest = if rest.is_empty() { c".".to_owned() } else { CString::new(rest).ok()? };
        Some((mount, rest))
    }
}

/// Returns a path without what counts for nothing; None where `..` may lead anywhere.
fn written_plainly(path: &CStr) -> Option<Vec<u8>> {
    let parts = || path.to_bytes().split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let plain = parts().all(|part| part != b"..");
    plain.then(|| parts().collect::<Vec<_>>().join(&b'/'))
}

/// The rest of a path that lies on, or is, the directory of the other one.
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
