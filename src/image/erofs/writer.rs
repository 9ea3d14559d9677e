//! Writes an index: superblock, inodes, extended attributes, directories, copied data, from its first byte to
//! its last.

use std::io::{Seek, SeekFrom, Write};

use super::chunks::Chunks;
use super::dir_blocks::{self, DirEntry};
use super::format::{ARCHIVE, BLOCK, HOLE, Superblock, chunk, file_type};
use super::layout::{Plan, Tail};
use super::node::{Content, Data, Directory, NodeId, ROOT};
use super::tree::LayerTree;
use crate::error::{Context, Result};

/// Reads the bytes of regular files that are copied into the index.
pub(super) trait CopiedContent {
    /// Reads `data` of a file from its byte `from` on into `buffer`; what is in a hole or behind its end is zero.
    fn read(&mut self, data: &Data, from: u64, buffer: &mut [u8]) -> Result<()>;
}

/// How much is copied at a time.
const COPY_BYTES: usize = 64 << 10;

/// Writes the index of `tree` to the empty file `out`, and returns its size: blocks of zeros are left out, and
/// the last of them may be missing. `archive` is the size of the layer's archive.
///
/// # Errors
///
/// `Kind::Unsupported` for a layer that is too large; errors of `out` and of `content`.
pub(super) fn write(
    tree: &LayerTree,
    archive: u64,
    uuid: [u8; 16],
    out: &mut (impl Write + Seek),
    content: &mut impl CopiedContent,
) -> Result<u64> {
    let plan = Plan::new(tree, archive)?;
    let superblock = Superblock {
        inodes: plan.order.len() as u64,
        epoch: plan.epoch,
        blocks: plan.block_count,
        archive_blocks: u32::try_from(archive / BLOCK).unwrap_or(u32::MAX - 1),
        xattrs_at: plan.xattrs_at,
        uuid,
    };
    let mut writer = Writer { plan: &plan, tree, out, at: 0 };
    writer.put(&superblock.bytes())?;
    writer.write_inodes()?;
    writer.pad_to(plan.inodes_end)?;
    writer.put(plan.xattrs.shared())?;
    writer.pad_to(writer.at.next_multiple_of(BLOCK))?;
    writer.write_blocks(content)?;
    Ok(u64::from(plan.block_count) * BLOCK)
}

struct Writer<'a, W> {
    plan: &'a Plan,
    tree: &'a LayerTree,
    out: &'a mut W,
    at: u64,
}

impl<W: Write + Seek> Writer<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).context("write the layer's index")?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Writes zeros up to this byte, less than two blocks away.
    fn pad_to(&mut self, end: u64) -> Result<()> {
        let zeros = [0; 2 * BLOCK as usize];
        let count = usize::try_from(end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        self.put(zeros.get(..count).unwrap_or(&zeros))
    }

    /// Leaves `count` zeros out.
    fn skip(&mut self, count: usize) -> Result<()> {
        self.at += count as u64;
        self.out.seek(SeekFrom::Start(self.at)).map(drop).context("write the layer's index")
    }

    fn write_inodes(&mut self) -> Result<()> {
        for (position, &id) in self.plan.order.iter().enumerate() {
            self.pad_to(self.plan.place(id))?;
            let (inode, tail) = self.plan.inode_of(self.tree, id, position);
            self.put(&inode.bytes(self.plan.epoch))?;
            self.put(self.plan.xattrs.inline(self.tree.node(id).attributes.xattrs))?;
            match tail {
                Tail::Inline(_) => self.write_whole(id)?,
                Tail::Chunks(chunks) => {
                    self.pad_to(self.at.next_multiple_of(8))?;
                    self.write_addresses(id, chunks)?;
                }
                Tail::Nothing | Tail::Blocks(_) => {}
            }
        }
        Ok(())
    }

    /// Writes what is a node's content, in the index itself: of a directory its entries, of a link its target.
    fn write_whole(&mut self, id: NodeId) -> Result<()> {
        match &self.tree.node(id).content {
            Content::Symlink(target) => self.put(target),
            Content::Directory(directory) => self.put(&self.entries(id, directory)),
            _ => Ok(()),
        }
    }

    fn entries(&self, id: NodeId, directory: &Directory) -> Vec<u8> {
        let parent = if id == ROOT { ROOT } else { directory.parent };
        let own = [(&b"."[..], id), (b"..", parent)];
        let children = directory.children.iter().map(|(name, &child)| (&name[..], child));
        let entry = |(name, id): (_, NodeId)| {
            let kind = file_type(self.tree.node(id).kind());
            DirEntry { name, inode: self.plan.number(id), kind }
        };
        let mut entries: Vec<DirEntry<'_>> = own.into_iter().chain(children).map(entry).collect();
        entries.sort_unstable_by_key(|entry| entry.name);
        dir_blocks::bytes(&entries)
    }

    /// Writes the addresses of a file's chunks.
    fn write_addresses(&mut self, id: NodeId, chunks: Chunks) -> Result<()> {
        let Content::File { size, data } = &self.tree.node(id).content else { return Ok(()) };
        if !chunks.is_copied {
            return chunks.places(data).try_for_each(|place| match place {
                Some(place) => self.put(&chunk(ARCHIVE, (place / BLOCK) as u32)),
                None => self.put(&chunk(0, HOLE)),
            });
        }
        let mut block = self.plan.first_block(id);
        chunks.have_data(data).zip(0..).try_for_each(|(has_data, number)| {
            if !has_data {
                return self.put(&chunk(0, HOLE));
            }
            self.put(&chunk(0, block))?;
            block += chunk_bytes(chunks, *size, number).div_ceil(BLOCK) as u32;
            Ok(())
        })
    }

    fn write_blocks(&mut self, content: &mut impl CopiedContent) -> Result<()> {
        for (position, &id) in self.plan.order.iter().enumerate() {
            match self.plan.inode_of(self.tree, id, position).1 {
                Tail::Blocks(_) => self.write_whole(id)?,
                Tail::Chunks(chunks) if chunks.is_copied => self.write_copied(id, chunks, content)?,
                _ => continue,
            }
            self.pad_to(self.at.next_multiple_of(BLOCK))?;
        }
        Ok(())
    }

    /// Copies the data of a file.
    fn write_copied(&mut self, id: NodeId, chunks: Chunks, content: &mut impl CopiedContent) -> Result<()> {
        let Content::File { size, data } = &self.tree.node(id).content else { return Ok(()) };
        let mut buffer = vec![0; COPY_BYTES];
        for (number, _) in (0..).zip(chunks.have_data(data)).filter(|(_, has_data)| *has_data) {
            let mut from = number * chunks.size();
            let mut left = chunk_bytes(chunks, *size, number).next_multiple_of(BLOCK);
            while left > 0 {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(COPY_BYTES);
                let part = &mut buffer[..count];
                content.read(data, from, part)?;
                if part.iter().all(|&byte| byte == 0) {
                    self.skip(count)?;
                } else {
                    self.put(part)?;
                }
                from += count as u64;
                left -= count as u64;
            }
        }
        Ok(())
    }
}

/// How many bytes of the file chunk `number` has.
fn chunk_bytes(chunks: Chunks, size: u64, number: u64) -> u64 {
    (size - number * chunks.size()).min(chunks.size())
}
