//! The decompressed bytes of one layer, hashed and counted against the limits as they pass.

use std::io::{self, BufRead, Read};
use std::thread::Scope;

use oci_spec::image::{Descriptor, Digest};

use super::holes;
use super::read_ahead::{PIECE, Pieces};
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::archive::Input;
use crate::image::blob::compression::{Compression, Decompressed};
use crate::image::blob::digest::{Hasher, Verified};
use crate::image::io_error::{into_io, out_of_io};
use crate::image::limits::{Limits, Used, check_ratio};

fn decompressed(
    blob: Box<dyn Read + Send>,
    descriptor: &Descriptor,
) -> Result<Decompressed<Box<dyn Read + Send>>> {
    Decompressed::new(Compression::of(descriptor)?, Verified::new(blob, descriptor)?)
}

/// The decompressed bytes of a layer, hashed and counted as they pass.
pub struct LayerStream<'a> {
    input: Pieces,
    /// None where the blob is not compressed: its own digest is the diff id then, and is checked there.
    hasher: Option<Hasher>,
    diff_id: &'a Digest,
    limits: &'a Limits,
    used: &'a Used,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    total: u64,
    /// Of these, in blocks of zeros: they take no room.
    zeros: u64,
}

impl<'a> LayerStream<'a> {
    /// Opens a layer's blob for reading.
    pub fn open(
        blob: Box<dyn Read + Send>,
        descriptor: &Descriptor,
        diff_id: &'a Digest,
        limits: &'a Limits,
        used: &'a Used,
    ) -> Result<Self> {
        let input = Pieces::Here(decompressed(blob, descriptor)?);
        // An uncompressed blob is hashed as it is read, by its own digest.
        let is_known = Compression::of(descriptor)? == Compression::Plain && descriptor.digest() == diff_id;
        let hasher = if is_known { None } else { Some(Hasher::like(diff_id)?) };
        let buffer = vec![0; PIECE].into_boxed_slice();
        Ok(Self { input, hasher, diff_id, limits, used, buffer, start: 0, end: 0, total: 0, zeros: 0 })
    }

    /// The same, decompressed by another thread while these bytes are hashed and used.
    pub fn ahead<'scope>(self, scope: &'scope Scope<'scope, '_>) -> Result<Self> {
        match self.input {
            Pieces::Here(blob) => {
                let input = Pieces::ahead(scope, blob).context("start a thread")?;
                Ok(Self { input, ..self })
            }
            Pieces::Ahead { .. } => Ok(self),
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let (count, seen) = self.input.next(&mut self.buffer)?;
        (self.start, self.end) = (0, count);
        let count = count as u64;
        self.total += count;
        self.used.bytes(count, self.limits).map_err(into_io)?;
        self.zeros += holes::zeros(&self.buffer[..self.end]);
        if count > 0 {
            check_ratio(seen, self.total - self.zeros, self.limits).map_err(into_io)?;
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&self.buffer[..self.end]);
        }
        Ok(())
    }

    /// Reads on to the end, which lies behind the end of the archive, and checks both digests.
    pub fn finish(mut self) -> Result<()> {
        while !self.fill_buf().map_err(out_of_io)?.is_empty() {
            self.consume(self.end - self.start);
        }
        self.input.finish()?;
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
