//! Finds out, from the tree of a single layer, how its entries depend on the layers below, which are not
//! known yet: whether the lower layers can be seen at a path, and whether the order of the layer's entries
//! matters, because a path may lead through a symlink.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::stat::{FileStat, fstat};

use super::tree::{Dir, Tree, stat};
use crate::image::archive::path::{ends, first_missing, split};
use crate::image::filesystem::find::is_whiteout;
use crate::inroot::{Result, c_string};

/// The place of the file that a hard link names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkTarget {
    /// In this tree, if it exists.
    Here,
    /// In the layers below this one, if it exists.
    Below,
    /// Nowhere: this layer has removed the file.
    Nowhere,
}

impl Tree {
    /// Opens like `open_or_create_dir`, for a whiteout in a `SingleLayer` tree. None if nothing of the layers
    /// below can be seen
    /// in the directory, because this layer has another file on the path.
    pub(super) fn open_or_imply_dir(&mut self, path: &[u8]) -> Result<Option<Rc<Dir>>> {
        if let Some(dir) = self.find_dir(path)? {
            return Ok(Some(dir));
        }
        let first = first_missing(path, |prefix| self.find_dir(prefix).map(|found| found.is_some()))?;
        let first = first.unwrap_or(path.len());
        let (above, name) = split(&path[..first]);
        let mut dir = self.open_existing_dir(above)?;
        if self.has_non_directory(&dir, name)? || self.is_covered(&dir)? {
            return Ok(None);
        }
        if self.is_symlink(&dir, name)? {
            // It may lead to a directory of the layers below.
            self.require_order();
            return Ok(None);
        }
        for end in ends(path).filter(|&end| end >= first) {
            dir = self.create_dir(&dir, &path[..end], Errno::ENOENT, 0)?;
        }
        Ok(Some(dir))
    }

    /// Whether nothing of the layers below is seen in `dir`, in the tree of a single layer.
    pub(super) fn is_covered(&mut self, dir: &Dir) -> Result<bool> {
        let root = fstat(self.root())?.st_ino;
        match &mut self.single_layer {
            Some(single) => single.is_covered(dir.as_fd(), root),
            None => Ok(false),
        }
    }

    /// Forgets what is known of directories, before one is removed.
    pub(super) fn forget_dirs(&mut self) {
        self.clear_dir_cache();
        if let Some(single) = &mut self.single_layer {
            single.forget_covered();
        }
    }

    /// Returns the place of the file that a hard link to this clean path names.
    pub(super) fn find_link_target(&mut self, path: &[u8]) -> Result<LinkTarget> {
        let Some(single) = &self.single_layer else { return Ok(LinkTarget::Here) };
        if single.has_link(path) {
            return Ok(LinkTarget::Below);
        }
        let (above, last) = split(path);
        let first = first_missing(above, |prefix| self.find_dir(prefix).map(|found| found.is_some()))?;
        let Some(first) = first else {
            let dir = self.open_existing_dir(above)?;
            return self.find_in_layer(&dir, last);
        };
        let (above, name) = split(&path[..first]);
        let dir = self.open_existing_dir(above)?;
        if self.is_symlink(&dir, name)? {
            // It may lead to a directory of the layers below.
            self.require_order();
            return Ok(LinkTarget::Below);
        }
        self.find_in_layer(&dir, name)
    }

    /// Counts a file that a hard link copies up, where the layers below are an overlay's.
    pub(super) fn count_copy(&mut self, dir: &Dir, name: &CStr) {
        let is_below = self.copies_up && !self.is_of_current_layer(dir.inode, name);
        // One that is not there is told when it is linked to.
        if let Some(found) = stat(dir, name).ok().filter(|_| is_below)
            && found.st_mode & libc::S_IFMT == libc::S_IFREG
        {
            self.copied_bytes = self.copied_bytes.saturating_add(found.st_size.cast_unsigned());
        }
    }

    fn find_in_layer(&mut self, dir: &Dir, name: &[u8]) -> Result<LinkTarget> {
        match stat(dir, &c_string(name)?) {
            Ok(found) if is_whiteout(&found) => Ok(LinkTarget::Nowhere),
            Ok(_) => Ok(LinkTarget::Here),
            Err(Errno::ENOENT) if self.is_covered(dir)? => Ok(LinkTarget::Nowhere),
            Err(Errno::ENOENT) => Ok(LinkTarget::Below),
            Err(errno) => Err(errno),
        }
    }

    /// Notes that this single layer must be unpacked over those below it.
    pub(super) fn require_order(&mut self) {
        if let Some(single) = &mut self.single_layer {
            single.needs_order = true;
        }
    }

    pub(super) fn is_symlink(&self, dir: &Dir, name: &[u8]) -> Result<bool> {
        let kind = |stat: FileStat| stat.st_mode & libc::S_IFMT;
        Ok(self.look(dir, name)?.is_some_and(|stat| kind(stat) == libc::S_IFLNK))
    }

    /// Whether the layer has `name` in `dir` as something other than a directory or a symlink, for example a
    /// whiteout.
    fn has_non_directory(&self, dir: &Dir, name: &[u8]) -> Result<bool> {
        Ok(self.look(dir, name)?.is_some() && !self.is_symlink(dir, name)?)
    }

    fn look(&self, dir: &Dir, name: &[u8]) -> Result<Option<FileStat>> {
        match stat(dir, &c_string(name)?) {
            Err(Errno::ENOENT) => Ok(None),
            found => found.map(Some),
        }
    }
}
