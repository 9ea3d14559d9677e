//! CRC-32C (Castagnoli), the checksum of the superblock.

const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Adds `bytes` to the sum `start`, without the inversions at both ends.
pub(super) fn crc32c(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| sum >> 1 ^ (POLYNOMIAL & (sum & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_the_digits_is_the_known_one() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
    }
}
