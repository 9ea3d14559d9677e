//! Extended headers of POSIX pax: records of `length key=value\n` that override fields of the entry that
//! follows.

use crate::error::{Error, Kind, Result};
use crate::fail;
use crate::image::limits;

/// A time as archives have it: seconds, possibly before 1970, and nanoseconds.
pub(crate) type Time = (i64, u32);

/// The fields that extended headers override; None if a field is not overridden.
#[derive(Debug, Default, Clone)]
pub(super) struct PaxHeader {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) linkpath: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<i64>,
    pub(crate) gid: Option<i64>,
    pub(crate) mtime: Option<Time>,
    pub(crate) atime: Option<Time>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: SparseRecords,
}

/// The GNU.sparse.* records of the formats 0.0, 0.1 and 1.0.
#[derive(Debug, Default, Clone)]
pub(super) struct SparseRecords {
    pub(crate) major: Option<u64>,
    pub(crate) minor: Option<u64>,
    pub(crate) name: Option<Vec<u8>>,
    /// GNU.sparse.size or realsize.
    pub(crate) size: Option<u64>,
    pub(crate) blocks: Option<u64>,
    /// Offset and length by turns.
    pub(crate) map: Vec<u64>,
}

impl PaxHeader {
    /// Adds the records of one extended header to those before it.
    pub(super) fn add_records(&mut self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            let (key, value, rest) = split_record(data)?;
            self.set(key, value).map_err(|e| e.context(format!("extended header {}", key.escape_ascii())))?;
            data = rest;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            b"path" => self.path = parse_name(value)?,
            b"linkpath" => self.linkpath = parse_name(value)?,
            b"size" => self.size = parse_unless_empty(value, parse_decimal)?,
            b"uid" => self.uid = parse_unless_empty(value, parse_id)?,
            b"gid" => self.gid = parse_unless_empty(value, parse_id)?,
            b"mtime" => self.mtime = parse_unless_empty(value, parse_time)?,
            b"atime" => self.atime = parse_unless_empty(value, parse_time)?,
            key => match (key.strip_prefix(b"SCHILY.xattr."), key.strip_prefix(b"LIBARCHIVE.xattr.")) {
                (Some(name), _) => return self.set_xattr(name.to_vec(), value.to_vec()),
                (_, Some(name)) => {
                    let value = base64(value).ok_or_else(|| invalid(value, "base64"))?;
                    return self.set_xattr(percent_decoded(name), value);
                }
                _ => return self.sparse.set(key, value),
            },
        }
        Ok(())
    }

    /// Refuses names, sizes, owners and attributes in a global header: readers that follow POSIX apply them
    /// to all entries after it, those of other container tools (in Go) to none. Times do no harm either way.
    pub(super) fn check_global(&self) -> Result<()> {
        let disputed = [
            ("path", self.path.is_some()),
            ("linkpath", self.linkpath.is_some()),
            ("size", self.size.is_some()),
            ("uid", self.uid.is_some()),
            ("gid", self.gid.is_some()),
            ("SCHILY.xattr", !self.xattrs.is_empty()),
            ("GNU.sparse", self.sparse.is_any()),
        ];
        match disputed.iter().find(|(_, is_set)| *is_set) {
            Some((what, _)) => {
                Err(fail!(Kind::Spec, "a global header sets {what}, which some readers take and some do not"))
            }
            None => Ok(()),
        }
    }

    /// If an attribute occurs twice, the later one counts (libarchive writes both spellings).
    fn set_xattr(&mut self, name: Vec<u8>, value: Vec<u8>) -> Result<()> {
        self.xattrs.retain(|(known, _)| *known != name);
        self.xattrs.push((name, value));
        let held: usize = self.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if self.xattrs.len() > limits::MAX_XATTRS || held as u64 > limits::MAX_PAX_HEADER {
            let (most, bytes) = (limits::MAX_XATTRS, limits::MAX_PAX_HEADER);
            return Err(fail!(Kind::Spec, "more than {most} extended attributes, or {bytes} bytes of them"));
        }
        Ok(())
    }
}

impl SparseRecords {
    /// Whether there are any.
    pub(super) fn is_any(&self) -> bool {
        let numbers = [self.major, self.minor, self.size, self.blocks];
        self.name.is_some() || !self.map.is_empty() || numbers.iter().any(Option::is_some)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if self.map.len() > 2 * limits::MAX_SPARSE_RANGES {
            return Err(fail!(
                Kind::Spec,
                "a sparse file has more than {} pieces",
                limits::MAX_SPARSE_RANGES
            ));
        }
        match key {
            b"GNU.sparse.major" => self.major = Some(parse_decimal(value)?),
            b"GNU.sparse.minor" => self.minor = Some(parse_decimal(value)?),
            b"GNU.sparse.name" => self.name = parse_name(value)?,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.size = Some(parse_decimal(value)?),
            b"GNU.sparse.numblocks" => self.blocks = Some(parse_decimal(value)?),
            b"GNU.sparse.offset" if self.map.len().is_multiple_of(2) => self.map.push(parse_decimal(value)?),
            b"GNU.sparse.numbytes" if !self.map.len().is_multiple_of(2) => {
                self.map.push(parse_decimal(value)?);
            }
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => return Err(invalid(value, "in its place")),
            b"GNU.sparse.map" => {
                let numbers = value.split(|&byte| byte == b',').map(parse_decimal);
                self.map = numbers.collect::<Result<_>>()?;
            }
            // Names of owners, comments and character sets have no effect on a tree.
            _ => {}
        }
        Ok(())
    }
}

/// Splits `length key=value\n` off; the length counts itself.
fn split_record(data: &[u8]) -> Result<(&[u8], &[u8], &[u8])> {
    let damaged = || fail!(Kind::Spec, "an extended header is damaged");
    let blank = data.iter().take(20).position(|&byte| byte == b' ').ok_or_else(damaged)?;
    let length = usize::try_from(parse_decimal(&data[..blank])?).map_err(|_| damaged())?;
    if length <= blank + 1 || length > data.len() || data[length - 1] != b'\n' {
        return Err(damaged());
    }
    let body = &data[blank + 1..length - 1];
    let equals = body.iter().position(|&byte| byte == b'=').ok_or_else(damaged)?;
    // Some refuse a zero in a key, some read on.
    if equals == 0 || body[..equals].contains(&0) {
        return Err(damaged());
    }
    Ok((&body[..equals], &body[equals + 1..], &data[length..]))
}

/// Parses a value; an empty one cancels the value of a global header.
fn parse_unless_empty<T>(value: &[u8], parse: impl FnOnce(&[u8]) -> Result<T>) -> Result<Option<T>> {
    if value.is_empty() { Ok(None) } else { parse(value).map(Some) }
}

fn parse_name(value: &[u8]) -> Result<Option<Vec<u8>>> {
    if value.contains(&0) {
        return Err(invalid(value, "a name"));
    }
    Ok(Some(value.to_vec()).filter(|name| !name.is_empty()))
}

/// A number without sign, at most i64::MAX, as every size in the kernel is.
pub(super) fn parse_decimal(value: &[u8]) -> Result<u64> {
    if value.is_empty() || value.len() > 19 {
        return Err(invalid(value, "a number"));
    }
    value
        .iter()
        .try_fold(0_u64, |sum, &digit| match digit {
            b'0'..=b'9' => Some(sum * 10 + u64::from(digit - b'0')).filter(|&sum| i64::try_from(sum).is_ok()),
            _ => None,
        })
        .ok_or_else(|| invalid(value, "a number"))
}

fn parse_id(value: &[u8]) -> Result<i64> {
    match value.strip_prefix(b"-") {
        Some(digits) => Ok(-parse_decimal(digits)?.cast_signed()),
        None => Ok(parse_decimal(value)?.cast_signed()),
    }
}

/// `[-]seconds[.fraction]`; a fraction finer than nanoseconds is cut.
fn parse_time(value: &[u8]) -> Result<Time> {
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    let point = digits.iter().position(|&byte| byte == b'.').unwrap_or(digits.len());
    let seconds = parse_decimal(&digits[..point])?.cast_signed();
    let fraction = digits.get(point + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(invalid(value, "a time"));
    }
    let nanos =
        (0..9).fold(0, |sum, i| sum * 10 + fraction.get(i).map_or(0, |digit| u32::from(digit - b'0')));
    Ok(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        // Nanoseconds always count forward: -1.25 is -2 + 0.75.
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

fn invalid(value: &[u8], what: &str) -> Error {
    let shown = &value[..value.len().min(64)];
    fail!(Kind::Spec, "\"{}\" is not {what}", shown.escape_ascii())
}

/// Standard alphabet; padding may be missing, as libarchive leaves it out.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
    base64::Engine::decode(&engine, text).ok()
}

/// Decodes percent signs: `%41` becomes `A`; anything else is unchanged.
fn percent_decoded(name: &[u8]) -> Vec<u8> {
    let digit = |at: usize| name.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let mut out = Vec::with_capacity(name.len());
    let mut at = 0;
    while at < name.len() {
        match (name[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, _, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_header(data: &[u8]) -> Result<PaxHeader> {
        let mut extended = PaxHeader::default();
        extended.add_records(data)?;
        Ok(extended)
    }

    /// One record, its length counted as writers count it.
    fn written(key: &str, value: &[u8]) -> Vec<u8> {
        let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
        let length = (1..).find(|digits| (body.len() + digits).to_string().len() == *digits).unwrap();
        [(body.len() + length).to_string().as_bytes(), &body].concat()
    }

    #[test]
    fn records_override_fields() {
        let records: [(&str, &[u8]); 4] = [
            ("path", b"xy"),
            ("uid", b"5"),
            ("mtime", b"1700000.250"),
            ("SCHILY.xattr.user.a", b"\0line\nbr"),
        ];
        let found = parse_header(&records.map(|(key, value)| written(key, value)).concat()).unwrap();
        assert_eq!(found.path.as_deref(), Some(&b"xy"[..]));
        assert_eq!(found.uid, Some(5_i64));
        assert_eq!(found.mtime, Some((1_700_000, 250_000_000)));
        assert_eq!(found.xattrs, [(b"user.a".to_vec(), b"\0line\nbr".to_vec())]);
    }

    #[test]
    fn an_empty_value_takes_back_a_global_one() {
        let mut found = parse_header(b"9 path=g\n").unwrap();
        found.add_records(b"8 path=\n").unwrap();
        assert_eq!(found.path, None);
    }

    #[test]
    fn times_before_1970_count_backwards() {
        assert_eq!(parse_time(b"-1").unwrap(), (-1, 0));
        assert_eq!(parse_time(b"-1.25").unwrap(), (-2, 750_000_000));
        assert_eq!(parse_time(b"0.0000000019").unwrap(), (0, 1));
    }

    #[test]
    fn damaged_records_are_refused() {
        let bad: [&[u8]; 11] = [
            b"path=x\n",
            b"7 path=x\n",
            b"99 path=x\n",
            b"9 path=xy",
            b"6 =xy\n",
            b"-9 path=x\n",
            b"11 path=a\0b\n",
            b"11 pa\0th=b\n",
            b"12 size=-123\n",
            b"31 size=99999999999999999999999\n",
            b"18446744073709551625 a=b\n",
        ];
        for data in bad {
            assert!(parse_header(data).is_err(), "{}", data.escape_ascii());
        }
    }

    #[test]
    fn attributes_of_libarchive_are_decoded() {
        let found = parse_header(&written("LIBARCHIVE.xattr.user.%61b", b"aGVsbG8")).unwrap();
        assert_eq!(found.xattrs, [(b"user.ab".to_vec(), b"hello".to_vec())]);
        assert_eq!(base64(b"aGVsbA==").unwrap(), b"hell");
        assert_eq!(base64(b"aGVs").unwrap(), b"hel");
        assert!(base64(b"a").is_none() && base64(b"a$==").is_none());
    }
}
