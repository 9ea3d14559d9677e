//! A blob as bytes: verified by its digest, decompressed.

pub mod compression;
pub mod digest;
