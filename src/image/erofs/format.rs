//! The structures of an EROFS image on disk, as bytes: superblock, device slot, inode, chunk, directory entry.
//! The layout is that of Linux, fs/erofs/erofs_fs.h; all numbers are little end first.

use super::checksum::crc32c;

/// Block size in bytes: that of tar, so that the data of a file may begin wherever a tar archive has it.
/// KERNEL(6.4): older kernels take blocks of a page's size alone.
pub(super) const BLOCK: u64 = 512;
pub(super) const BLOCK_BITS: u8 = 9;
/// Where the superblock is.
const SUPERBLOCK_AT: usize = 1024;
/// Where the inodes begin: behind the block that holds superblock and device slot, and that the checksum covers.
pub(super) const INODES_AT: u64 = 1536;
/// Inodes stand at multiples of this; their number is the place divided by it.
pub(super) const SLOT: u64 = 32;
/// The block address of a hole.
pub(super) const HOLE: u32 = u32::MAX;
/// The number of the device that is the layer's archive.
pub(super) const ARCHIVE: u16 = 1;
/// The longest name of a file.
pub(super) const NAME_MAX: usize = 255;

const MAGIC: u32 = 0xe0f5_e1e2;
/// The superblock has a checksum; all times are modification times.
const COMPAT: u32 = 0x1 | 0x2;
/// Files may be made of chunks, and these may be on further devices.
const INCOMPAT: u32 = 0x4 | 0x8;

/// How the data of an inode is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// In blocks that follow each other.
    Plain = 0,
    /// The last block stands right behind the inode.
    Inline = 2,
    /// In chunks, whose addresses stand behind the inode.
    Chunks = 4,
}

/// An inode as it is written.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) layout: Layout,
    /// Type and permissions.
    pub(super) mode: u32,
    pub(super) links: u32,
    pub(super) size: u64,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: (i64, u32),
    /// The bytes of the extended attributes behind it, 0 or a multiple of 4 with their header.
    pub(super) xattr_bytes: usize,
    /// The first block, the device number, or the form of the chunks.
    pub(super) place: u32,
    /// Any number that no other inode has.
    pub(super) number: u32,
}

impl Inode {
    /// Whether the short form holds it: small numbers, and the time that the superblock has for all of them.
    pub(super) fn is_short(&self, epoch: (i64, u32)) -> bool {
        let limit = u32::from(u16::MAX);
        self.mtime == epoch
            && self.uid <= limit
            && self.gid <= limit
            && self.links <= limit
            && self.size <= u64::from(u32::MAX)
    }

    pub(super) fn bytes(&self, epoch: (i64, u32)) -> Vec<u8> {
        let is_short = self.is_short(epoch);
        let mut out = Vec::with_capacity(64);
        let xattrs = if self.xattr_bytes == 0 { 0 } else { (self.xattr_bytes - 12) / 4 + 1 };
        out.extend((u16::from(!is_short) | (self.layout as u16) << 1).to_le_bytes());
        out.extend((xattrs as u16).to_le_bytes());
        out.extend((self.mode as u16).to_le_bytes());
        if is_short {
            out.extend((self.links as u16).to_le_bytes());
            out.extend((self.size as u32).to_le_bytes());
            out.extend([0; 4]);
            out.extend(self.place.to_le_bytes());
            out.extend(self.number.to_le_bytes());
            out.extend((self.uid as u16).to_le_bytes());
            out.extend((self.gid as u16).to_le_bytes());
            out.extend([0; 4]);
        } else {
            out.extend([0; 2]);
            out.extend(self.size.to_le_bytes());
            out.extend(self.place.to_le_bytes());
            out.extend(self.number.to_le_bytes());
            out.extend(self.uid.to_le_bytes());
            out.extend(self.gid.to_le_bytes());
            out.extend(self.mtime.0.to_le_bytes());
            out.extend(self.mtime.1.to_le_bytes());
            out.extend(self.links.to_le_bytes());
            out.extend([0; 16]);
        }
        out
    }
}

/// What the superblock tells of the whole image.
#[derive(Debug, Default)]
pub(super) struct Superblock {
    pub(super) inodes: u64,
    pub(super) epoch: (i64, u32),
    /// Of this file.
    pub(super) blocks: u32,
    /// Of the archive.
    pub(super) archive_blocks: u32,
    /// The block where the shared extended attributes begin.
    pub(super) xattrs_at: u32,
    pub(super) uuid: [u8; 16],
}

impl Superblock {
    /// Everything up to the first inode.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; SUPERBLOCK_AT];
        out.extend(MAGIC.to_le_bytes());
        out.extend([0; 4]);
        out.extend(COMPAT.to_le_bytes());
        out.extend([BLOCK_BITS, 0]);
        out.extend(((INODES_AT / SLOT) as u16).to_le_bytes());
        out.extend(self.inodes.to_le_bytes());
        out.extend(self.epoch.0.to_le_bytes());
        out.extend(self.epoch.1.to_le_bytes());
        out.extend(self.blocks.to_le_bytes());
        // Inode numbers count from the beginning of the file.
        out.extend([0; 4]);
        out.extend(self.xattrs_at.to_le_bytes());
        out.extend(self.uuid);
        out.extend([0; 16]);
        out.extend(INCOMPAT.to_le_bytes());
        out.extend([0; 2]);
        out.extend(1_u16.to_le_bytes());
        // The device slot follows the superblock; its place is counted in slots of 128 bytes.
        out.extend(((SUPERBLOCK_AT as u16 + 128) / 128).to_le_bytes());
        out.resize(SUPERBLOCK_AT + 128, 0);
        out.extend([0; 64]);
        out.extend(self.archive_blocks.to_le_bytes());
        out.resize(INODES_AT as usize, 0);
        let sum = crc32c(!0, &out[SUPERBLOCK_AT..]);
        out[SUPERBLOCK_AT + 4..SUPERBLOCK_AT + 8].copy_from_slice(&sum.to_le_bytes());
        out
    }
}

/// The address of a chunk: a device and a block of it, or a hole.
pub(super) fn chunk(device: u16, block: u32) -> [u8; 8] {
    let ([a, b], [c, d, e, f]) = (device.to_le_bytes(), block.to_le_bytes());
    [0, 0, a, b, c, d, e, f]
}

/// The form of chunks of `BLOCK << bits` bytes, whose addresses have a device.
pub(super) fn chunk_form(bits: u8) -> u32 {
    u32::from(bits & 0x1f) | 0x20
}

/// The type of a file in a directory entry.
pub(super) fn file_type(mode: u32) -> u8 {
    match mode & libc::S_IFMT {
        libc::S_IFREG => 1,
        libc::S_IFDIR => 2,
        libc::S_IFCHR => 3,
        libc::S_IFBLK => 4,
        libc::S_IFIFO => 5,
        libc::S_IFSOCK => 6,
        libc::S_IFLNK => 7,
        _ => 0,
    }
}

/// A device number as inodes have it.
pub(super) fn device_number((major, minor): (u32, u32)) -> u32 {
    minor & 0xff | major << 8 | (minor & !0xff) << 12
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_sizes_of_the_format() {
        let mut inode = Inode {
            layout: Layout::Plain,
            mode: libc::S_IFREG | 0o644,
            links: 1,
            size: 5,
            uid: 0,
            gid: 0,
            mtime: (7, 0),
            xattr_bytes: 0,
            place: 0,
            number: 1,
        };
        assert_eq!(inode.bytes((7, 0)).len(), 32);
        assert_eq!(inode.bytes((8, 0)).len(), 64);
        inode.uid = 70_000;
        assert_eq!(inode.bytes((7, 0)).len(), 64);
        let head = Superblock::default().bytes();
        assert_eq!(head.len() as u64, INODES_AT);
        assert_eq!(head[1024..1028], [0xe2, 0xe1, 0xf5, 0xe0]);
    }

    #[test]
    fn device_numbers_are_packed_as_the_kernel_does() {
        assert_eq!(device_number((8, 1)), 0x801);
        assert_eq!(device_number((0xfff, 0xf_ffff)), 0xffff_ffff);
        assert_eq!(device_number((1, 256)), 0x10_0100);
    }
}
