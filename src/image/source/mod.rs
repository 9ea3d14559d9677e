//! Opens images: `ImageSource` is the interface that layouts, archives and registries have in common,
//! `select` finds the image that a reference names.

mod docker_archive;
pub(crate) mod indexed_tar;
pub(crate) mod interface;
pub(crate) mod layout;
mod oci_archive;
pub(crate) mod reference;
pub(crate) mod registry;
mod select;

use crate::error::Result;
use docker_archive::DockerArchive;
use layout::Layout;
use oci_archive::OciArchive;
use reference::Reference;
use registry::{Access, Registry};

pub use interface::ImageSource;
pub use select::ref_name;
pub(crate) use select::{MAX_INDEX_DEPTH, manifests_named, resolve_entry, resolve_image, resolve_manifest};

/// Opens the layout, archive or registry that a reference names.
pub(crate) fn open(reference: &Reference, access: &Access) -> Result<Box<dyn ImageSource>> {
    match reference {
        Reference::Layout { path, .. } => Ok(Box::new(Layout::open(path)?)),
        Reference::OciArchive { path, .. } => Ok(Box::new(OciArchive::open(path)?)),
        Reference::DockerArchive { path, .. } => Ok(Box::new(DockerArchive::open(path)?)),
        Reference::Registry(name) => Ok(Box::new(Registry::open(name, access)?)),
    }
}
