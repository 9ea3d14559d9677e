//! `IndexBuilder`: applies the entries of a layer to its `LayerTree`, as `unpack::create_entry` applies them to
//! a directory.
//!
//! What is plain is done here. Whatever is not, because the kernel would have to judge it, or because the
//! layers below decide what it means, leaves the layer without an index (`NotPlain`): it is then unpacked to a
//! directory by the code that all other layers go through, which refuses it or gives it its meaning. So
//! nothing is taken here that is refused there.

use super::node::{Attributes, Content, Data, NodeId, ROOT};
use super::not_plain::NotPlain;
use super::tree::{LayerTree, NoDirectory};
use super::xattr_sets::{SetId, Xattr};
use super::{acl, format};
use crate::error::Result;
use crate::image::archive::path::{clean, ends, split};
use crate::image::archive::{Archive, Entry, EntryKind, Input};
use crate::image::filesystem::xattrs::SELINUX;
use crate::image::limits::MAX_INDEX_MEMORY;
use crate::image::unpack::entry_adapter::EntryAdapter;
use crate::image::unpack::layer::LayerTarget;
use crate::image::unpack::single_layer::SingleLayer;
use crate::image::unpack::whiteout::PSEUDOLINKS;

type Plain<T> = std::result::Result<T, NotPlain>;

/// The longest path that the kernel looks up, and the longest target of a symlink.
const PATH_MAX: usize = 4095;
/// The deepest directory. Paths through symlinks could make deeper ones than any path names.
const MAX_DEPTH: u32 = 1024;

/// The most bytes of extended attributes of a file: more than filesystems take, and less than the format does.
const XATTRS_MAX: usize = 64 << 10;

/// A directory without an entry of its own.
const IMPLIED: Attributes = Attributes { mode: 0o755, uid: 0, gid: 0, mtime: (0, 0), xattrs: 0 };

/// The tree of one layer, and what it needs of the layers below.
#[derive(Debug)]
pub(crate) struct LayerIndex {
    pub(super) tree: LayerTree,
    pub(crate) needs: SingleLayer,
    /// Whether the layer has an entry for the root.
    pub(crate) has_root_entry: bool,
}

/// Makes a [`LayerIndex`] of a layer's entries.
#[derive(Debug)]
pub(crate) struct IndexBuilder {
    adapter: EntryAdapter,
    index: LayerIndex,
    not_plain: Option<NotPlain>,
    has_pseudolinks: bool,
    implied_dirs: u64,
}

impl IndexBuilder {
    pub(crate) fn new(adapter: EntryAdapter) -> Self {
        let tree = LayerTree::new(IMPLIED);
        let index = LayerIndex { tree, needs: SingleLayer::new(false), has_root_entry: false };
        Self { adapter, index, not_plain: None, has_pseudolinks: false, implied_dirs: 0 }
    }

    /// The tree of the layer, all of whose entries were applied.
    ///
    /// # Errors
    ///
    /// If the layer must be unpacked to a directory.
    pub(crate) fn finish(self) -> Plain<LayerIndex> {
        match self.not_plain {
            Some(reason) => Err(reason),
            None if self.index.needs.needs_order => Err(NotPlain("its entries depend on their order")),
            None => Ok(self.index),
        }
    }

    /// Does `apply`, unless an earlier entry was not plain.
    fn note(&mut self, apply: impl FnOnce(&mut Self) -> Plain<()>) {
        if self.not_plain.is_some() {
            return;
        }
        let is_large = self.index.tree.bytes() > MAX_INDEX_MEMORY || self.index.needs.is_over_limit();
        let applied = if is_large { Err(NotPlain("it has too many files")) } else { apply(self) };
        if let Err(reason) = applied {
            self.not_plain = Some(reason);
            // Nothing of it is used any more.
            self.index.tree = LayerTree::new(IMPLIED);
        }
    }

    fn apply(&mut self, entry: &Entry, path: &[u8], data: u64) -> Plain<()> {
        if path.is_empty() {
            return self.apply_root(entry);
        }
        let (above, name) = split(path);
        check_name(name)?;
        check_path(path)?;
        let dir = self.open_or_create_dir(above)?;
        self.index.needs.record_entry(path);
        // A hard link to itself replaces nothing.
        if !matches!(entry.kind, EntryKind::Directory | EntryKind::HardLink) {
            self.index.needs.record_replaced(path);
        }
        match entry.kind {
            EntryKind::Directory => self.create_directory(entry, path, dir, name),
            EntryKind::HardLink => self.create_hard_link(entry, path, dir, name),
            _ => self.create_file(entry, dir, name, data),
        }
    }

    fn apply_root(&mut self, entry: &Entry) -> Plain<()> {
        if entry.kind != EntryKind::Directory {
            return Err(NotPlain("its root is no directory"));
        }
        self.index.tree.node_mut(ROOT).attributes = self.attributes(entry)?;
        self.index.has_root_entry = true;
        Ok(())
    }

    fn attributes(&mut self, entry: &Entry) -> Plain<Attributes> {
        check_time(entry.mtime.0)?;
        let (set, mode) = self.xattrs(entry)?;
        Ok(Attributes { mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime, xattrs: set })
    }

    /// The attributes of an entry that its file can have, and its mode, which an access list may change.
    fn xattrs(&mut self, entry: &Entry) -> Plain<(SetId, u32)> {
        let mut set = Vec::new();
        let mut mode = entry.mode;
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| name != SELINUX) {
            let is_for_some = name.starts_with(b"user.") || name.starts_with(b"system.");
            if is_for_some && !matches!(entry.kind, EntryKind::Regular | EntryKind::Directory) {
                if name.starts_with(b"system.") {
                    return Err(NotPlain("it has an access list where none can be"));
                }
                continue;
            }
            let name = self.index.needs.escape_xattr(name);
            match &name[..] {
                b"system.posix_acl_access" => match acl::check(value)? {
                    acl::Access::Mode(bits) => {
                        mode = mode & !0o777 | bits;
                        continue;
                    }
                    acl::Access::List(bits) => mode = mode & !0o777 | bits,
                },
                b"system.posix_acl_default" if entry.kind == EntryKind::Directory => {
                    acl::check(value).map(drop)?;
                }
                b"security.capability" if value.len() == 20 && value[3] == 2 => {}
                name if name.starts_with(b"system.") || name == b"security.capability" => {
                    return Err(NotPlain("it has an attribute that the kernel judges"));
                }
                _ => {}
            }
            set.push(Xattr::new(&name, value).ok_or(NotPlain("it has an unusual attribute"))?);
        }
        if set.iter().map(|xattr| xattr.len() + 4).sum::<usize>() > XATTRS_MAX {
            return Err(NotPlain("it has many attributes"));
        }
        Ok((self.index.tree.add_xattrs(set), mode))
    }

    /// Makes a file that is neither a directory nor a hard link, in the place of what has its name.
    fn create_file(&mut self, entry: &Entry, dir: NodeId, name: &[u8], data: u64) -> Plain<()> {
        let content = match entry.kind {
            EntryKind::Symlink => Content::Symlink(checked_target(&entry.link)?),
            EntryKind::CharDevice => Content::CharDevice(checked_device(entry.device)?),
            EntryKind::BlockDevice => Content::BlockDevice(checked_device(entry.device)?),
            EntryKind::Fifo => Content::Fifo,
            _ => Content::File {
                size: entry.size,
                data: match &entry.sparse {
                    Some(map) => Data::Sparse(data, Box::new(map.clone())),
                    None => Data::Archive(data),
                },
            },
        };
        let mut attributes = self.attributes(entry)?;
        if entry.kind == EntryKind::Symlink {
            attributes.mode = 0o777;
        }
        self.index.tree.remove(dir, name);
        self.index.tree.add(dir, name, attributes, content);
        Ok(())
    }

    fn create_directory(&mut self, entry: &Entry, path: &[u8], dir: NodeId, name: &[u8]) -> Plain<()> {
        let attributes = self.attributes(entry)?;
        let tree = &mut self.index.tree;
        match tree.child(dir, name) {
            Some(found) if tree.node(found).as_directory().is_some() => {
                tree.node_mut(found).attributes = attributes;
            }
            found => {
                check_depth(tree, dir)?;
                tree.remove(dir, name);
                let made = tree.add_directory(dir, name, attributes);
                if found.is_some() {
                    tree.make_opaque(made);
                }
            }
        }
        self.index.needs.record_dir_entry(path);
        Ok(())
    }

    fn create_hard_link(&mut self, entry: &Entry, path: &[u8], dir: NodeId, name: &[u8]) -> Plain<()> {
        let target = clean(&entry.link);
        check_path(&target)?;
        if target.is_empty() {
            return Err(NotPlain("it links to its root"));
        }
        let Some((from, last)) = self.find_link_target(&target)? else {
            if self.index.tree.child(dir, name).is_some() {
                return Err(NotPlain("its entries depend on their order"));
            }
            self.index.needs.defer_link(path, target);
            return Ok(());
        };
        let tree = &mut self.index.tree;
        let file = tree.child(from, &last).ok_or(NotPlain("it links to a file that is not there"))?;
        if matches!(tree.node(file).content, Content::Directory(_) | Content::Whiteout) {
            return Err(NotPlain("it links to what is no file"));
        }
        if (from, &last[..]) == (dir, name) {
            return Ok(());
        }
        self.index.needs.record_replaced(path);
        let tree = &mut self.index.tree;
        match tree.child(dir, name) {
            Some(found) if tree.node(found).as_directory().is_some() => {
                return Err(NotPlain("a link replaces a directory"));
            }
            Some(_) => tree.remove(dir, name),
            None => {}
        }
        tree.link(dir, name, file);
        Ok(())
    }

    /// Finds the directory and the name that a hard link leads to; None if the layers below may have it.
    fn find_link_target(&mut self, path: &[u8]) -> Plain<Option<(NodeId, Vec<u8>)>> {
        if self.index.needs.has_link(path) {
            return Ok(None);
        }
        let tree = &self.index.tree;
        let (above, last) = split(path);
        let dir = match tree.deepest(above) {
            (dir, None) => dir,
            (dir, Some(end)) => {
                let name = split(&above[..end]).1;
                if tree.is_symlink(dir, name) {
                    return Err(NotPlain("a path leads through a symlink"));
                }
                if tree.child(dir, name).is_some() || tree.is_covered(dir) {
                    return Err(NotPlain("it links to a file that is not there"));
                }
                return Ok(None);
            }
        };
        match tree.child(dir, last) {
            Some(_) => Ok(Some((dir, last.to_vec()))),
            None if tree.is_covered(dir) => Err(NotPlain("it links to a file that is not there")),
            None => Ok(None),
        }
    }

    /// Finds or makes the directory of a clean path.
    fn open_or_create_dir(&mut self, path: &[u8]) -> Plain<NodeId> {
        match self.index.tree.find_dir(path) {
            Ok(found) => return Ok(found),
            Err(NoDirectory::Links) => return Err(NotPlain("a path leads through a symlink")),
            Err(_) => {}
        }
        let (mut dir, first) = self.index.tree.deepest(path);
        for end in ends(path).filter(|&end| first.is_some_and(|first| end >= first)) {
            dir = self.create_dir(dir, &path[..end])?;
        }
        Ok(dir)
    }

    /// Makes a directory that has no entry, in the place of a file that is none.
    fn create_dir(&mut self, parent: NodeId, path: &[u8]) -> Plain<NodeId> {
        let name = split(path).1;
        check_name(name)?;
        let tree = &mut self.index.tree;
        check_depth(tree, parent)?;
        self.implied_dirs += 1;
        if tree.child(parent, name).is_some() {
            tree.remove(parent, name);
            let made = tree.add_directory(parent, name, IMPLIED);
            tree.make_opaque(made);
            return Ok(made);
        }
        if !tree.is_covered(parent) {
            self.index.needs.record_implied_dir(path);
        }
        Ok(tree.add_directory(parent, name, IMPLIED))
    }

    /// Finds or makes the directory of a whiteout; None if nothing of the layers below can be seen in it.
    fn open_or_imply_dir(&mut self, path: &[u8]) -> Plain<Option<NodeId>> {
        if let Ok(found) = self.index.tree.find_dir(path) {
            return Ok(Some(found));
        }
        let tree = &self.index.tree;
        let (mut dir, first) = tree.deepest(path);
        let name = split(&path[..first.unwrap_or(path.len())]).1;
        if tree.is_plain_file(dir, name) || tree.is_covered(dir) {
            return Ok(None);
        }
        if tree.is_symlink(dir, name) {
            return Err(NotPlain("a path leads through a symlink"));
        }
        for end in ends(path).filter(|&end| first.is_some_and(|first| end >= first)) {
            dir = self.create_dir(dir, &path[..end])?;
        }
        Ok(Some(dir))
    }

    fn whiteout(&mut self, parent: &[u8], name: &[u8]) -> Plain<()> {
        check_name(name)?;
        check_path(parent)?;
        let Some(dir) = self.open_or_imply_dir(parent)? else { return Ok(()) };
        let (tree, needs) = (&mut self.index.tree, &mut self.index.needs);
        if tree.is_covered(dir) {
            return Ok(());
        }
        needs.record_whiteout(&[parent, name].join(&b'/')[usize::from(parent.is_empty())..]);
        match tree.child(dir, name) {
            Some(found) => tree.make_opaque(found),
            None => {
                tree.add(dir, name, Attributes { mode: 0, ..IMPLIED }, Content::Whiteout);
                needs.has_whiteouts = true;
            }
        }
        Ok(())
    }

    fn opaque(&mut self, dir: &[u8]) -> Plain<()> {
        check_path(dir)?;
        let Some(dir) = self.open_or_imply_dir(dir)? else { return Ok(()) };
        self.index.needs.hides_all |= dir == ROOT;
        self.index.tree.make_opaque(dir);
        Ok(())
    }
}

impl LayerTarget for IndexBuilder {
    fn adapter(&self) -> &EntryAdapter {
        &self.adapter
    }

    fn apply_file<R: Input>(
        &mut self,
        archive: &mut Archive<R>,
        entry: &Entry,
        path: &[u8],
        is_pseudolink: bool,
    ) -> Result<()> {
        let data = archive.offset();
        self.has_pseudolinks |= is_pseudolink;
        self.note(|builder| builder.apply(entry, path, data));
        Ok(())
    }

    fn apply_opaque(&mut self, dir: &[u8]) -> Result<()> {
        self.note(|builder| builder.opaque(dir));
        Ok(())
    }

    fn apply_whiteout(&mut self, dir: &[u8], name: &[u8]) -> Result<()> {
        self.note(|builder| builder.whiteout(dir, name));
        Ok(())
    }

    fn end_entry(&mut self) -> Result<u64> {
        Ok(std::mem::take(&mut self.implied_dirs))
    }

    fn end_layer(&mut self) -> Result<()> {
        if self.has_pseudolinks {
            self.note(|builder| {
                builder.index.tree.remove(ROOT, PSEUDOLINKS);
                builder.index.needs.record_dir_entry(PSEUDOLINKS);
                Ok(())
            });
        }
        Ok(())
    }
}

fn check_name(name: &[u8]) -> Plain<()> {
    match name.len() <= format::NAME_MAX && !name.contains(&0) {
        true => Ok(()),
        false => Err(NotPlain("it has a name that no file can have")),
    }
}

/// Longer ones the kernel refuses to look up.
fn check_path(path: &[u8]) -> Plain<()> {
    match path.len() < PATH_MAX {
        true => Ok(()),
        false => Err(NotPlain("it has a path that is too long")),
    }
}

/// Checks that a directory may be made in `parent`.
fn check_depth(tree: &LayerTree, parent: NodeId) -> Plain<()> {
    match tree.depth(parent) < MAX_DEPTH {
        true => Ok(()),
        false => Err(NotPlain("its directories are too deep")),
    }
}

/// The times that ext4 knows, from 1901 to 2446 (34 bits); XFS and btrfs know more. Others the filesystem of an unpacked
/// layer brings nearer.
const TIMES: std::ops::RangeInclusive<i64> = -0x8000_0000..=0x3_7fff_ffff;

fn check_time(seconds: i64) -> Plain<()> {
    match TIMES.contains(&seconds) {
        true => Ok(()),
        false => Err(NotPlain("it has a time that not every filesystem knows")),
    }
}

fn checked_target(target: &[u8]) -> Plain<Box<[u8]>> {
    match !target.is_empty() && target.len() <= PATH_MAX && !target.contains(&0) {
        true => Ok(target.into()),
        false => Err(NotPlain("it has a symlink that no file can be")),
    }
}

fn checked_device(number: (u32, u32)) -> Plain<(u32, u32)> {
    match number.0 < 1 << 12 && number.1 < 1 << 20 {
        true => Ok(number),
        false => Err(NotPlain("it has a device of an unusual number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(names: &[Vec<u8>], link: &[u8]) -> Option<NotPlain> {
        let mut builder = IndexBuilder::new(EntryAdapter::default());
        for name in names {
            let kind = if link.is_empty() { EntryKind::Directory } else { EntryKind::HardLink };
            let entry = Entry { name: name.clone(), kind, link: link.to_vec(), ..Entry::default() };
            builder.note(|builder| builder.apply(&entry, name, 0));
        }
        builder.finish().err()
    }

    #[test]
    fn a_time_that_other_filesystems_change_gets_no_index() {
        for (seconds, is_plain) in [
            (0x3_7fff_ffff, true),
            (i64::from(i32::MIN), true),
            (0x3_8000_0000, false),
            (i64::from(i32::MIN) - 1, false),
            (i64::MAX, false),
            (i64::MIN, false),
        ] {
            for kind in [EntryKind::Directory, EntryKind::Regular, EntryKind::Symlink] {
                let mut builder = IndexBuilder::new(EntryAdapter::default());
                let (name, link) = (b"a".to_vec(), b"b".to_vec());
                let entry = Entry { name, kind, link, mtime: (seconds, 0), ..Entry::default() };
                builder.note(|builder| builder.apply(&entry, b"a", 0));
                assert_eq!(builder.finish().is_ok(), is_plain, "{seconds} {kind:?}");
            }
        }
    }

    #[test]
    fn what_the_kernel_would_have_to_judge_gets_no_index() {
        let path = |parts: usize| vec![&b"d"[..]; parts].join(&b'/');
        assert_eq!(reason(&[path(1000)], b""), None);
        assert!(reason(&[path(2048)], b"").is_some());
        assert!(reason(&[path(1200)], b"").is_some());
        assert!(reason(&[vec![b'n'; 256]], b"").is_some());
        assert!(reason(&[b"a\0b".to_vec()], b"").is_some());
        assert!(reason(&[b"l".to_vec()], &path(3000)).is_some());
        assert!(reason(&[b"l".to_vec()], b"/").is_some());
    }
}
