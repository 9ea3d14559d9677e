//! Reads the JSON documents of an image (indexes, manifests, configurations) and chooses among platforms.

pub(crate) mod manifest;
pub(crate) mod platform;
