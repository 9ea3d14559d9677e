//! Where the data of a regular file is, in chunks: in the archive as it stands there, or, if it does not begin
//! at a block there, copied into the index.

use std::borrow::Cow;

use super::format::BLOCK;
use super::node::Data;
use crate::image::archive::SparseMap;

/// The most chunks of a file with holes: their addresses take half a megabyte.
const MAX_CHUNKS: u64 = 1 << 16;
/// The largest chunk that the format has, as a power of two of blocks.
const MAX_BITS: u8 = 31;

/// How a file is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunks {
    /// A chunk has `BLOCK << bits` bytes.
    pub(super) bits: u8,
    pub(super) count: u64,
    /// Whether the data is copied.
    pub(super) is_copied: bool,
}

impl Chunks {
    pub(super) fn size(self) -> u64 {
        BLOCK << self.bits
    }

    fn new(size: u64, bits: u8, is_copied: bool) -> Self {
        Self { bits, count: size.div_ceil(BLOCK << bits), is_copied }
    }

    /// Divides a file of `size` bytes, which is not empty, with its data in an archive of `archive` bytes.
    pub(super) fn of(data: &Data, size: u64, archive: u64) -> Self {
        match data {
            Data::Archive(at) if is_in_place(*at, size, archive) => Self::new(size, bits_for(size), false),
            Data::Archive(_) | Data::Below(_) => Self::new(size, bits_for(size), true),
            Data::Sparse(at, map) => Self::of_sparse(*at, map, archive),
        }
    }

    fn of_sparse(at: u64, map: &SparseMap, archive: u64) -> Self {
        let fewest = bits_for(map.size.div_ceil(MAX_CHUNKS));
        let in_place = common_bits(at, map, archive).map(|bits| Self::new(map.size, bits, false));
        in_place.filter(|chunks| chunks.bits >= fewest).unwrap_or_else(|| Self::new(map.size, fewest, true))
    }

    /// The place of each chunk in the archive, for data that is not copied; None for a hole.
    pub(super) fn places(self, data: &Data) -> impl Iterator<Item = Option<u64>> {
        let pieces = Pieces::of(data);
        (0..self.count).map(move |number| pieces.place(number * self.size()))
    }

    /// Whether each chunk of a copied file has data.
    pub(super) fn have_data(self, data: &Data) -> impl Iterator<Item = bool> {
        let pieces = Pieces::of(data);
        (0..self.count).map(move |number| {
            let from = number * self.size();
            pieces.is_any_in(from, from.saturating_add(self.size()))
        })
    }
}

/// Where each piece of a file is, whose first one is at `at`: they follow each other.
pub(super) fn archive_places(at: u64, ranges: &[(u64, u64)]) -> Vec<u64> {
    let step = |next: &mut u64, &(_, length): &(u64, u64)| {
        let place = *next;
        *next = next.saturating_add(length);
        Some(place)
    };
    ranges.iter().scan(at, step).collect()
}

/// The pieces of a file that have data.
struct Pieces<'a> {
    /// In order.
    ranges: Cow<'a, [(u64, u64)]>,
    /// Where each of them is in the archive.
    places: Vec<u64>,
}

impl<'a> Pieces<'a> {
    fn of(data: &'a Data) -> Self {
        let (at, ranges) = match data {
            Data::Archive(at) => (*at, Cow::Owned(vec![(0, u64::MAX)])),
            Data::Sparse(at, map) => (*at, Cow::Borrowed(&map.ranges[..])),
            Data::Below(_) => (0, Cow::Owned(vec![(0, u64::MAX)])),
        };
        let places = archive_places(at, &ranges);
        Self { places, ranges }
    }

    /// The first piece that ends behind this byte of the file.
    fn first_behind(&self, byte: u64) -> Option<(usize, u64)> {
        let number = self.ranges.partition_point(|&(start, length)| start.saturating_add(length) <= byte);
        self.ranges.get(number).map(|&(start, _)| (number, start))
    }

    /// The place of this byte in the archive.
    fn place(&self, byte: u64) -> Option<u64> {
        let (number, start) = self.first_behind(byte).filter(|&(_, start)| start <= byte)?;
        self.places.get(number).map(|place| place + (byte - start))
    }

    fn is_any_in(&self, from: u64, to: u64) -> bool {
        self.first_behind(from).is_some_and(|(_, start)| start < to)
    }
}

/// Whether the blocks of these bytes are all in the archive: some archives end with the data of a file.
fn is_in_place(at: u64, size: u64, archive: u64) -> bool {
    at.is_multiple_of(BLOCK)
        && at.checked_add(size.next_multiple_of(BLOCK)).is_some_and(|end| end <= archive)
        && at / BLOCK + size.div_ceil(BLOCK) < u64::from(u32::MAX)
}

/// The smallest chunk of at least `size` bytes.
fn bits_for(size: u64) -> u8 {
    let blocks = size.div_ceil(BLOCK).max(1);
    (blocks.next_power_of_two().trailing_zeros() as u8).min(MAX_BITS)
}

/// The largest chunk that all pieces of a file begin and end with; None if they are not made of blocks.
fn common_bits(at: u64, map: &SparseMap, archive: u64) -> Option<u8> {
    let (mut bits, mut place) = (MAX_BITS, at);
    for &(start, length) in map.ranges.iter().filter(|(_, length)| *length > 0) {
        let end = start + length;
        if !is_in_place(place, length, archive) || !start.is_multiple_of(BLOCK) {
            return None;
        }
        let ends = [start, if end == map.size { 0 } else { end }];
        if ends.iter().any(|end| !end.is_multiple_of(BLOCK)) {
            return None;
        }
        let shared = ends.iter().filter(|&&end| end > 0).map(|end| (end / BLOCK).trailing_zeros() as u8);
        bits = shared.fold(bits, u8::min);
        place += length;
    }
    Some(bits.min(bits_for(map.size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sparse(at: u64, ranges: &[(u64, u64)], size: u64) -> Data {
        Data::Sparse(at, Box::new(SparseMap { ranges: ranges.to_vec(), size }))
    }

    #[test]
    fn a_file_in_the_archive_is_one_chunk() {
        let found = Chunks::of(&Data::Archive(1024), 5000, 1 << 20);
        assert_eq!(found, Chunks { bits: 4, count: 1, is_copied: false });
        assert_eq!(found.places(&Data::Archive(1024)).collect::<Vec<_>>(), [Some(1024)]);
        // The archive ends with the file, not with its block.
        assert!(Chunks::of(&Data::Archive(1024), 5000, 1024 + 5000).is_copied);
        assert!(Chunks::of(&Data::Archive(1000), 5000, 1 << 20).is_copied);
        assert_eq!(Chunks::of(&Data::Archive(512), 3 << 39, u64::MAX).count, 2);
    }

    #[test]
    fn holes_are_left_out() {
        let data = sparse(2048, &[(1024, 512), (8192, 1024), (20_480, 100)], 20_580);
        let found = Chunks::of(&data, 20_580, 1 << 20);
        assert_eq!((found.bits, found.count, found.is_copied), (0, 41, false));
        let places: Vec<_> = found.places(&data).collect();
        assert_eq!((places[0], places[2], places[3]), (None, Some(2048), None));
        assert_eq!((places[17], places[40]), (Some(2048 + 512 + 512), Some(2048 + 512 + 1024)));
    }

    #[test]
    fn pieces_that_are_not_made_of_blocks_are_copied() {
        let data = sparse(2048, &[(100, 50), (8192, 10)], 1 << 20);
        let found = Chunks::of(&data, 1 << 20, 1 << 20);
        let have: Vec<_> = found.have_data(&data).collect();
        assert!(found.is_copied && have[0] && !have[1] && have[16]);
    }

    #[test]
    fn a_huge_file_has_few_chunks() {
        let data = sparse(512, &[(512, 512)], 1 << 40);
        let found = Chunks::of(&data, 1 << 40, 1 << 20);
        assert!(found.count <= MAX_CHUNKS && found.is_copied);
        let empty = sparse(512, &[], 1 << 40);
        assert_eq!(Chunks::of(&empty, 1 << 40, 1 << 20).count, 1);
    }
}
