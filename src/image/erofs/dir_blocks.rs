//! The content of directories: blocks of entries, sorted by name, each block with its names behind its
//! entries.

use super::format::BLOCK;

/// What an entry takes besides its name.
const ENTRY: usize = 12;

/// One entry: a name, the number of an inode, and its type.
#[derive(Debug, Clone, Copy)]
pub(super) struct DirEntry<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: u64,
    pub(super) kind: u8,
}

/// Splits names, which are sorted, into blocks: calls `block` with how many come into each, and with the bytes
/// that they take there.
fn for_each_block<'a>(names: impl Iterator<Item = &'a [u8]>, mut block: impl FnMut(usize, usize)) {
    let (mut count, mut bytes) = (0, 0);
    for name in names {
        let size = ENTRY + name.len();
        if bytes + size > BLOCK as usize {
            block(count, bytes);
            (count, bytes) = (0, 0);
        }
        count += 1;
        bytes += size;
    }
    block(count, bytes);
}

/// The size of a directory with these names, sorted: its last block counts as far as it is used.
pub(super) fn size<'a>(names: impl Iterator<Item = &'a [u8]>) -> u64 {
    let (mut blocks, mut last) = (0, 0);
    for_each_block(names, |_, bytes| (blocks, last) = (blocks + 1, bytes as u64));
    (blocks - 1) * BLOCK + last
}

/// The content of a directory; `entries` are sorted.
pub(super) fn bytes(entries: &[DirEntry<'_>]) -> Vec<u8> {
    let (mut out, mut rest, mut end) = (Vec::new(), entries, 0);
    for_each_block(entries.iter().map(|entry| entry.name), |count, _| {
        // The block before is filled up.
        out.resize(end, 0);
        let (block, after) = rest.split_at(count);
        let mut name_at = ENTRY * count;
        for entry in block {
            out.extend(entry.inode.to_le_bytes());
            out.extend((name_at as u16).to_le_bytes());
            out.extend([entry.kind, 0]);
            name_at += entry.name.len();
        }
        block.iter().for_each(|entry| out.extend(entry.name));
        rest = after;
        end += BLOCK as usize;
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_fill_blocks_and_do_not_cross_them() {
        let names: Vec<Vec<u8>> = (0..7).map(|number| vec![b'a' + number; 100]).collect();
        let entries: Vec<_> = names.iter().map(|name| DirEntry { name, inode: 48, kind: 1 }).collect();
        // Four of 112 bytes fit into 512.
        let found = bytes(&entries);
        assert_eq!(found.len() as u64, size(names.iter().map(|name| &name[..])));
        assert_eq!(found.len(), 512 + 3 * 112);
        assert_eq!(found[8..10], 48_u16.to_le_bytes());
        assert_eq!(&found[48..50], b"aa");
        assert_eq!(&found[448..512], &[0; 64]);
        assert_eq!(&found[512 + 36..][..2], b"ee");
    }

    #[test]
    fn an_entry_of_the_longest_name_fits_into_a_block() {
        let names = [vec![b'a'; 255], vec![b'b'; 255]];
        assert_eq!(size(names.iter().map(|name| &name[..])), 512 + 267);
    }
}
