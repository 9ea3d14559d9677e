//! Unpacks layers: each entry of a tar archive is applied to the tree, the root filesystem being made.

mod access_list;
mod apply_whiteout;
mod archive_copy;
pub(crate) mod entries;
mod create_entry;
pub(crate) mod entry_adapter;
pub(crate) mod layer;
pub(crate) mod layer_stream;
mod layers_below;
pub(crate) mod owner_xattr;
mod read_ahead;
pub(crate) mod single_layer;
pub(crate) mod tree;
pub(crate) mod whiteout;
mod zero_blocks;
