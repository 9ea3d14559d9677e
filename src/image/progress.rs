//! Somebody who is told how far things are. What is shown, and where, is decided above.

use std::io::{self, Read};
use std::sync::Arc;

use oci_spec::image::Descriptor;

pub trait Watch: Send + Sync {
    /// These blobs are going to be read.
    fn plan(&self, _blobs: &[Descriptor]) {}
    /// Some bytes of a blob have been read.
    fn bytes(&self, _blob: &Descriptor, _count: u64) {}
    /// A blob has been read to its end, and is what it should be.
    fn done(&self, _blob: &Descriptor) {}
}

/// Nobody.
impl Watch for () {}

/// A reader whose bytes are told.
pub struct Watched {
    pub inner: Box<dyn Read + Send>,
    pub blob: Descriptor,
    pub watch: Arc<dyn Watch>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.watch.bytes(&self.blob, count as u64);
        Ok(count)
    }
}
