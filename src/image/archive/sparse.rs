//! Reads the maps of sparse files: old GNU ('S') and the pax formats 0.0, 0.1 and 1.0. A map says which
//! ranges of the file the archive holds; the rest are holes.

use super::header::{BLOCK, Header, number};
use super::pax;
use crate::error::{Kind, Result};
use crate::fail;
use crate::image::limits::MAX_SPARSE_RANGES;

/// A range of a file that has data: its first byte and its length.
type DataRange = (u64, u64);

/// The data ranges of a sparse file in order, and its full size in bytes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SparseMap {
    pub(crate) ranges: Vec<DataRange>,
    pub(crate) size: u64,
}

impl SparseMap {
    /// Checks that the ranges are in order, inside the file, and add up to what the archive `holds`.
    pub(crate) fn checked(ranges: Vec<DataRange>, size: u64, holds: u64) -> Result<Self> {
        let mut end = 0_u64;
        let mut sum = 0_u64;
        for &(start, length) in &ranges {
            let stop = start.checked_add(length).filter(|&stop| start >= end && stop <= size);
            end =
                stop.ok_or_else(|| fail!(Kind::Spec, "a sparse file's pieces overlap or leave the file"))?;
            sum += length;
        }
        if sum != holds {
            return Err(fail!(
                Kind::Spec,
                "a sparse file's pieces hold {sum} bytes, the archive has {holds}"
            ));
        }
        Ok(Self { ranges, size })
    }
}

/// Adds a range. The number is limited, because a list without end would use up the memory.
fn push_range(ranges: &mut Vec<DataRange>, range: DataRange) -> Result<()> {
    if ranges.len() == MAX_SPARSE_RANGES {
        return Err(fail!(Kind::Spec, "a sparse file has more than {MAX_SPARSE_RANGES} pieces"));
    }
    ranges.push(range);
    Ok(())
}

/// The old GNU form: pairs in the header, then blocks of 21 pairs while a flag says so.
pub(super) fn read_old_gnu(
    header: Header<'_>,
    mut next: impl FnMut(&mut [u8; BLOCK]) -> Result<()>,
) -> Result<(Vec<DataRange>, u64)> {
    let mut ranges = Vec::new();
    let (first, mut more) = header.sparse();
    read_pairs(first, &mut ranges)?;
    while more {
        let mut block = [0; BLOCK];
        next(&mut block)?;
        read_pairs(&block[..504], &mut ranges)?;
        more = block[504] != 0;
    }
    Ok((ranges, non_negative(header.sparse_size()?)?))
}

/// 24 bytes each; the first that is blank ends the list.
fn read_pairs(field: &[u8], ranges: &mut Vec<DataRange>) -> Result<()> {
    for pair in field.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        push_range(ranges, (non_negative(number(&pair[..12])?)?, non_negative(number(&pair[12..])?)?))?;
    }
    Ok(())
}

fn non_negative(number: i64) -> Result<u64> {
    u64::try_from(number).map_err(|_| fail!(Kind::Spec, "a sparse file has a negative number: {number}"))
}

/// The forms 0.0 and 0.1: the whole map is in the extended header.
pub(super) fn read_pax_0(sparse: &pax::SparseRecords) -> Result<Vec<DataRange>> {
    if !sparse.map.len().is_multiple_of(2)
        || sparse.blocks.is_some_and(|count| count != sparse.map.len() as u64 / 2)
    {
        return Err(fail!(Kind::Spec, "a sparse file's map is damaged"));
    }
    let mut ranges = Vec::new();
    sparse.map.chunks_exact(2).try_for_each(|pair| push_range(&mut ranges, (pair[0], pair[1])))?;
    Ok(ranges)
}

/// The form 1.0: decimal lines at the head of the data, padded to a block. Also returns the bytes taken.
pub(super) fn read_pax_1(
    mut next: impl FnMut(&mut [u8; BLOCK]) -> Result<()>,
) -> Result<(Vec<DataRange>, u64)> {
    let mut lines = DecimalLines { block: [0; BLOCK], at: BLOCK, taken: 0 };
    let count = lines.number(&mut next)?;
    let mut ranges = Vec::new();
    for _ in 0..count {
        let start = lines.number(&mut next)?;
        push_range(&mut ranges, (start, lines.number(&mut next)?))?;
    }
    Ok((ranges, lines.taken))
}

struct DecimalLines {
    block: [u8; BLOCK],
    at: usize,
    taken: u64,
}

impl DecimalLines {
    fn number(&mut self, next: &mut impl FnMut(&mut [u8; BLOCK]) -> Result<()>) -> Result<u64> {
        let mut digits = Vec::with_capacity(20);
        loop {
            if self.at == BLOCK {
                next(&mut self.block)?;
                self.at = 0;
                self.taken += BLOCK as u64;
            }
            let byte = self.block[self.at];
            self.at += 1;
            if byte == b'\n' {
                return pax::parse_decimal(&digits);
            }
            if digits.len() == 20 {
                return Err(fail!(Kind::Spec, "a sparse file's map is damaged"));
            }
            digits.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_must_be_in_order_and_inside() {
        assert!(SparseMap::checked(vec![(0, 5), (10, 5)], 20, 10).is_ok());
        for (ranges, size, holds) in [
            (vec![(0, 5), (4, 5)], 20, 10),
            (vec![(10, 5), (0, 5)], 20, 10),
            (vec![(0, 21)], 20, 21),
            (vec![(u64::MAX, 2)], 20, 2),
            (vec![(0, 5)], 20, 6),
        ] {
            assert!(SparseMap::checked(ranges.clone(), size, holds).is_err(), "{ranges:?}");
        }
    }

    #[test]
    fn a_map_at_the_head_of_the_data_is_read() {
        let mut text = b"2\n0\n512\n4096\n10\n".to_vec();
        text.resize(BLOCK, 0);
        let mut blocks = text.chunks(BLOCK);
        let (ranges, taken) = read_pax_1(|block| {
            block.copy_from_slice(blocks.next().unwrap());
            Ok(())
        })
        .unwrap();
        assert_eq!((ranges, taken), (vec![(0, 512), (4096, 10)], 512));
    }
}
