//! Somebody who is told how far things are. What is shown, and where, is decided above.

use std::io::{self, Read};
use std::sync::Arc;

use oci_spec::image::Descriptor;

pub(crate) trait Progress: Send + Sync {
    /// These blobs are going to be read.
    fn plan(&self, _blobs: &[Descriptor]) {}
    /// Some bytes of a blob have been read.
    fn bytes(&self, _blob: &Descriptor, _count: u64) {}
    /// A blob has been read to its end, and is what it should be.
    fn done(&self, _blob: &Descriptor) {}
}

/// Nobody.
impl Progress for () {}

/// A reader whose bytes are told.
pub(super) struct ProgressReader {
    pub(crate) inner: Box<dyn Read + Send>,
    pub(crate) blob: Descriptor,
    pub(crate) progress: Arc<dyn Progress>,
}

impl Read for ProgressReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.progress.bytes(&self.blob, count as u64);
        Ok(count)
    }
}
