//! Completing a layer that depends on those below it. Such a layer has files in directories that it has no entry for,
//! or hard links to files of lower layers. Once the lower layers are known, its directories get the attributes that
//! they have there (or what is in them moves to where a symlink there leads), and the linked files are copied up. The
//! result is valid over exactly these layers.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, mkdirat};
use nix::unistd::linkat;

use super::session::VIEW;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::archive::path::{clean, split};
use crate::image::filesystem::copy_file::{copy_attributes, copy_file, set_times};
use crate::image::filesystem::dir::open_dir;
use crate::image::filesystem::overlay::Overlay;
use crate::image::filesystem::remove;
use crate::image::unpack::single_layer::SingleLayer;
use crate::inroot::{MAX_SYMLINKS, Root, c_string};
use crate::sys::file::rename_new;

/// Completes the layer at `path` (its tree is `fs`) over the trees `below`, the lowest first. `work` is a directory for
/// a view of them, where the kernel needs one to mount it at; `number` makes its name unique.
pub(super) fn complete_layer(
    path: &Path,
    layer: &SingleLayer,
    below: &[PathBuf],
    work: &Path,
    number: usize,
) -> Result<()> {
    let tree = Root::open(&path.join("fs")).context("open the layer")?;
    let scratch = work.join(format!("{number}.{VIEW}"));
    std::fs::create_dir(&scratch).with_context(|| format!("make {}", scratch.display()))?;
    let below = match below {
        // The lowest layer has an empty tree below it.
        [] => Root::open(&scratch)?,
        lowers => Overlay { lowers, upper: None, userxattr: layer.userxattr, mapped: None }.view(&scratch)?,
    };
    let completion = Completion { tree, below };
    // Links before directories: the directories that hold them may move.
    let mut copied = HashMap::new();
    for (path, target) in &layer.missing_links {
        let shown = || format!("{}: link to \"{}\"", path.escape_ascii(), target.escape_ascii());
        completion.make_link(path, target, &mut copied).with_context(shown)?;
    }
    for (path, holds_entry) in &layer.implied_dirs {
        let shown = || format!("directory {}", path.escape_ascii());
        completion.complete_dir(path, *holds_entry, MAX_SYMLINKS).with_context(shown)?;
    }
    Ok(())
}

struct Completion {
    /// The layer's own tree.
    tree: Root,
    /// The lower layers, merged.
    below: Root,
}

impl Completion {
    /// Gives a directory without an entry the attributes that it has in the layers below. Where it is a symlink there,
    /// moves what it holds to where that leads; where there is nothing, removes it unless it holds an entry (`holds_entry`).
    /// `links` is how many symlinks may still be followed.
    fn complete_dir(&self, path: &[u8], holds_entry: bool, links: u32) -> Result<()> {
        let (above, name) = split(path);
        let (above, name) = (c_string(above)?, c_string(name)?);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let Ok(parent) = self.tree.resolve(&above, flags) else { return Ok(()) };
        let Ok(own) = open_dir(parent.as_fd(), &name) else { return Ok(()) };
        let found = self.below.resolve(&above, flags).and_then(|dir| Ok((stat(dir.as_fd(), &name)?, dir)));
        let (stat, dir) = match found {
            Ok(found) => found,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {
                // Nothing is below, so whiteouts have nothing to hide: a directory that holds only them is not needed.
                return if holds_entry { Ok(()) } else { Ok(remove::tree(parent.as_fd(), &name)?) };
            }
            Err(errno) => return Err(errno.into()),
        };
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR => Ok(copy_attributes(open_dir(dir.as_fd(), &name)?.as_fd(), own.as_fd())?),
            libc::S_IFLNK => {
                let target = readlinkat(&dir, name.as_c_str())?.into_vec();
                let from = if target.starts_with(b"/") { b"" } else { split(path).0 };
                let target = clean(&[from, &target].join(&b'/'));
                self.move_to_target(path, &parent, &name, &own, &target, links)
            }
            _ if holds_entry => Ok(()),
            _ => Ok(remove::tree(parent.as_fd(), &name)?),
        }
    }

    /// Moves the content of the directory `own` (`name` in `parent`, `path` in the layer) to `target`, the directory that
    /// the symlink at `path` in the layers below leads to.
    fn move_to_target(
        &self,
        path: &[u8],
        parent: &OwnedFd,
        name: &CStr,
        own: &OwnedFd,
        target: &[u8],
        links: u32,
    ) -> Result<()> {
        if links == 0 {
            return Err(Errno::ELOOP.into());
        }
        if target.is_empty() || path.starts_with(&[target, b"/"].concat()) {
            return Err(fail!(
                Kind::Unsupported,
                "it is a symlink to a directory above itself in a layer below"
            ));
        }
        let mut so_far = Vec::new();
        for part in target.split(|&byte| byte == b'/') {
            if !so_far.is_empty() {
                so_far.push(b'/');
            }
            so_far.extend_from_slice(part);
            let (above, last) = split(&so_far);
            let above = self.tree.resolve(&c_string(above)?, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
            // Restored below: the directories of the layer keep the times that its archive has.
            let times = fstat(&above)?;
            match mkdirat(&above, c_string(last)?.as_c_str(), Mode::from_bits_truncate(0o755)) {
                Ok(()) => self.complete_dir(&so_far, true, links - 1)?,
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            set_times(above.as_fd(), &times)?;
        }
        let into = self.tree.resolve(&c_string(target)?, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        let times = fstat(&into)?;
        move_children(own, &into)?;
        remove::tree(parent.as_fd(), name)?;
        Ok(set_times(into.as_fd(), &times)?)
    }

    /// Makes a hard link to a file of the layers below. A hard link cannot lead to another filesystem, so the file is copied to this
    /// layer for its first link, and the others lead to the copy. `copied` has the path of the copy by that of the file.
    fn make_link(&self, path: &[u8], target: &[u8], copied: &mut HashMap<Vec<u8>, Vec<u8>>) -> Result<()> {
        let (above, name) = split(path);
        let (above, name) = (c_string(above)?, c_string(name)?);
        let into = self.tree.resolve(&above, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        let times = fstat(&into)?;
        remove::tree(into.as_fd(), &name)?;
        if let Some(first) = copied.get(target) {
            let (above, last) = split(first);
            let from = self.tree.resolve(&c_string(above)?, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
            linkat(&from, c_string(last)?.as_c_str(), &into, name.as_c_str(), AtFlags::empty())?;
        } else {
            let (above, last) = split(target);
            let missing = || fail!(Kind::Spec, "there is no such file yet");
            let from = self
                .below
                .resolve(&c_string(above)?, OFlag::O_PATH | OFlag::O_DIRECTORY)
                .map_err(|_| missing())?;
            let last = c_string(last)?;
            let target_stat = stat(from.as_fd(), &last).map_err(|_| missing())?;
            copy_file(from.as_fd(), &last, &target_stat, into.as_fd(), &name)?;
            copied.insert(target.to_vec(), path.to_vec());
        }
        Ok(set_times(into.as_fd(), &times)?)
    }
}

fn stat(dir: BorrowedFd<'_>, name: &CStr) -> nix::Result<FileStat> {
    fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// Moves everything in the directory `from` to `into`. A directory that both have is merged; of anything else, that of
/// `from` stays.
fn move_children(from: &OwnedFd, into: &OwnedFd) -> Result<()> {
    for (name, is_dir) in list_dir(from)? {
        match rename_new(from.as_fd(), &name, into.as_fd(), &name) {
            Err(Errno::EEXIST) => {}
            other => {
                other?;
                continue;
            }
        }
        match open_dir(into.as_fd(), &name) {
            Ok(existing) if is_dir => move_children(&open_dir(from.as_fd(), &name)?, &existing)?,
            _ => {
                remove::tree(into.as_fd(), &name)?;
                renameat(from, name.as_c_str(), into, name.as_c_str())?;
            }
        }
    }
    Ok(())
}

/// What is in a directory, and whether it is a directory itself.
fn list_dir(dir: &OwnedFd) -> Result<Vec<(CString, bool)>> {
    let mut names = Vec::new();
    for entry in nix::dir::Dir::from_fd(dir.try_clone()?)?.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push((name.to_owned(), stat(dir.as_fd(), name)?.st_mode & libc::S_IFMT == libc::S_IFDIR));
        }
    }
    Ok(names)
}
