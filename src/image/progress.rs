//! `Progress`: the callbacks that tell how far a pull or an unpacking has come. The command line decides what
//! is shown.

use std::io::{self, Read};
use std::sync::Arc;

use oci_spec::image::Descriptor;

/// Callbacks about the blobs that are read. Several threads may call them at the same time.
pub(crate) trait Progress: Send + Sync {
    /// Called once, with all blobs that are going to be read.
    fn plan(&self, _blobs: &[Descriptor]) {}
    /// Called after `count` more bytes of a blob were read.
    fn bytes(&self, _blob: &Descriptor, _count: u64) {}
    /// Called when a blob was read to its end and verified.
    fn done(&self, _blob: &Descriptor) {}
}

/// Ignores all progress.
impl Progress for () {}

/// A reader that reports to `progress` every byte read from `inner`.
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
