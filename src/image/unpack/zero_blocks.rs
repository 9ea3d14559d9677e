//! Finds blocks of zeros: they are left out of files as holes, and do not count as the growth of a
//! decompression bomb.

/// The block size in bytes that filesystems store or leave out as a whole.
const BLOCK: usize = 4096;

/// The length of the run at the start of `chunk` that is only blocks of zeros (true) or only blocks of data
/// (false). `at` is the offset of the chunk in its file.
pub(super) fn leading_run(chunk: &[u8], at: u64) -> (usize, bool) {
    let first = (BLOCK - (at % BLOCK as u64) as usize).min(chunk.len());
    let (first, rest) = chunk.split_at(first);
    let blank = is_blank(first);
    let alike = rest.chunks(BLOCK).take_while(|block| is_blank(block) == blank);
    (first.len() + alike.map(<[u8]>::len).sum::<usize>(), blank)
}

/// The number of bytes in whole blocks of zeros.
pub(crate) fn count(chunk: &[u8]) -> u64 {
    let blank = chunk.chunks_exact(BLOCK).filter(|block| is_blank(block));
    blank.map(|block| block.len() as u64).sum()
}

/// Whether a block has only zeros. For nearly all other blocks the first bytes decide.
fn is_blank(block: &[u8]) -> bool {
    block.chunks(64).all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_end_where_blocks_of_the_file_change() {
        let mut bytes = vec![0; 5 * BLOCK];
        bytes[2 * BLOCK + 1] = 1;
        assert_eq!(leading_run(&bytes, 0), (2 * BLOCK, true));
        assert_eq!(leading_run(&bytes[2 * BLOCK..], 2 * BLOCK as u64), (BLOCK, false));
        // The same bytes from a place inside a block.
        assert_eq!(leading_run(&bytes[2 * BLOCK..], 100), (BLOCK - 100, false));
        assert_eq!(leading_run(&bytes[BLOCK + 50..], 50), (BLOCK - 50, true));
        assert_eq!(leading_run(&bytes[3 * BLOCK..], 0), (2 * BLOCK, true));
        assert_eq!(leading_run(b"ab", 0), (2, false));
        assert_eq!(leading_run(b"\0\0", 0), (2, true));
        assert_eq!(count(&bytes), 4 * BLOCK as u64);
        assert_eq!(count(&[0; BLOCK - 1]), 0);
    }
}
