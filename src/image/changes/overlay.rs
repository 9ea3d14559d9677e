//! Finds the changes of an overlay bundle. Its upper directory holds what was added or changed, with the
//! directories above it, and whiteouts for what was deleted. Each is compared with the layers below, because
//! the kernel also copies up files that stay the same.

use std::collections::HashSet;
use std::ffi::CStr;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};

use super::record::{FileState, Metadata, Record};
use super::{Change, ChangeKind, Changes, LayersBelow, Owners};
use crate::error::{Context, Result};
use crate::image::archive::path::split;
use crate::image::filesystem::dir::open_dir;
use crate::image::filesystem::find::is_whiteout;
use crate::image::filesystem::overlay::Overlay;
use crate::image::filesystem::walk::{WalkEntry, walk};
use crate::image::filesystem::xattrs;
use crate::inroot::c_string;

/// Compares the open upper directory with the layers below.
pub(super) fn changes(
    tree: OwnedFd,
    layers: &LayersBelow<'_>,
    owners: Owners,
    record: Record,
) -> Result<Changes> {
    let &LayersBelow { lowers, mounts, userxattr } = layers;
    let marks: &'static CStr = if userxattr { c"user.overlay." } else { c"trusted.overlay." };
    let below = Overlay { lowers, upper: None, userxattr, mapped: None, mounts }.view()?;
    let below = openat(below.as_fd(), c".", DIR, Mode::empty()).context("open the layers below")?;
    // An overlay of several layers hides its own attributes; a single layer is read directly, with them. An
    // image may have the same layer several times, and `view` uses it once.
    let is_single = lowers.iter().all(|lower| Some(lower) == lowers.first());
    let below_marks = is_single.then_some(marks);
    let mut comparing =
        Comparing { below, record, marks, below_marks, owners, list: Vec::new(), opaque: None };
    let root = fstat(&tree)?;
    if comparing.record.files.get(&b""[..]).is_none_or(|state| state.metadata != Metadata::from_stat(&root)) {
        comparing.list.push(Change { path: Vec::new(), kind: ChangeKind::Changed });
    }
    walk(&tree, &mut |found| comparing.compare(found))?;
    let list = comparing.list;
    let owners = comparing.owners;
    Ok(Changes::new(list, tree, owners, Some(marks)))
}

const DIR: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

struct Comparing {
    /// The layers below, merged.
    below: OwnedFd,
    record: Record,
    owners: Owners,
    /// The prefix of the overlay's own attributes in the upper directory, and in `below`.
    marks: &'static CStr,
    below_marks: Option<&'static CStr>,
    list: Vec<Change>,
    /// The opaque directory that the walk is in: the content of lower layers in this directory is hidden.
    opaque: Option<Vec<u8>>,
}

impl Comparing {
    /// Compares one entry of the upper directory. Returns whether to descend into it.
    fn compare(&mut self, found: &WalkEntry<'_>) -> Result<bool> {
        let below = self.find_below(found.path)?;
        if is_whiteout(&found.stat) || self.is_marked(found, c"whiteout")? {
            if below.is_some() {
                self.add(found.path, ChangeKind::Deleted);
            }
            return Ok(false);
        }
        // An entry that is the same as in the record was made by `unpack`, not changed later.
        let recorded = self.record.files.get(found.path);
        if recorded != Some(&FileState::from_stat(&found.stat)) {
            match &below {
                None => self.add(found.path, ChangeKind::Added),
                Some((dir, stat)) if self.is_same(found, dir, stat)? => {}
                Some(_) => self.add(found.path, ChangeKind::Changed),
            }
        }
        if found.is_dir() {
            self.add_hidden(found, below.as_ref())?;
        }
        Ok(true)
    }

    fn add(&mut self, path: &[u8], kind: ChangeKind) {
        self.list.push(Change { path: path.to_vec(), kind });
    }

    /// Returns the stat of `path` in the layers below, and its open parent directory; None if it is missing.
    /// No symlink is followed, so the result is this path and no other.
    fn find_below(&self, path: &[u8]) -> Result<Option<(OwnedFd, FileStat)>> {
        let (above, name) = split(path);
        let mut dir = self.below.try_clone()?;
        for part in above.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
            dir = match openat(&dir, c_string(part)?.as_c_str(), DIR, Mode::empty()) {
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
                dir => dir?,
            };
        }
        match fstatat(&dir, c_string(name)?.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => Ok(None),
            // A single layer is read directly, with its whiteouts.
            Ok(stat) if is_whiteout(&stat) => Ok(None),
            stat => Ok(Some((dir, stat?))),
        }
    }

    /// Adds the paths that an opaque directory, or a directory inside it, hides: those that the layers below
    /// have in it and the upper directory does not.
    fn add_hidden(&mut self, found: &WalkEntry<'_>, below: Option<&(OwnedFd, FileStat)>) -> Result<()> {
        let inside =
            |opaque: &Vec<u8>| found.path.starts_with(opaque) && found.path.get(opaque.len()) == Some(&b'/');
        if !self.opaque.as_ref().is_some_and(inside) {
            self.opaque = self.is_marked(found, c"opaque")?.then(|| found.path.to_vec());
        }
        let Some((dir, stat)) = below.filter(|_| self.opaque.is_some()) else { return Ok(()) };
        if stat.st_mode & libc::S_IFMT != libc::S_IFDIR {
            return Ok(());
        }
        let own = list_names(&open_dir(found.dir, found.name)?)?;
        let below = open_dir(dir.as_fd(), found.name)?;
        for name in list_names(&below)?.difference(&own) {
            let stat = fstatat(&below, c_string(name)?.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if !is_whiteout(&stat) {
                self.add(&[found.path, name].join(&b'/'), ChangeKind::Deleted);
            }
        }
        Ok(())
    }

    fn is_marked(&self, found: &WalkEntry<'_>, mark: &CStr) -> Result<bool> {
        let kind = found.kind();
        if kind != libc::S_IFDIR && kind != libc::S_IFREG {
            return Ok(false);
        }
        let name = c_string(&[self.marks.to_bytes(), mark.to_bytes()].concat())?;
        Ok(xattrs::read_one(found.dir, found.name, &name)?.is_some())
    }

    /// Whether an entry is the same as in the layers below, content and extended attributes included.
    fn is_same(&self, found: &WalkEntry<'_>, dir: &OwnedFd, stat: &FileStat) -> Result<bool> {
        // The layers below have the ids of the image; those of the upper directory may be mapped.
        if Metadata::from_stat(&self.owners.unmap(&found.stat)) != Metadata::from_stat(stat) {
            return Ok(false);
        }
        let mut above = xattrs::read_by_name(found.dir, found.name, Some(self.marks))?;
        self.owners.unmap_attributes(&mut above);
        if above != xattrs::read_by_name(dir.as_fd(), found.name, self.below_marks)? {
            return Ok(false);
        }
        match found.kind() {
            libc::S_IFLNK => Ok(readlinkat(found.dir, found.name)? == readlinkat(dir, found.name)?),
            libc::S_IFREG => {
                let open = |dir| -> Result<std::fs::File> {
                    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                    Ok(openat(dir, found.name, flags, Mode::empty())?.into())
                };
                has_same_content(open(found.dir)?, open(dir.as_fd())?)
            }
            _ => Ok(true),
        }
    }
}

fn list_names(dir: &OwnedFd) -> Result<HashSet<Vec<u8>>> {
    let mut names = HashSet::new();
    for entry in nix::dir::Dir::from_fd(dir.try_clone()?)?.iter() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.insert(name);
        }
    }
    Ok(names)
}

fn has_same_content(mut first: impl Read, mut second: impl Read) -> Result<bool> {
    let (mut left, mut right) = (vec![0; 128 << 10], vec![0; 128 << 10]);
    loop {
        let count = first.read(&mut left)?;
        if count == 0 {
            return Ok(second.read(&mut right)? == 0);
        }
        if second.read_exact(&mut right[..count]).is_err() || left[..count] != right[..count] {
            return Ok(false);
        }
    }
}
