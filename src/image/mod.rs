//! From an image to a bundle: the other half of what lies under `docker run`.
//!
//! A `reference` names a `source`; its `manifest` names the layers; each blob is verified (`digest`), decompressed
//! (`compression`) and read as an `archive`; every `entry` of a `layer` is applied to a `tree`; `config` and `user`
//! turn the image's configuration into config.json; `bundle` puts all of it in place at once.

pub mod adapt;
mod ahead;
pub mod alone;
pub mod archive;
pub mod attributes;
pub mod bundle;
pub mod changes;
pub mod compression;
pub mod config;
pub mod copy;
pub mod digest;
pub mod docker_archive;
pub mod entry;
pub mod explain;
pub mod holes;
pub mod layer;
pub mod layout;
pub mod limits;
pub mod manifest;
pub mod namespace;
pub mod oci_archive;
pub mod overlay;
pub mod platform;
pub mod profile;
pub mod reference;
pub mod registry;
pub mod remove;
pub mod repack;
pub mod rootless;
pub mod seccomp;
pub mod source;
pub mod store;
pub mod tarball;
pub mod tree;
pub mod user;
pub mod verify;
pub mod walk;
pub mod watch;
pub mod whiteout;
pub mod wishes;
