//! Completes a layer that depends on the layers below it. Such a layer has files in directories that it has
//! no entry for, hard links to files of lower layers, or whiteouts. Once the lower layers are known, its
//! directories get the attributes that they have in the lower layers, the linked files are copied up, and
//! whiteouts that hide nothing are removed, because overlayfs would list them in a directory that only this
//! layer has. The result is valid over exactly these layers.
//!
//! If a path leads through a symlink or a file, the order of the entries matters and the tree does not show
//! it, so the layer is unpacked again over the lower ones (`import`).

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::trees::Trees;
use crate::error::{Context, Result};
use crate::image::archive::path::{ends, is_within, split};
use crate::image::filesystem::copy_file::{copy_attributes, copy_file, set_times};
use crate::image::filesystem::dir::open_dir;
use crate::image::filesystem::find::{find, is_whiteout, open_path, stat};
use crate::image::filesystem::overlay::Overlay;
use crate::image::filesystem::walk::walk;
use crate::image::limits::{Limits, Usage};
use crate::image::unpack::single_layer::SingleLayer;
use crate::inroot::{Root, c_string};

/// The outcome of completing a layer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Completed {
    Done,
    /// The order of the layer's entries matters: the layer must be unpacked over the layers below.
    NeedsOrder,
}

/// Completes the layer at `path` (its tree is `fs`) over the trees `below`, the lowest first. `work` is a
/// directory for an empty tree below the lowest layer; `number` makes its name unique.
pub(super) fn complete_layer(
    path: &Path,
    layer: &SingleLayer,
    below: &Trees,
    work: &Path,
    number: usize,
    limits: (&Usage, &Limits),
) -> Result<Completed> {
    if layer.needs_order {
        return Ok(Completed::NeedsOrder);
    }
    let tree = Root::open(&path.join("fs")).context("open the layer")?;
    let below = merged(below, work, number, layer.userxattr)?;
    Completion {
        tree,
        below,
        layer,
        limits,
        copied_bytes: Cell::default(),
        needless: BTreeSet::new(),
        above: Above::default(),
    }
    .run()
}

/// Opens the trees `below`, the lowest first, as one tree. The lowest layer has an empty directory below it,
/// which is made in `work`; `number` makes its name unique.
pub(super) fn merged(below: &Trees, work: &Path, number: usize, userxattr: bool) -> Result<Root> {
    match below.is_empty() {
        true => {
            let empty = work.join(format!("{number}.empty"));
            match std::fs::create_dir(&empty) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    Err(error).context("make an empty directory")
                }
                _ => Ok(Root::open(&empty)?),
            }
        }
        false => {
            Overlay { lowers: below, upper: None, userxattr, mapped: None, mounts: below.mounts() }.view()
        }
    }
}

struct Completion<'a> {
    /// The layer's own tree.
    tree: Root,
    /// The lower layers, merged.
    below: Root,
    layer: &'a SingleLayer,
    /// For files that are copied from below: hundreds of small layers could copy a large one.
    limits: (&'a Usage, &'a Limits),
    /// The bytes of such files.
    copied_bytes: Cell<u64>,
    /// Directories without an entry that the layers below do not have, or that an opaque directory above
    /// hides: they are removed if they are empty in the end.
    needless: BTreeSet<Vec<u8>>,
    /// The directories above the last path that was looked at.
    above: Above,
}

/// The directories above a path, by the ends of theirs in it, and whether what is in them is covered. Paths come in
/// their order, so that each directory is looked at once, however deep it is and however many are in it.
#[derive(Debug, Default)]
struct Above {
    path: Vec<u8>,
    ends: Vec<(usize, bool)>,
}

impl Above {
    /// Keeps those that are above `dir` too, or it.
    fn keep(&mut self, dir: &[u8]) {
        let shared = self.path.iter().zip(dir).take_while(|(one, other)| one == other).count();
        let is_above =
            |end: usize| end == 0 || end <= shared && dir.get(end).is_none_or(|&byte| byte == b'/');
        self.ends.retain(|&(end, _)| is_above(end));
        self.path = dir.to_vec();
    }
}

const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY);

impl Completion<'_> {
    fn run(mut self) -> Result<Completed> {
        let shown = |path: &[u8]| path.escape_ascii().to_string();
        for path in &self.layer.replaced_implied_dirs {
            if self.is_symlink_below(path).with_context(|| shown(path))? {
                return Ok(Completed::NeedsOrder);
            }
        }
        let mut copied = HashMap::new();
        for (path, target) in &self.layer.missing_links {
            let place = || format!("{}: link to \"{}\"", shown(path), shown(target));
            if self.make_link(path, target, &mut copied).with_context(place)? == Completed::NeedsOrder {
                return Ok(Completed::NeedsOrder);
            }
        }
        for path in &self.layer.implied_dirs {
            let place = || format!("directory {}", shown(path));
            if self.complete_dir(path).with_context(place)? == Completed::NeedsOrder {
                return Ok(Completed::NeedsOrder);
            }
        }
        if self.layer.has_whiteouts {
            self.remove_idle_whiteouts().context("whiteouts that hide nothing")?;
        }
        self.remove_needless_dirs()?;
        self.limits.0.add_bytes(self.copied_bytes.get(), self.limits.1)?;
        Ok(Completed::Done)
    }

    /// Gives a directory without an entry the attributes that it has in the layers below.
    fn complete_dir(&mut self, path: &[u8]) -> Result<Completed> {
        let Some(own) = open_path(&self.tree, path)? else { return Ok(Completed::NeedsOrder) };
        let below = find(&self.below, path)?;
        let kind = below.as_ref().map(|(_, stat)| stat.st_mode & libc::S_IFMT);
        if kind.is_some_and(|kind| kind != libc::S_IFDIR) {
            return Ok(Completed::NeedsOrder);
        }
        if kind.is_none() || self.is_covered(path)? {
            self.needless.insert(path.to_vec());
        }
        if let Some((dir, _)) = below {
            let from = open_dir(dir.as_fd(), &c_string(split(path).1)?)?;
            copy_attributes(from.as_fd(), own.as_fd())?;
        }
        Ok(Completed::Done)
    }

    fn is_symlink_below(&self, path: &[u8]) -> Result<bool> {
        let found = find(&self.below, path)?;
        Ok(found.is_some_and(|(_, stat)| stat.st_mode & libc::S_IFMT == libc::S_IFLNK))
    }

    /// Whether a directory above `path` is opaque in this layer.
    fn is_covered(&mut self, path: &[u8]) -> Result<bool> {
        if !self.layer.has_opaque_dirs() {
            return Ok(false);
        }
        let dir = split(path).0;
        self.above.keep(dir);
        let (mut last, mut is_covered) =
            self.above.ends.last().map_or((None, false), |&(end, is)| (Some(end), is));
        let mut here: Option<OwnedFd> = None;
        for end in [0].into_iter().chain(ends(dir)) {
            if last.is_some_and(|last| end <= last) {
                continue;
            }
            if !is_covered {
                let above = match here {
                    Some(here) => open_dir(here.as_fd(), &c_string(split(&dir[..end]).1)?)?,
                    None => open_path(&self.tree, &dir[..end])?.ok_or(Errno::ENOENT)?,
                };
                is_covered = self.layer.is_opaque(above.as_fd())?;
                here = Some(above);
            }
            last = Some(end);
            self.above.ends.push((end, is_covered));
        }
        Ok(is_covered)
    }

    /// Makes a hard link to a file of the layers below. A hard link cannot lead to another filesystem, so the
    /// file is copied to this layer for its first link, as overlayfs does it: under its own name too, if that
    /// is still seen, and all are one file. `copied` maps the path of a file to the path of its copy.
    fn make_link(
        &mut self,
        path: &[u8],
        target: &[u8],
        copied: &mut HashMap<Vec<u8>, Vec<u8>>,
    ) -> Result<Completed> {
        if path == target {
            // A link to itself changes nothing, if the file exists.
            let is_there = find(&self.below, target)?.is_some();
            return Ok(if is_there { Completed::Done } else { Completed::NeedsOrder });
        }
        let (above, name) = split(path);
        let (Some(into), Some((from, stat))) = (open_path(&self.tree, above)?, find(&self.below, target)?)
        else {
            return Ok(Completed::NeedsOrder);
        };
        let (name, last) = (c_string(name)?, c_string(split(target).1)?);
        if !copied.contains_key(target) && stat.st_mode & libc::S_IFMT == libc::S_IFREG {
            self.copied_bytes.set(self.copied_bytes.get().saturating_add(stat.st_size.cast_unsigned()));
        }
        if !copied.contains_key(target) && self.copy_up(target, &from, &stat)? {
            copied.insert(target.to_vec(), target.to_vec());
        }
        keeping_times(&into, || {
            if let Some(first) = copied.get(target) {
                let (above, last) = split(first);
                let from = self.tree.resolve(&c_string(above)?, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
                let last = c_string(last)?;
                return Ok(linkat(&from, last.as_c_str(), &into, name.as_c_str(), AtFlags::empty())?);
            }
            copy_file(from.as_fd(), &last, &stat, into.as_fd(), &name)?;
            copied.insert(target.to_vec(), path.to_vec());
            Ok(())
        })?;
        Ok(Completed::Done)
    }

    /// Copies the file `target` of the layers below, which is in `from`, to its own place in this layer.
    /// Returns false, with nothing copied, if this layer hides or replaces it.
    fn copy_up(&mut self, target: &[u8], from: &OwnedFd, found: &FileStat) -> Result<bool> {
        let (above, name) = split(target);
        let (Some(dir), name) = (self.own_dir(above)?, c_string(name)?) else { return Ok(false) };
        match stat(dir.as_fd(), &name) {
            Err(Errno::ENOENT) => {}
            other => return Ok(other.map(|_| false)?),
        }
        keeping_times(&dir, || copy_file(from.as_fd(), &name, found, dir.as_fd(), &name))?;
        Ok(true)
    }

    /// Opens the directory `path` of this layer, with what is missing made as it is below; None if this layer
    /// hides what the layers below have there.
    fn own_dir(&mut self, path: &[u8]) -> Result<Option<OwnedFd>> {
        if let Some(dir) = open_path(&self.tree, path)? {
            let covered = self.is_covered(&[path, b"x"].join(&b'/'))?;
            return Ok(Some(dir).filter(|_| !covered));
        }
        let mut dir = self.tree.resolve(c".", READ)?;
        let mut end = 0;
        for part in path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
            end += part.len();
            if self.layer.is_opaque(dir.as_fd())? {
                return Ok(None);
            }
            let name = c_string(part)?;
            dir = match open_dir(dir.as_fd(), &name) {
                Err(Errno::ENOENT) => self.make_as_below(&dir, &name, &path[..end])?,
                Err(Errno::ENOTDIR | Errno::ELOOP | Errno::ENXIO) => return Ok(None),
                found => found?,
            };
            end += 1;
        }
        Ok(if self.layer.is_opaque(dir.as_fd())? { None } else { Some(dir) })
    }

    /// Makes the directory `name` in `parent`, whose path is `path`, as the layers below have it.
    fn make_as_below(&self, parent: &OwnedFd, name: &CStr, path: &[u8]) -> Result<OwnedFd> {
        let below = open_path(&self.below, path)?.ok_or(Errno::ENOENT)?;
        keeping_times(parent, || Ok(mkdirat(parent, name, Mode::S_IRWXU)?))?;
        let made = open_dir(parent.as_fd(), name)?;
        copy_attributes(below.as_fd(), made.as_fd())?;
        Ok(made)
    }

    /// Removes the whiteouts of names that the layers below do not have in that directory.
    fn remove_idle_whiteouts(&self) -> Result<()> {
        let mut opaque: Option<Vec<u8>> = self.layer.hides_all.then(Vec::new);
        walk(&self.tree.resolve(c".", READ)?, &mut |found| {
            let is_covered = opaque.as_ref().is_some_and(|opaque| is_within(found.path, opaque));
            if is_whiteout(&found.stat) {
                if is_covered || find(&self.below, found.path)?.is_none() {
                    let dir = openat(found.dir, c".", READ, Mode::empty())?;
                    keeping_times(&dir, || Ok(unlinkat(&dir, found.name, UnlinkatFlags::NoRemoveDir)?))?;
                }
            } else if found.is_dir()
                && !is_covered
                && self.layer.is_opaque(open_dir(found.dir, found.name)?.as_fd())?
            {
                opaque = Some(found.path.to_vec());
            }
            Ok(true)
        })
    }

    /// Removes the directories that were made for whiteouts only.
    fn remove_needless_dirs(&self) -> Result<()> {
        for path in self.needless.iter().rev() {
            let (above, name) = split(path);
            let (Some(parent), name) = (open_path(&self.tree, above)?, c_string(name)?) else { continue };
            keeping_times(&parent, || match unlinkat(&parent, name.as_c_str(), UnlinkatFlags::RemoveDir) {
                Ok(()) | Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(()),
                Err(errno) => Err(errno.into()),
            })?;
        }
        Ok(())
    }
}

/// Changes the content of the directory `dir`, and restores its times, which come from the archive.
fn keeping_times(dir: &OwnedFd, change: impl FnOnce() -> Result<()>) -> Result<()> {
    let times = fstat(dir)?;
    change()?;
    Ok(set_times(dir.as_fd(), &times)?)
}
