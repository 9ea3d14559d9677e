//! `Node`: one file of a layer, as an index has it.

use std::collections::BTreeMap;

use super::xattr_sets::SetId;
use crate::image::archive::{SparseMap, Time};

/// The place of a node in its tree.
pub(super) type NodeId = u32;

/// The root directory.
pub(super) const ROOT: NodeId = 0;

/// What every type of file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    /// Permission bits with setuid, setgid and sticky.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    pub(super) xattrs: SetId,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) attributes: Attributes,
    /// How many names it has.
    pub(super) links: u32,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Directory(Box<Directory>),
    File {
        size: u64,
        data: Data,
    },
    Symlink(Box<[u8]>),
    CharDevice((u32, u32)),
    BlockDevice((u32, u32)),
    Fifo,
    /// Overlayfs' mark for a name that the layer removes: the character device 0:0.
    Whiteout,
}

/// Where the content of a regular file is.
#[derive(Debug)]
pub(super) enum Data {
    /// In the archive, from this byte on.
    Archive(u64),
    /// In the archive from this byte on, in pieces with holes between them.
    Sparse(u64, Box<SparseMap>),
    /// In the file at this path of the layers below.
    Below(Box<[u8]>),
}

#[derive(Debug)]
pub(super) struct Directory {
    pub(super) parent: NodeId,
    /// How many directories are above it.
    pub(super) depth: u32,
    pub(super) children: BTreeMap<Box<[u8]>, NodeId>,
    /// It hides what the layers below have in it.
    pub(super) is_opaque: bool,
}

impl Node {
    /// The type bits of its mode.
    pub(super) fn kind(&self) -> u32 {
        match self.content {
            Content::Directory(_) => libc::S_IFDIR,
            Content::File { .. } => libc::S_IFREG,
            Content::Symlink(_) => libc::S_IFLNK,
            Content::CharDevice(_) | Content::Whiteout => libc::S_IFCHR,
            Content::BlockDevice(_) => libc::S_IFBLK,
            Content::Fifo => libc::S_IFIFO,
        }
    }

    pub(super) fn as_directory(&self) -> Option<&Directory> {
        match &self.content {
            Content::Directory(directory) => Some(directory),
            _ => None,
        }
    }
}
