//! Blobs as bytes: verified against their digest, and decompressed.

pub mod compression;
pub mod digest;
