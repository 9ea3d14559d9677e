//! Copying an image as it is, its digests unchanged, from any source to a layout, an archive or a registry.

mod archive;
mod layout;
mod registry;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use oci_spec::image::Descriptor;

pub use layout::replace;

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::blob::digest::Verified;
use crate::image::document::manifest::Image;
use crate::image::progress::{Watch, Watched};
use crate::image::source::Source;
use crate::image::source::reference::{Reference, Select};
use crate::image::source::registry::Access;

/// Blobs that are fetched side by side.
const PARALLEL: usize = 4;

/// Writes `image` to where `destination` says, a registry reached by `access`. Nothing appears there before it is complete.
pub fn copy(
    source: &dyn Source,
    image: &Image,
    destination: &Reference,
    access: &Access,
    watch: &Arc<dyn Watch>,
) -> Result<()> {
    watch.plan(&blobs(image));
    let from = From { source, image, watch };
    match destination {
        Reference::Layout { path, select } => layout::write(&from, path, tag(select)?),
        Reference::OciArchive { path, select } => archive::write_oci(&from, path, tag(select)?),
        Reference::DockerArchive { path, select } => archive::write_docker(&from, path, tag(select)?),
        Reference::Registry(name) => registry::write(&from, name, access),
    }
    .with_context(|| format!("copy to {destination}"))
}

fn tag(select: &Select) -> Result<Option<&str>> {
    match select {
        Select::Only => Ok(None),
        Select::Tag(tag) => Ok(Some(tag)),
        Select::Digest(_) => Err(fail!(Kind::Usage, "a destination has a tag, not a digest")),
    }
}

/// The configuration and each layer once, in order.
pub fn blobs(image: &Image) -> Vec<Descriptor> {
    let mut blobs: Vec<Descriptor> = Vec::new();
    for blob in [image.manifest.config()].into_iter().chain(image.manifest.layers()) {
        if !blobs.iter().any(|known| known.digest() == blob.digest()) {
            blobs.push(blob.clone());
        }
    }
    blobs
}

/// An image on its way.
struct From<'a> {
    source: &'a dyn Source,
    image: &'a Image,
    watch: &'a Arc<dyn Watch>,
}

impl From<'_> {
    /// Opens a blob at byte `start`, its bytes told.
    fn open(&self, blob: &Descriptor, start: u64) -> Result<Watched> {
        let inner = self.source.blob_from(blob, start)?;
        Ok(Watched { inner, blob: blob.clone(), watch: Arc::clone(self.watch) })
    }

    /// Does `fetch` for each blob, some side by side; the first failure ends the rest.
    fn each(&self, blobs: &[Descriptor], fetch: impl Fn(&Descriptor) -> Result<()> + Sync) -> Result<()> {
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let fetched = fetch(blob).with_context(|| format!("blob {}", blob.digest()));
                if fetched.is_err() {
                    next.store(blobs.len(), Ordering::Relaxed);
                    return fetched;
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..PARALLEL.min(blobs.len())).map(|_| scope.spawn(work)).collect();
            let mut results = workers.into_iter().map(|worker| worker.join());
            results.try_for_each(|result| {
                result.unwrap_or_else(|_| Err(fail!(Kind::Unsupported, "a thread broke down")))
            })
        })
    }
}

/// A reader that, with its last bytes, also reads the end.
struct ToEnd<R: Read>(pub Verified<R>);

impl<R: Read> Read for ToEnd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(buffer)?;
        if count > 0 && self.0.is_full() {
            let more = self.0.read(&mut [0])?;
            debug_assert_eq!(more, 0, "a blob longer than its size is an error of Verified");
        }
        Ok(count)
    }
}

/// Copies `from` to `to`, told nowhere else.
fn pour(from: &mut impl Read, to: &mut impl std::io::Write, what: &str) -> Result<u64> {
    let mut buffer = vec![0; 128 << 10];
    let mut total = 0;
    loop {
        let count = from.read(&mut buffer).map_err(crate::image::io_error::out_of_io)?;
        if count == 0 {
            return Ok(total);
        }
        to.write_all(&buffer[..count]).with_context(|| format!("write {what}"))?;
        total += count as u64;
    }
}
