//! `LayerTree`: the files of one layer in memory, before its index is written. It holds names, attributes and
//! where data is; never data.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::node::{Attributes, Content, Data, Directory, Node, NodeId, ROOT};
use super::xattr_sets::{SetId, TRUSTED, Xattr, XattrSets};
use crate::image::archive::path::{clean, ends, first_missing, split};
use crate::inroot::MAX_SYMLINKS;

/// The tree of a layer; its root is always there.
#[derive(Debug)]
pub(crate) struct LayerTree {
    nodes: Vec<Node>,
    pub(super) xattrs: XattrSets,
    /// About how many bytes it takes.
    bytes: usize,
}

/// Why a path leads to no directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoDirectory {
    Missing,
    OtherFile,
    /// Symlinks lead in a circle, or one of them leads nowhere.
    Links,
}

/// What an entry takes besides its names: its node, and its part of the map of its directory.
const ENTRY_BYTES: usize = size_of::<Node>() + 48;

impl LayerTree {
    /// A tree with a root of these attributes.
    pub(super) fn new(root: Attributes) -> Self {
        let mut tree = Self { nodes: Vec::new(), xattrs: XattrSets::default(), bytes: 0 };
        tree.nodes.push(Node { attributes: root, links: 2, content: directory(ROOT, 0) });
        tree
    }

    /// About how many bytes of memory the tree takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many nodes it has, those included that are no longer in it.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    #[allow(clippy::indexing_slicing)] // ids come from `add` alone, and no node is ever taken away
    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }

    #[allow(clippy::indexing_slicing)] // as above
    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id as usize]
    }

    /// How many directories are above a directory.
    pub(super) fn depth(&self, dir: NodeId) -> u32 {
        self.node(dir).as_directory().map_or(0, |directory| directory.depth)
    }

    pub(super) fn add_xattrs(&mut self, set: Vec<Xattr>) -> SetId {
        let (id, bytes) = self.xattrs.add(set);
        self.bytes += bytes;
        id
    }

    pub(super) fn child(&self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        self.node(dir).as_directory()?.children.get(name).copied()
    }

    /// Whether the name is in `dir` as something other than a directory or a symlink.
    pub(super) fn is_plain_file(&self, dir: NodeId, name: &[u8]) -> bool {
        self.child(dir, name)
            .is_some_and(|id| !matches!(self.node(id).content, Content::Directory(_) | Content::Symlink(_)))
    }

    pub(super) fn is_symlink(&self, dir: NodeId, name: &[u8]) -> bool {
        self.child(dir, name).is_some_and(|id| matches!(self.node(id).content, Content::Symlink(_)))
    }

    /// Puts a new file into `dir`, where nothing has its name.
    pub(super) fn add(
        &mut self,
        dir: NodeId,
        name: &[u8],
        attributes: Attributes,
        content: Content,
    ) -> NodeId {
        let id = self.nodes.len() as NodeId;
        let is_directory = matches!(content, Content::Directory(_));
        self.bytes += ENTRY_BYTES;
        self.bytes += match &content {
            Content::Symlink(target) => target.len(),
            Content::File { data: Data::Sparse(_, map), .. } => 16 * map.ranges.len(),
            _ => 0,
        };
        self.nodes.push(Node { attributes, links: if is_directory { 2 } else { 1 }, content });
        self.insert(dir, name, id);
        if is_directory {
            self.node_mut(dir).links += 1;
        }
        id
    }

    /// Puts a new directory into `dir`.
    pub(super) fn add_directory(&mut self, dir: NodeId, name: &[u8], attributes: Attributes) -> NodeId {
        self.add(dir, name, attributes, directory(dir, self.depth(dir) + 1))
    }

    /// Gives the file `id`, which is no directory, a further name.
    pub(super) fn link(&mut self, dir: NodeId, name: &[u8], id: NodeId) {
        self.node_mut(id).links += 1;
        self.insert(dir, name, id);
    }

    fn insert(&mut self, dir: NodeId, name: &[u8], id: NodeId) {
        self.bytes += name.len() + 32;
        if let Content::Directory(directory) = &mut self.node_mut(dir).content {
            directory.children.insert(name.into(), id);
        }
    }

    /// Removes a name, and everything below it.
    pub(super) fn remove(&mut self, dir: NodeId, name: &[u8]) {
        let Content::Directory(directory) = &mut self.node_mut(dir).content else { return };
        let Some(gone) = directory.children.remove(name) else { return };
        if self.node(gone).as_directory().is_some() {
            self.node_mut(dir).links -= 1;
        }
        let mut left = vec![gone];
        while let Some(id) = left.pop() {
            let node = self.node_mut(id);
            node.links = node.links.saturating_sub(1);
            if let Content::Directory(directory) = &mut node.content {
                left.extend(std::mem::take(&mut directory.children).into_values());
            }
        }
    }

    /// Marks a directory as opaque.
    pub(super) fn make_opaque(&mut self, dir: NodeId) {
        if let Content::Directory(directory) = &mut self.node_mut(dir).content {
            directory.is_opaque = true;
        }
    }

    /// Gives opaque directories the attribute that overlayfs knows them by. The root needs none: what it hides
    /// is not mounted.
    pub(super) fn mark_opaque_dirs(&mut self) {
        for id in 1..self.nodes.len() as NodeId {
            let node = self.node(id);
            if node.as_directory().is_some_and(|directory| directory.is_opaque) {
                let mark = Xattr { prefix: TRUSTED, name: b"overlay.opaque".to_vec(), value: b"y".to_vec() };
                let mut set = self.xattrs.get(node.attributes.xattrs).to_vec();
                set.retain(|xattr| (xattr.prefix, &xattr.name) != (mark.prefix, &mark.name));
                set.push(mark);
                self.node_mut(id).attributes.xattrs = self.add_xattrs(set);
            }
        }
    }

    /// Whether nothing of the layers below is seen in `dir`: it or one above it is opaque.
    pub(super) fn is_covered(&self, mut dir: NodeId) -> bool {
        while let Some(directory) = self.node(dir).as_directory() {
            if directory.is_opaque {
                return true;
            }
            if dir == ROOT {
                break;
            }
            dir = directory.parent;
        }
        false
    }

    /// Finds the directory of a clean path; symlinks on the way are followed inside the tree.
    pub(super) fn find_dir(&self, path: &[u8]) -> Result<NodeId, NoDirectory> {
        let mut left: Vec<Vec<u8>> = components(path);
        let (mut here, mut links) = (ROOT, 0);
        while let Some(name) = left.pop() {
            if name == b".." {
                here = self.node(here).as_directory().map_or(ROOT, |directory| directory.parent);
                continue;
            }
            let missing = if links == 0 { NoDirectory::Missing } else { NoDirectory::Links };
            let found = self.child(here, &name).ok_or(missing)?;
            match &self.node(found).content {
                Content::Directory(_) => here = found,
                Content::Symlink(target) => {
                    links += 1;
                    if links > MAX_SYMLINKS {
                        return Err(NoDirectory::Links);
                    }
                    if target.starts_with(b"/") {
                        here = ROOT;
                    }
                    left.extend(components(target));
                }
                _ if links == 0 => return Err(NoDirectory::OtherFile),
                _ => return Err(NoDirectory::Links),
            }
        }
        Ok(here)
    }

    /// The deepest directory on a clean path, and the end of the prefix behind it that is none.
    pub(super) fn deepest(&self, path: &[u8]) -> (NodeId, Option<usize>) {
        let is_there = |prefix: &[u8]| Ok::<_, Infallible>(self.find_dir(prefix).is_ok());
        let Ok(first) = first_missing(path, is_there);
        let above = first.map_or(path, |end| split(&path[..end]).0);
        (self.find_dir(above).unwrap_or(ROOT), first)
    }

    /// Finds the directory of a clean path without following symlinks.
    pub(super) fn find_own_dir(&self, path: &[u8]) -> Option<NodeId> {
        let mut here = ROOT;
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            here = self.child(here, name).filter(|&id| self.node(id).as_directory().is_some())?;
        }
        Some(here)
    }
}

/// An empty directory in `parent`.
fn directory(parent: NodeId, depth: u32) -> Content {
    Content::Directory(Box::new(Directory { parent, depth, children: BTreeMap::new(), is_opaque: false }))
}

/// The components of a path, the last one first; `..` stays, because a symlink may stand before it.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.rev().map(<[u8]>::to_vec).collect()
}

/// Every prefix of a clean path that is a path itself, the shortest first.
pub(super) fn prefixes(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    debug_assert_eq!(clean(path), path);
    ends(path).map(|end| &path[..end]).filter(|prefix| !prefix.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTRIBUTES: Attributes = Attributes { mode: 0o755, uid: 0, gid: 0, mtime: (0, 0), xattrs: 0 };

    fn link(target: &str) -> Content {
        Content::Symlink(target.as_bytes().into())
    }

    #[test]
    fn symlinks_are_followed_inside_the_tree() {
        let mut tree = LayerTree::new(ATTRIBUTES);
        let usr = tree.add_directory(ROOT, b"usr", ATTRIBUTES);
        let lib = tree.add_directory(usr, b"lib", ATTRIBUTES);
        tree.add(ROOT, b"lib", ATTRIBUTES, link("/usr/lib"));
        tree.add(lib, b"up", ATTRIBUTES, link("../../../.."));
        tree.add(ROOT, b"loop", ATTRIBUTES, link("loop"));
        tree.add(ROOT, b"nowhere", ATTRIBUTES, link("missing"));
        tree.add(ROOT, b"pipe", ATTRIBUTES, Content::Fifo);
        assert_eq!(tree.find_dir(b"lib"), Ok(lib));
        assert_eq!(tree.find_dir(b"lib/up/usr"), Ok(usr));
        assert_eq!(tree.find_dir(b"loop/x"), Err(NoDirectory::Links));
        assert_eq!(tree.find_dir(b"nowhere"), Err(NoDirectory::Links));
        assert_eq!(tree.find_dir(b"usr/x"), Err(NoDirectory::Missing));
        assert_eq!(tree.find_dir(b"pipe/x"), Err(NoDirectory::OtherFile));
        assert_eq!(tree.find_own_dir(b"lib"), None);
        assert_eq!(tree.find_own_dir(b"usr/lib"), Some(lib));
    }

    #[test]
    fn names_are_counted() {
        let mut tree = LayerTree::new(ATTRIBUTES);
        let dir = tree.add_directory(ROOT, b"d", ATTRIBUTES);
        let file = tree.add(dir, b"a", ATTRIBUTES, Content::Fifo);
        tree.link(ROOT, b"b", file);
        assert_eq!((tree.node(ROOT).links, tree.node(file).links), (3, 2));
        tree.remove(ROOT, b"d");
        assert_eq!((tree.node(ROOT).links, tree.node(file).links), (2, 1));
        assert_eq!(tree.child(ROOT, b"b"), Some(file));
    }

    #[test]
    fn what_is_in_an_opaque_directory_is_covered() {
        let mut tree = LayerTree::new(ATTRIBUTES);
        let dir = tree.add_directory(ROOT, b"d", ATTRIBUTES);
        let below = tree.add_directory(dir, b"e", ATTRIBUTES);
        assert!(!tree.is_covered(below));
        tree.make_opaque(dir);
        assert!(tree.is_covered(below) && tree.is_covered(dir) && !tree.is_covered(ROOT));
    }
}
