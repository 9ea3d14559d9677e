//! `SingleLayer`: the state of a layer that is unpacked to a directory of its own, for an overlay. Whiteouts
//! become the kernel's marks, and what the layer needs of the layers below is recorded, because these are not
//! known yet.
//!
//! A layer that needs nothing is the same over any other. Layers made by a container commit usually need
//! nothing: they have an entry for each directory above a changed file.
//!
//! An example of the opposite: a layer has `a/f` without an entry for `a`. If below it `a` is a symlink, `f`
//! belongs at its target: the layer is unpacked again over the lower layers (`needs_order`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, makedev, mknodat};

use crate::image::filesystem::dir::open_dir;
use crate::image::limits::MAX_MISSING_PATH_BYTES;
use crate::inroot::Result;
use crate::sys::xattr::{fgetxattr, fsetxattr};

/// The marks of a single layer for overlayfs, and what it needs of the layers below.
#[derive(Debug, Default)]
pub(crate) struct SingleLayer {
    /// `user.overlay.` instead of `trusted.overlay.`: what a user namespace may set (mount option
    /// `userxattr`).
    pub(crate) userxattr: bool,
    /// Directories that were made without an entry, like `a` in the example.
    pub(crate) implied_dirs: BTreeSet<Vec<u8>>,
    /// Directories that were made without an entry and then replaced by a later entry or whiteout. In the
    /// example, the entry `a` follows after `a/f`: `f` may still belong at the target of a lower symlink.
    pub(crate) replaced_implied_dirs: BTreeSet<Vec<u8>>,
    /// The result depends on the layers below and on the order of the entries: the layer must be unpacked
    /// again over the lower layers.
    pub(crate) needs_order: bool,
    /// Hard links to files that this layer does not have: the path of the link, and the path of its target.
    pub(crate) missing_links: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Whether the layer has whiteouts. A whiteout that hides nothing must be removed before the layer is
    /// mounted: overlayfs would list it in a directory that only this layer has.
    pub(crate) has_whiteouts: bool,
    has_opaque_dirs: bool,
    /// The layer's root is opaque: nothing of the layers below is seen at all. Overlayfs takes no mark at the
    /// root, so the layers below are not mounted.
    pub(crate) hides_all: bool,
    /// Bytes of the paths in `implied_dirs` and `missing_links`.
    path_bytes: usize,
    /// Directories that were looked at, by inode, and whether they are covered.
    covered: HashMap<u64, bool>,
}

/// How many directories it is remembered for whether they are covered.
const MAX_COVERED: usize = 1 << 16;

impl SingleLayer {
    /// A layer without entries; `userxattr` says which of its attributes are marks.
    pub(crate) fn new(userxattr: bool) -> Self {
        Self { userxattr, ..Self::default() }
    }

    /// Whether the layer needs nothing of the layers below.
    pub(crate) fn is_independent(&self) -> bool {
        self.implied_dirs.is_empty()
            && self.replaced_implied_dirs.is_empty()
            && self.missing_links.is_empty()
            && !self.has_whiteouts
            && !self.needs_order
    }

    /// Records a directory that was made without an entry.
    pub(crate) fn record_implied_dir(&mut self, path: &[u8]) {
        self.path_bytes += path.len();
        // The path is also that of a hard link whose target is below. Whether the link or the directory
        // remains depends on the lower layers.
        self.needs_order |= self.has_link(path);
        self.implied_dirs.insert(path.to_vec());
    }

    /// Records that a directory has an entry of its own.
    pub(crate) fn record_dir_entry(&mut self, path: &[u8]) {
        if self.implied_dirs.remove(path) {
            self.replaced_implied_dirs.insert(path.to_vec());
        }
    }

    /// Records that something that is not a directory replaces what the layer has at `path`.
    pub(crate) fn record_replaced(&mut self, path: &[u8]) {
        if self.implied_dirs.is_empty() {
            return;
        }
        // The paths that start with `PATH/` are contiguous, and `0` is the byte after `/`.
        let below = [path, b"/"].concat()..[path, b"0"].concat();
        let gone: Vec<Vec<u8>> = self.implied_dirs.range(below).cloned().chain([path.to_vec()]).collect();
        for path in gone {
            if self.implied_dirs.remove(&path) {
                self.replaced_implied_dirs.insert(path);
            }
        }
    }

    /// Records a whiteout of this path.
    pub(crate) fn record_whiteout(&mut self, path: &[u8]) {
        // The whiteout also removes files that earlier entries of this layer have put into the directory.
        self.needs_order |= self.implied_dirs.contains(path);
    }

    /// Records that an entry is about to be made. It replaces a hard link of the same path whose target is
    /// below.
    pub(crate) fn record_entry(&mut self, path: &[u8]) {
        // Only over the lower layers is it known whether that link was valid.
        self.needs_order |= self.missing_links.remove(path).is_some();
    }

    /// Records a hard link whose target this layer does not have. A link to another such link is recorded
    /// with the final target.
    pub(crate) fn defer_link(&mut self, path: &[u8], target: Vec<u8>) {
        let target = self.missing_links.get(&target).cloned().unwrap_or(target);
        self.path_bytes += path.len() + target.len();
        self.missing_links.insert(path.to_vec(), target);
    }

    /// Whether the recorded paths take more memory than those of any layer that tools make.
    pub(crate) fn is_over_limit(&self) -> bool {
        self.path_bytes > MAX_MISSING_PATH_BYTES
    }

    /// Whether this path is a hard link whose target is in the layers below.
    pub(crate) fn has_link(&self, path: &[u8]) -> bool {
        self.missing_links.contains_key(path)
    }

    /// Makes the overlay's whiteout `name`. If this layer has a directory of that name, makes it opaque
    /// instead; any other file hides the lower ones by itself.
    pub(super) fn apply_whiteout(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        match mknodat(dir, name, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)) {
            Ok(()) => {
                self.has_whiteouts = true;
                Ok(())
            }
            Err(Errno::EEXIST) => match open_dir(dir, name) {
                Ok(dir) => self.make_opaque(dir.as_fd()),
                Err(Errno::ENOTDIR | Errno::ELOOP | Errno::ENXIO) => Ok(()),
                Err(errno) => Err(errno),
            },
            Err(errno) => Err(errno),
        }
    }

    /// Marks an open directory as opaque: the overlay hides what lower layers have in it.
    pub(super) fn make_opaque(&mut self, dir: BorrowedFd<'_>) -> Result<()> {
        self.has_opaque_dirs = true;
        self.forget_covered();
        fsetxattr(dir, self.opaque_xattr(), b"y")
    }

    /// Whether nothing of the layers below is seen in `dir`, because `dir` or a directory above it, up to the
    /// layer's root (inode number `root`), is opaque by now.
    pub(super) fn is_covered(&mut self, dir: BorrowedFd<'_>, root: u64) -> Result<bool> {
        if !self.has_opaque_dirs {
            return Ok(false);
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let (mut here, mut passed) = (openat(dir, c".", flags, Mode::empty())?, Vec::new());
        // All on the way up are the same: what lies deep is not looked for again with each entry.
        let is_covered = loop {
            let inode = fstat(&here)?.st_ino;
            if let Some(&known) = self.covered.get(&inode) {
                break known;
            }
            passed.push(inode);
            if self.is_opaque(here.as_fd())? {
                break true;
            }
            if inode == root {
                break false;
            }
            here = openat(&here, c"..", flags, Mode::empty())?;
        };
        if self.covered.len() > MAX_COVERED {
            self.forget_covered();
        }
        self.covered.extend(passed.into_iter().map(|inode| (inode, is_covered)));
        Ok(is_covered)
    }

    /// Forgets which directories are covered: one is gone, and another may get its inode.
    pub(super) fn forget_covered(&mut self) {
        self.covered.clear();
    }

    /// Whether a directory of the layer is opaque.
    pub(crate) fn has_opaque_dirs(&self) -> bool {
        self.has_opaque_dirs
    }

    /// Whether an open directory is marked as opaque.
    pub(crate) fn is_opaque(&self, dir: BorrowedFd<'_>) -> Result<bool> {
        match fgetxattr(dir, self.opaque_xattr()) {
            Ok(_) => Ok(true),
            Err(Errno::ENODATA | Errno::ENOTSUP) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn opaque_xattr(&self) -> &'static CStr {
        if self.userxattr { c"user.overlay.opaque" } else { c"trusted.overlay.opaque" }
    }

    pub(super) fn is_opaque_xattr(&self, name: &CStr) -> bool {
        name == self.opaque_xattr()
    }

    /// Returns the name to store an attribute under. A name that overlayfs would take for its own mark is
    /// escaped, and a mounted overlay shows it unescaped. KERNEL(6.7): older kernels do not show such an
    /// attribute at all.
    pub(crate) fn escape_xattr(&self, name: &[u8]) -> Vec<u8> {
        let prefix: &[u8] = if self.userxattr { b"user.overlay." } else { b"trusted.overlay." };
        match name.strip_prefix(prefix) {
            Some(rest) => [prefix, b"overlay.", rest].concat(),
            None => name.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_mark_gets_another_name() {
        let layer = SingleLayer::default();
        assert_eq!(layer.escape_xattr(b"trusted.overlay.opaque"), b"trusted.overlay.overlay.opaque");
        assert_eq!(layer.escape_xattr(b"user.overlay.opaque"), b"user.overlay.opaque");
        let layer = SingleLayer::new(true);
        assert_eq!(layer.escape_xattr(b"user.overlay.opaque"), b"user.overlay.overlay.opaque");
    }

    #[test]
    fn what_a_layer_needs_is_recorded() {
        let mut layer = SingleLayer::default();
        layer.record_implied_dir(b"a");
        layer.record_implied_dir(b"c");
        layer.record_dir_entry(b"c");
        layer.record_implied_dir(b"a/b");
        layer.record_implied_dir(b"a.x");
        layer.record_replaced(b"a/b");
        assert_eq!(layer.replaced_implied_dirs, [b"c".to_vec(), b"a/b".to_vec()].into());
        assert_eq!(layer.implied_dirs, [b"a".to_vec(), b"a.x".to_vec()].into());
        layer.defer_link(b"l", b"t".to_vec());
        layer.defer_link(b"m", b"l".to_vec());
        assert_eq!(layer.missing_links[&b"m"[..]], b"t");
        layer.record_entry(b"l");
        assert_eq!(layer.missing_links.len(), 1);
    }
}
