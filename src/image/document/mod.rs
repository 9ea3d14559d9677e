//! The JSON documents of an image: manifests, indexes, configurations, and the platforms they are for.

pub mod manifest;
pub(crate) mod platform;
