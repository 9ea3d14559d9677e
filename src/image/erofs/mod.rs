//! Indexes of layers: small EROFS images whose files have their data in the layer's tar archive, which is their
//! second device. The kernel mounts both without anything being unpacked.
//!
//! `builder` makes a tree of a layer's entries, in memory and in the one pass in which the archive is read;
//! `complete` gives it what it needs of the layers below; `layout` decides where everything stands; `writer`
//! writes it in the structures of `format`. KERNEL(6.4): blocks of 512 bytes, as tar has them.

mod acl;
pub(crate) mod builder;
mod checksum;
mod chunks;
pub(crate) mod complete;
#[cfg(test)]
mod differential;
mod dir_blocks;
mod format;
pub(crate) mod index_file;
mod layout;
mod node;
pub(crate) mod not_plain;
pub(crate) mod probe;
mod tree;
mod writer;
mod xattr_sets;
mod xattr_table;
