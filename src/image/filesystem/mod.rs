//! Directories of the host by descriptor: walking, removing, reading extended attributes, mounting overlays.

pub(crate) mod copy_file;
pub mod dir;
pub mod overlay;
pub mod remove;
pub(crate) mod replace;
pub mod walk;
pub mod xattrs;
