//! Layers become a tree: each entry of a tar archive is applied to the root filesystem being made.

pub(crate) mod entry_adapter;
mod entry;
mod holes;
pub mod layer;
pub mod layer_stream;
pub(crate) mod owner_xattr;
mod read_ahead;
pub mod single_layer;
pub mod tree;
pub mod whiteout;
