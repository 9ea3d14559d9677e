//! Writes the index of a layer to a file beside the layer's archive. What is copied into it comes from the
//! archive, or from the layers below.

use std::fs::File;
use std::io::BufWriter;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::uio::pread;
use nix::unistd::ftruncate;

use super::builder::LayerIndex;
use super::chunks::archive_places;
use super::node::Data;
use super::writer::{self, CopiedContent};
use crate::error::{Context, Error, Result};
use crate::inroot::{Root, c_string};

/// Writes `index` to the empty file `to`. `archive` is the layer's archive, and `below` the merged layers below,
/// for an index that was completed over them. The same layer gets the same bytes.
///
/// # Errors
///
/// `Kind::Unsupported` for a layer that is too large for the format; errors of the files.
pub(crate) fn write_index(
    index: &mut LayerIndex,
    archive: &File,
    below: Option<&Root>,
    uuid: [u8; 16],
    to: &File,
) -> Result<()> {
    let size = archive.metadata().context("look at the layer's archive")?.len();
    index.tree.mark_opaque_dirs();
    let mut out = BufWriter::with_capacity(64 << 10, to);
    let mut content = Files { archive, below, open: None, places: (u64::MAX, Vec::new()) };
    let size = writer::write(&index.tree, size, uuid, &mut out, &mut content)?;
    let writing = "write the layer's index";
    out.into_inner().map_err(|error| Error::from(error.into_error())).context(writing)?;
    ftruncate(to, size.cast_signed()).context(writing)
}

struct Files<'a> {
    archive: &'a File,
    below: Option<&'a Root>,
    /// The file of the layers below that was read last, with its path.
    open: Option<(Box<[u8]>, File)>,
    /// Where the pieces of the sparse file are that was read last, whose first one is there in the archive.
    places: (u64, Vec<u64>),
}

impl CopiedContent for Files<'_> {
    fn read(&mut self, data: &Data, from: u64, buffer: &mut [u8]) -> Result<()> {
        buffer.fill(0);
        match data {
            Data::Archive(at) => read_at(self.archive, at + from, buffer),
            Data::Below(path) => {
                if self.open.as_ref().is_none_or(|(open, _)| open != path) {
                    let below = self.below.ok_or(Errno::ENOENT)?;
                    let file = below.resolve(&c_string(path)?, OFlag::O_RDONLY | OFlag::O_NOFOLLOW)?;
                    self.open = Some((path.clone(), File::from(file)));
                }
                self.open.as_ref().map_or(Ok(()), |(_, file)| read_at(file, from, buffer))
            }
            Data::Sparse(at, map) => self.read_pieces(*at, &map.ranges, from, buffer),
        }
    }
}

impl Files<'_> {
    fn read_pieces(&mut self, at: u64, ranges: &[(u64, u64)], from: u64, buffer: &mut [u8]) -> Result<()> {
        if self.places.0 != at {
            self.places = (at, archive_places(at, ranges));
        }
        let end = from + buffer.len() as u64;
        let first = ranges.partition_point(|&(start, length)| start + length <= from);
        for (&(start, length), place) in ranges.iter().zip(&self.places.1).skip(first) {
            if start >= end {
                break;
            }
            let (first, last) = (start.max(from), (start + length).min(end));
            if let Some(part) = buffer.get_mut((first - from) as usize..(last - from) as usize) {
                read_at(self.archive, place + (first - start), part)?;
            }
        }
        Ok(())
    }
}

/// Reads up to the end of the file.
fn read_at(file: &File, mut at: u64, mut buffer: &mut [u8]) -> Result<()> {
    while !buffer.is_empty() {
        match pread(file.as_fd(), buffer, at.cast_signed()) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                at += count as u64;
                buffer = &mut buffer[count..];
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("read what the index needs"),
        }
    }
    Ok(())
}
