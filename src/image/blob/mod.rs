//! Blobs as bytes: verified against their digest, and decompressed.

pub(crate) mod compression;
pub(crate) mod content;
pub(crate) mod digest;
