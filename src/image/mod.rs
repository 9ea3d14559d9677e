//! Makes bundles from images, the part of `docker run` that comes before the runtime.
//!
//! A reference names a source; its manifest names the layers; each blob is verified, decompressed and read as
//! a tar archive, whose entries are applied to a tree; the image's configuration becomes config.json; the
//! bundle is put in place as a whole.
//!
//! The modules from the top down: what is above may name what is below, never the other way (`tests/layers`
//! holds it).

/// Runs containers: `tare-image run`, and what is done with such containers afterwards.
pub(crate) mod run;
/// Checks everything an image holds without unpacking it.
pub(crate) mod verify;
/// Tells what unpacking would do, and which file comes from which layer.
pub(crate) mod explain;
/// Gives the layers of a store another form.
pub(crate) mod convert;
/// Makes a new image of what a bundle has changed.
pub(crate) mod repack;
/// Makes a bundle: a root filesystem, and config.json from the image's configuration.
pub(crate) mod bundle;
/// Keeps unpacked layers that bundles share.
pub(crate) mod store;
/// Finds out what a bundle has changed since it was unpacked.
pub(crate) mod changes;
/// Copies images between layouts, archives and registries.
pub(crate) mod copy;
/// Opens images: references, layouts, archives, registries.
pub(crate) mod source;
/// Writes indexes of layers, which the kernel mounts as EROFS.
pub(crate) mod erofs;
/// Applies the layers to a tree.
pub(crate) mod unpack;
/// Walks, removes and mounts directories of the host.
pub(crate) mod filesystem;
/// User namespaces: id mappings, and running in one.
pub(crate) mod userns;
/// Reads tar archives.
pub(crate) mod archive;
/// Reads manifests, indexes and configurations.
pub(crate) mod document;
/// Verifies and decompresses blobs.
pub(crate) mod blob;
/// Reports progress.
pub(crate) mod progress;
/// Runs a list of work in several threads.
mod parallel;
/// Limits the resources that one image may use.
pub(crate) mod limits;
/// Carries our errors through `std::io`.
mod io_error;
