//! The changes of an overlay: its upper directory holds what was added or changed, whole directories on the way to it
//! included, and marks for what was deleted. Compared with the layers below, what is really different is left.

use std::collections::HashSet;
use std::ffi::CStr;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};

use super::record::{About, Known, Record};
use super::{Change, Changes, Kind, Owners, open};
use crate::error::{Context, Result};
use crate::image::archive::path::split;
use crate::image::filesystem::dir::{c_string, open_dir};
use crate::image::filesystem::overlay::Overlay;
use crate::image::filesystem::walk::{Found, walk};
use crate::image::filesystem::xattrs;
use crate::image::unpack::single_layer::is_whiteout;

pub fn changes(
    upper: &Path,
    lowers: &[PathBuf],
    userxattr: bool,
    owners: Owners,
    record: Record,
) -> Result<Changes> {
    let tree = open(upper)?;
    let marks: &'static CStr = if userxattr { c"user.overlay." } else { c"trusted.overlay." };
    let scratch = tempfile(upper)?;
    let below = Overlay { lowers, upper: None, userxattr, mapped: None }.view(&scratch);
    let _ = std::fs::remove_dir(&scratch);
    let below = openat(below?.as_fd(), c".", DIR, Mode::empty()).context("open the layers below")?;
    // Several layers are shown by the kernel, which hides its marks; a single one is as it is.
    let is_one = lowers.iter().all(|lower| Some(lower) == lowers.first());
    let below_marks = is_one.then_some(marks);
    let mut comparing =
        Comparing { below, record, marks, below_marks, owners, list: Vec::new(), opaque: None };
    let root = fstat(&tree).with_context(|| upper.display().to_string())?;
    if comparing.record.known.get(&b""[..]).is_none_or(|known| known.about != About::of(&root)) {
        comparing.list.push(Change { path: Vec::new(), kind: Kind::Changed });
    }
    walk(&tree, &mut |found| comparing.look(found)).with_context(|| upper.display().to_string())?;
    let list = comparing.list;
    let owners = comparing.owners;
    Ok(Changes::new(list, tree, owners, Some(marks)))
}

const DIR: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// An empty directory beside the upper one, for old kernels.
fn tempfile(upper: &Path) -> Result<PathBuf> {
    let path = upper.with_file_name(format!(".below-{}", std::process::id()));
    std::fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
    Ok(path)
}

struct Comparing {
    below: OwnedFd,
    record: Record,
    owners: Owners,
    marks: &'static CStr,
    below_marks: Option<&'static CStr>,
    list: Vec<Change>,
    /// The directory, being walked, that hides all below it.
    opaque: Option<Vec<u8>>,
}

impl Comparing {
    fn look(&mut self, found: &Found<'_>) -> Result<bool> {
        let below = self.find(found.path)?;
        if is_whiteout(&found.stat) || self.is_marked(found, c"whiteout")? {
            if below.is_some() {
                self.add(found.path, Kind::Deleted);
            }
            return Ok(false);
        }
        let known = self.record.known.get(found.path);
        if known != Some(&Known::of(&found.stat)) {
            match &below {
                None => self.add(found.path, Kind::Added),
                Some((dir, stat)) if self.is_same(found, dir, stat)? => {}
                Some(_) => self.add(found.path, Kind::Changed),
            }
        }
        if found.is_dir() {
            self.hidden(found, below.as_ref())?;
        }
        Ok(true)
    }

    fn add(&mut self, path: &[u8], kind: Kind) {
        self.list.push(Change { path: path.to_vec(), kind });
    }

    /// What is below, and its directory; symlinks are not followed, so it is the same path and no other.
    fn find(&self, path: &[u8]) -> Result<Option<(OwnedFd, FileStat)>> {
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
            // A single layer is not shown by the kernel, but as it is.
            Ok(stat) if is_whiteout(&stat) => Ok(None),
            stat => Ok(Some((dir, stat?))),
        }
    }

    /// An opaque directory, or one inside it: what is below and not in it is deleted.
    fn hidden(&mut self, found: &Found<'_>, below: Option<&(OwnedFd, FileStat)>) -> Result<()> {
        let inside =
            |opaque: &Vec<u8>| found.path.starts_with(opaque) && found.path.get(opaque.len()) == Some(&b'/');
        if !self.opaque.as_ref().is_some_and(inside) {
            self.opaque = self.is_marked(found, c"opaque")?.then(|| found.path.to_vec());
        }
        let Some((dir, stat)) = below.filter(|_| self.opaque.is_some()) else { return Ok(()) };
        if stat.st_mode & libc::S_IFMT != libc::S_IFDIR {
            return Ok(());
        }
        let own = names(&open_dir(found.dir, found.name)?)?;
        let below = open_dir(dir.as_fd(), found.name)?;
        for name in names(&below)?.difference(&own) {
            let stat = fstatat(&below, c_string(name)?.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if !is_whiteout(&stat) {
                self.add(&[found.path, name].join(&b'/'), Kind::Deleted);
            }
        }
        Ok(())
    }

    fn is_marked(&self, found: &Found<'_>, mark: &CStr) -> Result<bool> {
        let kind = found.kind();
        if kind != libc::S_IFDIR && kind != libc::S_IFREG {
            return Ok(false);
        }
        let name = c_string(&[self.marks.to_bytes(), mark.to_bytes()].concat())?;
        Ok(xattrs::one(found.dir, found.name, &name)?.is_some())
    }

    /// Whether what is above is the same as what is below, to the last byte.
    fn is_same(&self, found: &Found<'_>, dir: &OwnedFd, stat: &FileStat) -> Result<bool> {
        // What is below has the image's own ids.
        if About::of(&self.owners.stat(&found.stat)) != About::of(stat) {
            return Ok(false);
        }
        let mut above = xattrs::all(found.dir, found.name, Some(self.marks))?;
        self.owners.capability(&mut above);
        if above != xattrs::all(dir.as_fd(), found.name, self.below_marks)? {
            return Ok(false);
        }
        match found.kind() {
            libc::S_IFLNK => Ok(readlinkat(found.dir, found.name)? == readlinkat(dir, found.name)?),
            libc::S_IFREG => {
                let open = |dir| -> Result<std::fs::File> {
                    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                    Ok(openat(dir, found.name, flags, Mode::empty())?.into())
                };
                same_content(open(found.dir)?, open(dir.as_fd())?)
            }
            _ => Ok(true),
        }
    }
}

fn names(dir: &OwnedFd) -> Result<HashSet<Vec<u8>>> {
    let mut names = HashSet::new();
    for entry in nix::dir::Dir::from_fd(dir.try_clone()?)?.iter() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.insert(name);
        }
    }
    Ok(names)
}

fn same_content(mut one: impl Read, mut other: impl Read) -> Result<bool> {
    let (mut left, mut right) = (vec![0; 128 << 10], vec![0; 128 << 10]);
    loop {
        let count = one.read(&mut left)?;
        if count == 0 {
            return Ok(other.read(&mut right)? == 0);
        }
        if other.read_exact(&mut right[..count]).is_err() || left[..count] != right[..count] {
            return Ok(false);
        }
    }
}
