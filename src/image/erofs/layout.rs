//! Decides where everything of an index stands, before any of it is written: the inodes with what follows
//! them, the shared extended attributes, the blocks of directories and long links, the copied data.

use std::collections::HashMap;

use super::chunks::Chunks;
use super::dir_blocks;
use super::format::{BLOCK, INODES_AT, Inode, Layout, SLOT, chunk_form, device_number};
use super::node::{Content, Directory, Node, NodeId, ROOT};
use super::tree::LayerTree;
use super::xattr_table::XattrTable;
use crate::error::{Kind, Result};
use crate::fail;

/// The place of everything.
#[derive(Debug)]
pub(super) struct Plan {
    /// The nodes in the order of their inodes.
    pub(super) order: Vec<NodeId>,
    /// Where the inode of each node is; 0 for a node that is no longer in the tree.
    places: Vec<u64>,
    /// The first block of what does not stand behind its inode: of directories, links and copied data.
    blocks: HashMap<NodeId, u32>,
    /// The time that most files have.
    pub(super) epoch: (i64, u32),
    pub(super) xattrs: XattrTable,
    /// Where the inodes end.
    pub(super) inodes_end: u64,
    /// The block where the shared extended attributes begin.
    pub(super) xattrs_at: u32,
    /// The blocks of the whole index.
    pub(super) block_count: u32,
    /// The size of the archive.
    archive: u64,
}

/// What stands behind an inode and its extended attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    Nothing,
    /// The whole content, which fits into a block with the inode, of this many bytes.
    Inline(u64),
    /// Nothing: the content, of this many bytes, is in blocks of its own.
    Blocks(u64),
    Chunks(Chunks),
}

impl Plan {
    /// Plans the index of a tree whose archive has `archive` bytes.
    ///
    /// # Errors
    ///
    /// `Kind::Unsupported` if it is larger than the format can tell.
    pub(super) fn new(tree: &LayerTree, archive: u64) -> Result<Self> {
        let order = breadth_first(tree);
        let xattrs = XattrTable::new(&tree.xattrs, order.iter().map(|&id| tree.node(id).attributes.xattrs));
        let mut plan = Self {
            epoch: most_common_time(tree, &order),
            order,
            places: vec![0; tree.len()],
            blocks: HashMap::new(),
            xattrs,
            inodes_end: 0,
            xattrs_at: 0,
            block_count: 0,
            archive,
        };
        plan.place_inodes(tree);
        plan.place_blocks(tree)?;
        Ok(plan)
    }

    /// Where the inode of a node is.
    pub(super) fn place(&self, id: NodeId) -> u64 {
        self.places.get(id as usize).copied().unwrap_or_default()
    }

    /// The number by which directories name the inode of a node.
    pub(super) fn number(&self, id: NodeId) -> u64 {
        self.place(id) / SLOT
    }

    /// The first block of a node's directory, link or copied data.
    pub(super) fn first_block(&self, id: NodeId) -> u32 {
        self.blocks.get(&id).copied().unwrap_or_default()
    }

    /// What stands behind the inode of a node.
    fn tail(&self, node: &Node) -> Tail {
        let whole = match &node.content {
            Content::Directory(directory) => dir_blocks::size(names(directory).into_iter()),
            Content::Symlink(target) => target.len() as u64,
            Content::File { size: 0, .. } => return Tail::Nothing,
            Content::File { size, data } => return Tail::Chunks(Chunks::of(data, *size, self.archive)),
            _ => return Tail::Nothing,
        };
        let fits = self.head(node) % BLOCK + whole <= BLOCK && whole <= BLOCK - SLOT;
        if fits { Tail::Inline(whole) } else { Tail::Blocks(whole) }
    }

    /// The size of a node's inode with its extended attributes.
    fn head(&self, node: &Node) -> u64 {
        let inode = if self.is_short(node) { 32 } else { 64 };
        inode + self.xattrs.inline_size(node.attributes.xattrs) as u64
    }

    /// Whether the inode of a node has the short form.
    fn is_short(&self, node: &Node) -> bool {
        self.inode(node, 0, Layout::Plain, 0, 0).is_short(self.epoch)
    }

    /// Makes the inode of a node.
    fn inode(&self, node: &Node, size: u64, layout: Layout, place: u32, number: u32) -> Inode {
        let size = match &node.content {
            Content::File { size, .. } => *size,
            _ => size,
        };
        let attributes = &node.attributes;
        Inode {
            layout,
            mode: node.kind() | attributes.mode,
            links: node.links,
            size,
            uid: attributes.uid,
            gid: attributes.gid,
            mtime: attributes.mtime,
            xattr_bytes: self.xattrs.inline_size(attributes.xattrs),
            place,
            number,
        }
    }

    /// The inode of the node `id`, which is the one at `position` of the order, and its tail.
    pub(super) fn inode_of(&self, tree: &LayerTree, id: NodeId, position: usize) -> (Inode, Tail) {
        let node = tree.node(id);
        let tail = self.tail(node);
        let (layout, size, place) = match (tail, &node.content) {
            (Tail::Inline(size), _) => (Layout::Inline, size, 0),
            (Tail::Blocks(size), _) => (Layout::Plain, size, self.first_block(id)),
            (Tail::Chunks(chunks), _) => (Layout::Chunks, 0, chunk_form(chunks.bits)),
            (_, Content::CharDevice(number) | Content::BlockDevice(number)) => {
                (Layout::Plain, 0, device_number(*number))
            }
            (Tail::Nothing, _) => (Layout::Plain, 0, 0),
        };
        (self.inode(node, size, layout, place, position as u32 + 1), tail)
    }

    fn place_inodes(&mut self, tree: &LayerTree) {
        let mut at = INODES_AT;
        for id in self.order.clone() {
            let node = tree.node(id);
            let head = self.head(node);
            let behind = match self.tail(node) {
                Tail::Inline(size) => {
                    // It must not cross a block.
                    if (at + head) % BLOCK + size > BLOCK {
                        at = at.next_multiple_of(BLOCK);
                    }
                    size
                }
                Tail::Chunks(chunks) => (at + head).next_multiple_of(8) - (at + head) + 8 * chunks.count,
                Tail::Nothing | Tail::Blocks(_) => 0,
            };
            if let Some(place) = self.places.get_mut(id as usize) {
                *place = at;
            }
            at = (at + head + behind).next_multiple_of(SLOT);
        }
        self.inodes_end = at.next_multiple_of(BLOCK);
    }

    fn place_blocks(&mut self, tree: &LayerTree) -> Result<()> {
        let too_large = || fail!(Kind::Unsupported, "its index would be larger than two terabytes");
        let block =
            |number: u64| u32::try_from(number).ok().filter(|&it| it < u32::MAX).ok_or_else(too_large);
        self.xattrs_at = block(self.inodes_end / BLOCK)?;
        let mut next = self.inodes_end / BLOCK + (self.xattrs.shared().len() as u64).div_ceil(BLOCK);
        for id in self.order.clone() {
            let node = tree.node(id);
            let count = match (self.tail(node), &node.content) {
                (Tail::Blocks(size), _) => size.div_ceil(BLOCK),
                (Tail::Chunks(chunks), Content::File { size, data }) if chunks.is_copied => {
                    copied_blocks(chunks, *size, chunks.have_data(data))
                }
                _ => continue,
            };
            self.blocks.insert(id, block(next)?);
            next += count;
        }
        self.block_count = block(next)?;
        Ok(())
    }
}

/// How many blocks the chunks with data take; the last one of a file counts as far as the file goes.
fn copied_blocks(chunks: Chunks, size: u64, have_data: impl Iterator<Item = bool>) -> u64 {
    let of_chunk = |number: u64| (size - number * chunks.size()).min(chunks.size()).div_ceil(BLOCK);
    have_data.zip(0..).filter(|(has, _)| *has).map(|(_, number)| of_chunk(number)).sum()
}

/// The names in a directory, with its own two, sorted.
fn names(directory: &Directory) -> Vec<&[u8]> {
    let mut all: Vec<&[u8]> = directory.children.keys().map(|name| &name[..]).collect();
    all.extend([&b"."[..], b".."]);
    all.sort_unstable();
    all
}

/// The nodes that are in the tree, the root first, and those of a directory together.
fn breadth_first(tree: &LayerTree) -> Vec<NodeId> {
    let mut order = vec![ROOT];
    let mut seen = vec![false; tree.len()];
    let mut next = 0;
    while let Some(&id) = order.get(next) {
        next += 1;
        let Some(directory) = tree.node(id).as_directory() else { continue };
        for &child in directory.children.values() {
            // A file of several names is met several times.
            if let Some(seen) = seen.get_mut(child as usize)
                && !std::mem::replace(seen, true)
            {
                order.push(child);
            }
        }
    }
    order
}

/// The time that more than half of the files have, if there is one (Boyer and Moore's vote).
fn most_common_time(tree: &LayerTree, order: &[NodeId]) -> (i64, u32) {
    let (mut winner, mut votes) = ((0, 0), 0_u64);
    for &id in order {
        let time = tree.node(id).attributes.mtime;
        match votes {
            0 => (winner, votes) = (time, 1),
            _ if time == winner => votes += 1,
            _ => votes -= 1,
        }
    }
    winner
}
