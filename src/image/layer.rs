//! One layer: its blob is verified, decompressed and applied entry by entry, in one pass and bounded memory.

use std::io::{self, BufRead, Read};
use std::thread::Scope;

use oci_spec::image::{Descriptor, Digest};

use super::ahead::{PIECE, Pieces};
use super::alone::Alone;
use super::archive::{Archive, Entry, Input, Type};
use super::compression::{Compression, Decompressed};
use super::digest::{Hasher, Verified, into_io, out_of_io};
use super::entry;
use super::holes;
use super::limits::{Limits, Used, check_ratio};
use super::tree::{Tree, clean};
use super::whiteout::{Mark, mark};
use crate::error::{Context, Kind, Result};
use crate::{fail, log};

/// Applies the layer that `blob` reads, and checks its descriptor and diff id at the end.
///
/// Nothing of it may be used before that: the caller throws the tree away on an error.
pub fn apply(
    tree: &mut Tree,
    blob: Box<dyn Read + Send>,
    descriptor: &Descriptor,
    diff_id: &Digest,
    limits: &Limits,
    used: &Used,
) -> Result<()> {
    let stream = Stream::open(blob, descriptor, diff_id, limits, used)?;
    // Layers of a store are unpacked side by side, each in its thread already; a small one is not worth another.
    if tree.alone.is_some() || descriptor.size() < AHEAD_FROM || processors() == 1 {
        return entries(tree, Archive::new(stream), limits, used);
    }
    std::thread::scope(|scope| entries(tree, Archive::new(stream.ahead(scope)?), limits, used))
}

/// The smallest blob that is decompressed ahead.
const AHEAD_FROM: u64 = 1 << 20;

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn entries(tree: &mut Tree, mut archive: Archive<Stream<'_>>, limits: &Limits, used: &Used) -> Result<()> {
    let mut next = Entry::default();
    tree.begin_layer();
    while archive.next(&mut next)?.is_some() {
        if next.sparse.is_some() {
            used.bytes(next.size, limits)?;
        }
        one(tree, &mut archive, &mut next).map_err(|e| e.context(next.name.escape_ascii().to_string()))?;
        used.entry(std::mem::take(&mut tree.implied), limits)?;
        tree.relieve().context("set the times of directories")?;
        if tree.alone.as_ref().is_some_and(Alone::is_too_much) {
            return Err(fail!(Kind::Spec, "it takes too much for granted of the layers below"));
        }
    }
    tree.end_layer().context("remove pseudo-links")?;
    archive.into_inner().finish()
}

fn one<R: Input>(tree: &mut Tree, archive: &mut Archive<R>, next: &mut Entry) -> Result<()> {
    let path = clean(&next.name);
    tree.adapt.entry(next)?;
    match mark(&path)? {
        Mark::None => entry::apply(tree, archive, next, &path),
        // The inode behind hard links, as AUFS kept it: links are made to it, and it goes with the layer's end.
        Mark::Pseudolink if next.kind == Type::Regular => {
            tree.pseudolinks = true;
            entry::apply(tree, archive, next, &path)
        }
        Mark::Reserved | Mark::Pseudolink => {
            log::debug(format_args!("{}: reserved name skipped", path.escape_ascii()));
            Ok(())
        }
        Mark::Opaque { dir } => match tree.marked(dir)? {
            Some(dir) => tree.make_opaque(&dir).context("opaque whiteout"),
            None => Ok(()),
        },
        Mark::Whiteout { dir, name } => match tree.marked(dir)? {
            Some(dir) => tree.white_out(&dir, &super::tree::c_string(name)?).context("whiteout"),
            None => Ok(()),
        },
    }
}

fn decompressed(
    blob: Box<dyn Read + Send>,
    descriptor: &Descriptor,
) -> Result<Decompressed<Box<dyn Read + Send>>> {
    Decompressed::new(Compression::of(descriptor)?, Verified::new(blob, descriptor)?)
}

/// The decompressed bytes of a layer, hashed and counted as they pass.
pub struct Stream<'a> {
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

impl<'a> Stream<'a> {
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
    fn ahead<'scope>(self, scope: &'scope Scope<'scope, '_>) -> Result<Self> {
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

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Stream<'_> {
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

impl Input for Stream<'_> {}
