//! `LayerStream`: reads the decompressed bytes of a layer, and hashes and counts them against the limits on
//! the way.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::thread::Scope;

use oci_spec::image::{Descriptor, Digest};

use super::archive_copy::ArchiveCopy;
use super::read_ahead::{CHUNK_SIZE, ChunkSource};
use super::zero_blocks;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::archive::Input;
use crate::image::blob::compression::{Compression, Decompressed};
use crate::image::blob::digest::{Hasher, VerifyingReader};
use crate::image::io_error::{from_io_error, to_io_error};
use crate::image::limits::{Limits, Usage, check_ratio};

fn decompressed(
    blob: Box<dyn Read + Send>,
    descriptor: &Descriptor,
) -> Result<Decompressed<Box<dyn Read + Send>>> {
    Decompressed::new(Compression::from_descriptor(descriptor)?, VerifyingReader::new(blob, descriptor)?)
}

/// The decompressed bytes of a layer, hashed and counted as they pass.
pub(crate) struct LayerStream<'a> {
    input: ChunkSource,
    /// None if the blob is not compressed: its digest, which `VerifyingReader` checks, is then the diff id.
    hasher: Option<Hasher>,
    diff_id: &'a Digest,
    limits: &'a Limits,
    used: &'a Usage,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    total: u64,
    /// The bytes among them in blocks of zeros, which take no disk space.
    zeros: u64,
    /// Where the bytes are kept.
    copy: Option<ArchiveCopy>,
}

impl<'a> LayerStream<'a> {
    /// Opens a layer's blob for reading.
    pub(crate) fn open(
        blob: Box<dyn Read + Send>,
        descriptor: &Descriptor,
        diff_id: &'a Digest,
        limits: &'a Limits,
        used: &'a Usage,
    ) -> Result<Self> {
        let input = ChunkSource::Inline(decompressed(blob, descriptor)?);
        // An uncompressed blob is hashed as it is read, by its own digest.
        let is_known =
            Compression::from_descriptor(descriptor)? == Compression::Plain && descriptor.digest() == diff_id;
        let hasher = if is_known { None } else { Some(Hasher::for_digest(diff_id)?) };
        let buffer = vec![0; CHUNK_SIZE].into_boxed_slice();
        Ok(Self {
            input,
            hasher,
            diff_id,
            limits,
            used,
            buffer,
            start: 0,
            end: 0,
            total: 0,
            zeros: 0,
            copy: None,
        })
    }

    /// Keeps the bytes in the empty file `copy`.
    pub(super) fn keep(self, copy: File) -> Self {
        Self { copy: Some(ArchiveCopy::new(copy)), ..self }
    }

    /// Moves the decompression to another thread, so that this thread hashes and unpacks at the same time.
    pub(super) fn read_ahead<'scope>(self, scope: &'scope Scope<'scope, '_>) -> Result<Self> {
        match self.input {
            ChunkSource::Inline(blob) => {
                let input = ChunkSource::spawn(scope, blob).context("start a thread")?;
                Ok(Self { input, ..self })
            }
            ChunkSource::Threaded { .. } => Ok(self),
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let (count, seen) = self.input.next(&mut self.buffer)?;
        (self.start, self.end) = (0, count);
        let count = count as u64;
        self.total += count;
        self.used.add_bytes(count, self.limits).map_err(to_io_error)?;
        self.zeros += zero_blocks::count(&self.buffer[..self.end]);
        if count > 0 {
            check_ratio(seen, self.total - self.zeros, self.limits).map_err(to_io_error)?;
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&self.buffer[..self.end]);
        }
        match &mut self.copy {
            Some(copy) => copy.write(&self.buffer[..self.end]).map_err(to_io_error),
            None => Ok(()),
        }
    }

    /// Reads to the end of the blob, which lies behind the end of the archive, and checks both digests.
    pub(crate) fn finish(mut self) -> Result<()> {
        while !self.fill_buf().map_err(from_io_error)?.is_empty() {
            self.consume(self.end - self.start);
        }
        self.input.finish()?;
        self.copy.take().map_or(Ok(()), ArchiveCopy::finish)?;
        let found = self.hasher.map(Hasher::finish);
        match found {
            Some(found) if found != *self.diff_id => Err(fail!(
                Kind::Spec,
                "content has diff id {found}, the image's configuration says {}",
                self.diff_id
            )),
            _ => Ok(()),
        }
    }
}

impl Read for LayerStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for LayerStream<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.fill()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
    }
}

impl Input for LayerStream<'_> {}
