//! Works on directories of the host by descriptor: walks, removes and copies them, reads extended attributes,
//! mounts overlays.

pub(crate) mod copy_file;
pub(crate) mod dir;
pub(crate) mod directory;
pub(crate) mod erofs;
pub(crate) mod find;
pub(crate) mod input_file;
mod kernel_messages;
pub(crate) mod lock;
pub(crate) mod overlay;
pub(crate) mod remove;
pub(crate) mod walk;
pub(crate) mod xattrs;
