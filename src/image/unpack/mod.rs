//! Layers become a tree: each entry of a tar archive is applied to the root filesystem being made.

pub mod adapt;
mod entry;
mod holes;
pub mod layer;
pub mod layer_stream;
mod read_ahead;
pub mod single_layer;
pub mod tree;
pub mod whiteout;
