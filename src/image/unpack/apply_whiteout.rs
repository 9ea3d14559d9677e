//! Applies whiteouts to a tree: removes what lower layers have there, or marks it for the overlay.

use std::ffi::CStr;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};

use super::tree::{Dir, Tree, stat};
use crate::image::filesystem::remove;
use crate::inroot::Result;

impl Tree {
    /// Applies a whiteout of `path`, which is `name` in `dir`: removes what lower layers have at `name`, or
    /// marks it for the overlay.
    pub(super) fn apply_whiteout(&mut self, dir: &Dir, path: &[u8], name: &CStr) -> Result<()> {
        let is_covered = self.is_covered(dir)?;
        if let Some(single) = &mut self.single_layer {
            if is_covered {
                return Ok(());
            }
            single.record_whiteout(path);
            return single.apply_whiteout(dir.as_fd(), name);
        }
        if !self.is_first_whiteout(dir, name) {
            return Ok(());
        }
        let kind = match stat(dir, name) {
            Ok(stat) => stat.st_mode & libc::S_IFMT,
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        if kind == libc::S_IFDIR || kind == libc::S_IFLNK {
            self.clear_dir_cache();
        }
        remove::tree_except(dir.as_fd(), name, &|inode, name| self.is_of_current_layer(inode, name))
    }

    /// Whether this is the first whiteout of `name` in `dir`, or for an empty name of all in it, in this
    /// layer.
    fn is_first_whiteout(&mut self, dir: &Dir, name: &CStr) -> bool {
        let key = self.creation_key(dir.inode, name);
        self.whiteouts_of_layer.insert(key)
    }

    /// Applies an opaque whiteout: removes everything that lower layers have in `dir`, or marks it for the
    /// overlay.
    pub(super) fn apply_opaque(&mut self, dir: &Dir) -> Result<()> {
        self.clear_dir_cache();
        let own = openat(
            dir.as_fd(),
            c".",
            OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        let is_root = fstat(self.root())?.st_ino == dir.inode;
        if let Some(single) = &mut self.single_layer {
            single.hides_all |= is_root;
            return single.make_opaque(own.as_fd());
        }
        if !self.is_first_whiteout(dir, c"") {
            return Ok(());
        }
        remove::contents(own, &|inode, name| self.is_of_current_layer(inode, name)).map(drop)
    }
}
