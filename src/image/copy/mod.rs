//! Copies an image, an artifact or an index from any source to a layout, an archive or a registry.

mod archive;
mod contents;
mod layout;
pub(crate) mod names;
mod registry;

pub(crate) use contents::Contents;

use std::io::Read;
use std::sync::Arc;

use oci_spec::image::Descriptor;

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::blob::digest::VerifyingReader;
use crate::image::limits::Limits;
use crate::image::parallel;
use crate::image::progress::{Progress, ProgressReader};
use crate::image::source::ImageSource;
use crate::image::source::reference::{Reference, Selector};
use crate::image::source::registry::Access;

/// How many blobs are copied at the same time.
const PARALLEL: usize = 4;

/// Copies `contents` to `destination`; `access` is for a destination that is a registry. The name (tag, index
/// entry, file) is made when all blobs and documents are at the destination.
pub(crate) fn copy(
    source: &dyn ImageSource,
    contents: &Contents,
    destination: &Reference,
    access: &Access,
    limits: &Limits,
    progress: &Arc<dyn Progress>,
) -> Result<()> {
    progress.plan(&contents.blobs);
    let from = CopySource { source, contents, limits, progress };
    match destination {
        Reference::Layout { path, select } => layout::write(&from, path, tag(select)?),
        Reference::OciArchive { path, select } => archive::write_oci(&from, path, tag(select)?),
        Reference::DockerArchive { path, select } => archive::write_docker(&from, path, tag(select)?),
        Reference::Registry(name) => registry::write(&from, name, access),
    }
    .with_context(|| format!("copy to {destination}"))
}

/// The tag of a destination, if it has one.
fn tag(select: &Selector) -> Result<Option<&str>> {
    match select {
        Selector::Only => Ok(None),
        Selector::Tag(tag) => Ok(Some(tag)),
        Selector::Digest(_) => Err(fail!(Kind::Usage, "a destination has a tag, not a digest")),
    }
}

/// The contents to copy, and their source.
struct CopySource<'a> {
    source: &'a dyn ImageSource,
    contents: &'a Contents,
    /// Of layers that are decompressed for the destination.
    limits: &'a Limits,
    progress: &'a Arc<dyn Progress>,
}

impl CopySource<'_> {
    /// Opens a blob at byte `start`; what is read is reported as progress.
    fn open(&self, blob: &Descriptor, start: u64) -> Result<ProgressReader> {
        let inner = self.source.blob_from(blob, start)?;
        Ok(ProgressReader { inner, blob: blob.clone(), progress: Arc::clone(self.progress) })
    }

    /// Calls `copy` for each distinct blob, some in parallel; after a failure no further blob is begun.
    fn for_each_blob(&self, copy: impl Fn(&Descriptor) -> Result<()> + Sync) -> Result<()> {
        parallel::for_each(&self.contents.blobs, PARALLEL, &Descriptor::size, &|blob| {
            copy(blob).with_context(|| format!("blob {}", blob.digest()))
        })
    }
}

/// A reader for callers that stop after a blob's last byte. With that byte it also reads the end of the blob,
/// where `VerifyingReader` checks the digest.
struct ReadToEnd<R: Read>(VerifyingReader<R>);

impl<R: Read> Read for ReadToEnd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(buffer)?;
        if count > 0 && self.0.is_full() {
            let more = self.0.read(&mut [0])?;
            debug_assert_eq!(more, 0, "a blob longer than its size is an error of Verified");
        }
        Ok(count)
    }
}

/// Copies all of `from` to `to`, and returns the number of bytes. `what` names the destination in errors.
fn copy_bytes(from: &mut impl Read, to: &mut impl std::io::Write, what: &str) -> Result<u64> {
    let mut buffer = vec![0; 128 << 10];
    let mut total = 0;
    loop {
        let count = from.read(&mut buffer).map_err(crate::image::io_error::from_io_error)?;
        if count == 0 {
            return Ok(total);
        }
        to.write_all(&buffer[..count]).with_context(|| format!("write {what}"))?;
        total += count as u64;
    }
}
