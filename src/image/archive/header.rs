//! Decodes one 512-byte tar header of the V7, ustar, GNU or star format.
//!
//! If a format allows two readings, the stricter one is used, because files can be smuggled past one of two
//! readers that disagree (CVE-2025-62518).

use std::ops::Range;

use crate::error::{Kind, Result};
use crate::fail;

pub(crate) const BLOCK: usize = 512;

/// The extension of V7 that a header follows, which decides the meaning of the bytes after 257.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

/// An undecoded header of the archive.
#[derive(Clone, Copy)]
pub(crate) struct Header<'a>(&'a [u8; BLOCK]);

impl<'a> Header<'a> {
    /// Takes a block as a header if its checksum is right.
    pub(crate) fn parse(block: &'a [u8; BLOCK]) -> Result<Self> {
        let header = Self(block);
        let stored = header.number(148..156).map_err(|_| damaged())?;
        // The field itself counts as blanks.
        let blanks = 8 * i32::from(b' ');
        let unsigned = |bytes: &[u8]| bytes.iter().map(|&byte| i32::from(byte)).sum::<i32>();
        let signed = |bytes: &[u8]| bytes.iter().map(|&byte| i32::from(byte.cast_signed())).sum::<i32>();
        let is =
            |sum: &dyn Fn(&[u8]) -> i32| stored == i64::from(sum(block) - sum(&block[148..156]) + blanks);
        // Some old writers summed signed bytes.
        if !is(&unsigned) && !is(&signed) {
            return Err(damaged());
        }
        Ok(header)
    }

    fn format(&self) -> Format {
        // The version behind "ustar" is "00"; some writers have others, and readers do not look at it.
        match (&self.0[257..265], &self.0[508..512]) {
            ([b'u', b's', b't', b'a', b'r', b' ', b' ', _], _) => Format::Gnu,
            ([b'u', b's', b't', b'a', b'r', 0, ..], b"tar\0") => Format::Star,
            ([b'u', b's', b't', b'a', b'r', ..], _) => Format::Ustar,
            _ => Format::V7,
        }
    }

    pub(super) fn is_gnu(&self) -> bool {
        self.format() == Format::Gnu
    }

    /// Refuses a header that readers take for one of another format, with another name or device.
    pub(super) fn check_format(&self) -> Result<()> {
        let is_number = |range: Range<usize>| number(&self.0[range]).is_ok();
        let is_time = |range: Range<usize>| self.0[range.start] == 0 || is_number(range);
        let is_device = matches!(self.kind(), b'3' | b'4');
        let is_agreed = match self.format() {
            Format::V7 => true,
            // Without the zero behind the magic it is one of V7 to some, which have no prefix and no devices.
            Format::Ustar => self.0[262] == 0 || self.0[345] == 0 && !is_device,
            // Where the times stand, some read a longer prefix if these are none.
            Format::Star => self.0[475] == 0 && is_number(476..488) && is_number(488..500),
            Format::Gnu => self.0[264] == 0 && is_time(345..357) && is_time(357..369),
        };
        match is_agreed {
            true => Ok(()),
            false => Err(fail!(Kind::Spec, "a header is damaged: readers disagree on its format")),
        }
    }

    pub(crate) fn kind(&self) -> u8 {
        self.0[156]
    }

    /// Returns the name, with the prefix in front if the format has one.
    pub(crate) fn name(&self, into: &mut Vec<u8>) {
        into.clear();
        let prefix = match self.format() {
            Format::Ustar => text(&self.0[345..500]),
            Format::Star => text(&self.0[345..476]),
            Format::V7 | Format::Gnu => b"",
        };
        if !prefix.is_empty() {
            into.extend_from_slice(prefix);
            into.push(b'/');
        }
        into.extend_from_slice(text(&self.0[..100]));
    }

    pub(crate) fn link(&self) -> &'a [u8] {
        text(&self.0[157..257])
    }

    pub(crate) fn mode(&self) -> Result<u32> {
        let mode = self.number(100..108)?;
        u32::try_from(mode & 0o7777).map_err(|_| fail!(Kind::Spec, "mode {mode} is out of range"))
    }

    pub(crate) fn uid(&self) -> Result<i64> {
        self.number(108..116)
    }

    pub(crate) fn gid(&self) -> Result<i64> {
        self.number(116..124)
    }

    pub(crate) fn size(&self) -> Result<i64> {
        self.number(124..136)
    }

    /// Seconds since 1970; may be negative.
    pub(crate) fn mtime(&self) -> Result<i64> {
        self.number(136..148)
    }

    /// Major and minor number of a device.
    pub(crate) fn device(&self) -> Result<(u32, u32)> {
        if self.format() == Format::V7 {
            return Ok((0, 0));
        }
        // As many bits as the kernel has for each. It drops what is above: 4096:0 would be 0:0, which an overlay takes
        // for a whiteout.
        let part = |range, bits: u32| {
            let number = self.number(range)?;
            let part = u32::try_from(number).ok().filter(|part| part >> bits == 0);
            part.ok_or_else(|| fail!(Kind::Spec, "device number {number} is out of range"))
        };
        Ok((part(329..337, 12)?, part(337..345, 20)?))
    }

    /// Four offset and length pairs of an old GNU sparse file, and whether more blocks follow.
    pub(crate) fn sparse(&self) -> (&'a [u8], bool) {
        (&self.0[386..482], self.0[482] != 0)
    }

    pub(super) fn sparse_size(&self) -> Result<i64> {
        self.number(483..495)
    }

    fn number(&self, range: Range<usize>) -> Result<i64> {
        number(&self.0[range])
    }
}

/// Whether a block with a wrong checksum looks like a header: it has the magic of every format but the
/// oldest.
pub(super) fn looks_like_one(block: &[u8; BLOCK]) -> bool {
    block[257..].starts_with(b"ustar")
}

fn damaged() -> crate::error::Error {
    fail!(Kind::Spec, "a header is damaged: its checksum does not match")
}

/// A field up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|&byte| byte == 0).unwrap_or(field.len())]
}

/// Octal digits with blanks around them, or base 256 where the first bit is set.
pub(crate) fn number(field: &[u8]) -> Result<i64> {
    if field.first().is_some_and(|first| first & 0x80 != 0) {
        return base_256(field);
    }
    // Some skip a zero in front of the digits, some take it for their end.
    if field.first() == Some(&0) && field.iter().any(|byte| !b"\0 ".contains(byte)) {
        return Err(bad_number(field));
    }
    let digits = text(field).trim_ascii();
    digits.iter().try_fold(0_i64, |value, &digit| match digit {
        b'0'..=b'7' => value
            .checked_mul(8)
            .and_then(|value| value.checked_add(i64::from(digit - b'0')))
            .ok_or_else(|| bad_number(field)),
        _ => Err(bad_number(field)),
    })
}

/// Two's complement, big end first; the first bit only marks the form.
fn base_256(field: &[u8]) -> Result<i64> {
    let negative = field[0] & 0x40 != 0;
    let first = if negative { i128::from(field[0].cast_signed()) } else { i128::from(field[0] & 0x3f) };
    let mut value = first;
    for &byte in &field[1..] {
        value = value << 8 | i128::from(byte);
    }
    i64::try_from(value).map_err(|_| bad_number(field))
}

fn bad_number(field: &[u8]) -> crate::error::Error {
    fail!(Kind::Spec, "a header is damaged: \"{}\" is not a number", field.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_both_forms() {
        assert_eq!(number(b"0000644\0").unwrap(), 0o644);
        assert_eq!(number(b" 644 \0\0\0").unwrap(), 0o644);
        assert_eq!(number(b"\0\0\0\0\0\0\0\0").unwrap(), 0);
        assert_eq!(number(b"77777777777").unwrap(), 0o77_777_777_777);
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\0").unwrap(), 256);
        assert_eq!(number(&[0xff; 12]).unwrap(), -1);
        assert_eq!(number(b"\x80\0\0\0\x02\0\0\0\0\0\0\0").unwrap(), 2 << 56);
    }

    #[test]
    fn other_numbers_are_refused() {
        for bad in [
            &b"0000648\0"[..],
            b"-000001\0",
            b"12 34\0\0\0",
            b"\x00000644",
            b"\0\x00000\x31\0",
            b"\x8f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(number(bad).is_err(), "{}", bad.escape_ascii());
        }
    }
}
