//! `ImageSource` is the interface of layouts, archives and registries: list manifests, open blobs.

use std::io::Read;

use oci_spec::image::Descriptor;

use crate::error::Result;

/// A layout, archive or registry that images are read from.
pub trait ImageSource: Send + Sync {
    /// Lists the manifests and indexes at the top of the source; for a registry, the one that the reference
    /// names.
    fn manifests(&self) -> Result<Vec<Descriptor>>;
    /// Lists all tags of a registry's repository; None if `manifests` already lists everything.
    fn tags(&self) -> Result<Option<Vec<String>>> {
        Ok(None)
    }
    /// Returns the registry and repository that contain all blobs.
    fn repository(&self) -> Option<(&str, &str)> {
        None
    }
    /// Opens a blob; its bytes are not verified yet.
    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>>;
    /// Opens a blob at byte `start`; the caller has the bytes before.
    fn blob_from(&self, descriptor: &Descriptor, start: u64) -> Result<Box<dyn Read + Send>> {
        let mut blob = self.blob(descriptor)?;
        std::io::copy(&mut (&mut blob).take(start), &mut std::io::sink())?;
        Ok(blob)
    }
}
