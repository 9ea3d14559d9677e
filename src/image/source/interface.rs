//! `ImageSource` is the interface of layouts, archives and registries: list manifests, open blobs.

use std::io::Read;

use oci_spec::image::Descriptor;

use crate::error::Result;

/// A place that has images: it lists manifests, and opens blobs.
pub trait ImageSource: Send + Sync {
    /// What the source offers at its top; of a registry, what the reference names.
    fn manifests(&self) -> Result<Vec<Descriptor>>;
    /// All tags of a registry's repository; None where `manifests` has all there is.
    fn tags(&self) -> Result<Option<Vec<String>>> {
        Ok(None)
    }
    /// The registry and repository that all blobs are in.
    fn repository(&self) -> Option<(&str, &str)> {
        None
    }
    /// Opens a blob; its bytes are not verified yet.
    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>>;
    /// Opens a blob at byte `start`, of which the caller has what is before.
    fn blob_from(&self, descriptor: &Descriptor, start: u64) -> Result<Box<dyn Read + Send>> {
        let mut blob = self.blob(descriptor)?;
        std::io::copy(&mut (&mut blob).take(start), &mut std::io::sink())?;
        Ok(blob)
    }
}
