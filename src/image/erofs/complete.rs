//! Completes the tree of a layer that depends on the layers below it, as `store::complete` does with one that is
//! unpacked: directories without an entry get the attributes that they have below, files of lower layers that
//! hard links name are copied up, and whiteouts that hide nothing go.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::AsFd;

use nix::fcntl::readlinkat;
use nix::sys::stat::{FileStat, major, minor};

use super::builder::LayerIndex;
use super::node::{Attributes, Content, Data, NodeId, ROOT};
use super::tree::LayerTree;
use super::xattr_sets::Xattr;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::archive::path::split;
use crate::image::filesystem::find::find;
use crate::image::filesystem::xattrs;
use crate::image::limits::{Limits, Usage};
use crate::inroot::{Root, c_string};

/// The outcome.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Completed {
    Done,
    /// The order of the layer's entries matters: the layer must be unpacked over the layers below.
    NeedsOrder,
}

/// Completes `index` over the merged layers `below`.
pub(crate) fn complete(index: &mut LayerIndex, below: &Root, limits: (&Usage, &Limits)) -> Result<Completed> {
    let mut completion = Completion {
        index,
        below,
        limits,
        copied_bytes: 0,
        needless: BTreeSet::new(),
        copied: HashMap::new(),
    };
    completion.run()
}

struct Completion<'a> {
    index: &'a mut LayerIndex,
    below: &'a Root,
    /// For files that are copied from below: hundreds of small layers could copy a large one.
    limits: (&'a Usage, &'a Limits),
    /// The bytes of such files.
    copied_bytes: u64,
    /// Directories without an entry that the layers below do not have, or that an opaque directory above
    /// hides: they are removed if they are empty in the end.
    needless: BTreeSet<Vec<u8>>,
    /// The copy of each file of the layers below that a hard link names.
    copied: HashMap<Vec<u8>, NodeId>,
}

impl Completion<'_> {
    fn run(&mut self) -> Result<Completed> {
        let shown = |path: &[u8]| path.escape_ascii().to_string();
        let needs = std::mem::take(&mut self.index.needs);
        for path in &needs.replaced_implied_dirs {
            let found = find(self.below, path).with_context(|| shown(path))?;
            if found.is_some_and(|(_, stat)| kind(&stat) == libc::S_IFLNK) {
                return Ok(Completed::NeedsOrder);
            }
        }
        for (path, target) in &needs.missing_links {
            let place = || format!("{}: link to \"{}\"", shown(path), shown(target));
            if self.make_link(path, target).with_context(place)? == Completed::NeedsOrder {
                return Ok(Completed::NeedsOrder);
            }
        }
        for path in &needs.implied_dirs {
            let place = || format!("directory {}", shown(path));
            if self.complete_dir(path).with_context(place)? == Completed::NeedsOrder {
                return Ok(Completed::NeedsOrder);
            }
        }
        if needs.has_whiteouts {
            self.remove_idle_whiteouts(ROOT, &mut Vec::new(), needs.hides_all)?;
        }
        self.remove_needless_dirs();
        self.index.needs.hides_all = needs.hides_all;
        self.limits.0.add_bytes(self.copied_bytes, self.limits.1)?;
        Ok(Completed::Done)
    }

    fn tree(&mut self) -> &mut LayerTree {
        &mut self.index.tree
    }

    /// Gives a directory without an entry the attributes that it has in the layers below.
    fn complete_dir(&mut self, path: &[u8]) -> Result<Completed> {
        let Some(own) = self.index.tree.find_own_dir(path) else { return Ok(Completed::NeedsOrder) };
        let below = find(self.below, path)?;
        if below.as_ref().is_some_and(|(_, stat)| kind(stat) != libc::S_IFDIR) {
            return Ok(Completed::NeedsOrder);
        }
        let parent = self.index.tree.find_own_dir(split(path).0);
        if below.is_none() || parent.is_some_and(|parent| self.index.tree.is_covered(parent)) {
            self.needless.insert(path.to_vec());
        }
        if let Some((dir, stat)) = below {
            let attributes = self.attributes_below(&dir, path, &stat)?;
            self.tree().node_mut(own).attributes = attributes;
        }
        Ok(Completed::Done)
    }

    /// The attributes of the file `path` of the layers below, which is in `dir`.
    fn attributes_below(&mut self, dir: &impl AsFd, path: &[u8], stat: &FileStat) -> Result<Attributes> {
        let name = c_string(split(path).1)?;
        let mut all = xattrs::read_by_name(dir.as_fd(), &name, None)?;
        all.retain(|(name, _)| !xattrs::is_overlay_mark(name));
        let unusual = |name: &[u8]| fail!(Kind::Unsupported, "extended attribute {}", name.escape_ascii());
        let set = all.iter().map(|(name, value)| Xattr::new(name, value).ok_or_else(|| unusual(name)));
        let xattrs = set.collect::<Result<Vec<_>>>()?;
        Ok(Attributes {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or_default()),
            xattrs: self.tree().add_xattrs(xattrs),
        })
    }

    /// Makes a hard link to a file of the layers below. A hard link cannot lead to another filesystem, so the
    /// file is copied to this layer for its first link, as overlayfs does it: under its own name too, if that
    /// is still seen, and all are one file.
    fn make_link(&mut self, path: &[u8], target: &[u8]) -> Result<Completed> {
        if path == target {
            // A link to itself changes nothing, if the file exists.
            let is_there = find(self.below, target)?.is_some();
            return Ok(if is_there { Completed::Done } else { Completed::NeedsOrder });
        }
        let (above, name) = split(path);
        let into =
            self.index.tree.find_own_dir(above).filter(|&dir| self.index.tree.child(dir, name).is_none());
        let (Some(into), Some((from, stat))) = (into, find(self.below, target)?) else {
            return Ok(Completed::NeedsOrder);
        };
        if let Some(&copy) = self.copied.get(target) {
            self.tree().link(into, name, copy);
            return Ok(Completed::Done);
        }
        let Some(content) = content_below(&from, target, &stat)? else { return Ok(Completed::NeedsOrder) };
        if let Content::File { size, .. } = content {
            self.copied_bytes = self.copied_bytes.saturating_add(size);
        }
        let attributes = self.attributes_below(&from, target, &stat)?;
        let copy = self.tree().add(into, name, attributes, content);
        self.copied.insert(target.to_vec(), copy);
        let own_name = split(target).1;
        if let Some(dir) = self.own_dir(split(target).0)?
            && self.index.tree.child(dir, own_name).is_none()
        {
            self.tree().link(dir, own_name, copy);
        }
        Ok(Completed::Done)
    }

    /// Finds the directory `path` of this layer, with what is missing made as it is below; None if this layer
    /// hides what the layers below have there.
    fn own_dir(&mut self, path: &[u8]) -> Result<Option<NodeId>> {
        let mut here = ROOT;
        for prefix in super::tree::prefixes(path) {
            if self.index.tree.is_covered(here) {
                return Ok(None);
            }
            let name = split(prefix).1;
            here = match self.index.tree.child(here, name) {
                Some(found) if self.index.tree.node(found).as_directory().is_some() => found,
                Some(_) => return Ok(None),
                None => {
                    let Some((dir, stat)) = find(self.below, prefix)? else { return Ok(None) };
                    let attributes = self.attributes_below(&dir, prefix, &stat)?;
                    self.tree().add_directory(here, name, attributes)
                }
            };
        }
        Ok(if self.index.tree.is_covered(here) { None } else { Some(here) })
    }

    /// Removes the whiteouts of names that the layers below do not have in that directory.
    fn remove_idle_whiteouts(&mut self, dir: NodeId, path: &mut Vec<u8>, is_covered: bool) -> Result<()> {
        let Some(directory) = self.index.tree.node(dir).as_directory() else { return Ok(()) };
        let is_covered = is_covered || directory.is_opaque;
        let all: Vec<(Vec<u8>, NodeId)> =
            directory.children.iter().map(|(name, &id)| (name.to_vec(), id)).collect();
        let length = path.len();
        for (name, id) in all {
            if length > 0 {
                path.push(b'/');
            }
            path.extend(&name);
            match &self.index.tree.node(id).content {
                Content::Whiteout if is_covered || find(self.below, path)?.is_none() => {
                    self.tree().remove(dir, &name);
                }
                Content::Directory(_) => self.remove_idle_whiteouts(id, path, is_covered)?,
                _ => {}
            }
            path.truncate(length);
        }
        Ok(())
    }

    /// Removes the directories that were made for whiteouts only.
    fn remove_needless_dirs(&mut self) {
        for path in self.needless.iter().rev() {
            let (above, name) = split(path);
            let tree = &mut self.index.tree;
            let is_empty = |id: NodeId| tree.node(id).as_directory().is_some_and(|it| it.children.is_empty());
            if tree.find_own_dir(path).is_some_and(is_empty)
                && let Some(parent) = tree.find_own_dir(above)
            {
                tree.remove(parent, name);
            }
        }
    }
}

fn kind(stat: &FileStat) -> u32 {
    stat.st_mode & libc::S_IFMT
}

/// What the file `path` of the layers below is, which is in `dir`; None for what cannot be linked to.
fn content_below(dir: &impl AsFd, path: &[u8], stat: &FileStat) -> Result<Option<Content>> {
    let number = || (major(stat.st_rdev) as u32, minor(stat.st_rdev) as u32);
    Ok(Some(match kind(stat) {
        libc::S_IFREG => Content::File {
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            data: Data::Below(path.into()),
        },
        libc::S_IFLNK => {
            let target = readlinkat(dir, c_string(split(path).1)?.as_c_str())?;
            Content::Symlink(std::os::unix::ffi::OsStringExt::into_vec(target).into())
        }
        libc::S_IFCHR => Content::CharDevice(number()),
        libc::S_IFBLK => Content::BlockDevice(number()),
        libc::S_IFIFO => Content::Fifo,
        _ => return Ok(None),
    }))
}
