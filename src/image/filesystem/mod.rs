//! Directories of the host by descriptor: walking, removing, reading extended attributes, mounting overlays.

pub(crate) mod copy_file;
pub(crate) mod dir;
pub(crate) mod overlay;
pub(crate) mod remove;
pub(crate) mod replace;
pub(crate) mod walk;
pub(crate) mod xattrs;
