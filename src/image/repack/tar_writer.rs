//! Writes a tar archive as layers have it: ustar headers, with a POSIX extended (pax) header before each if a
//! value does not fit or ustar has no field for it.

use std::io::{Read, Write};

use tar::{EntryType, Header};

use crate::error::{Context, Error, Kind, Result};
use crate::{fail, log};

const BLOCK: u64 = 512;
/// The largest number in an 8-byte field of ustar: seven octal digits and a terminator.
const MAX_7_DIGITS: u64 = 0o777_7777;
/// The largest number in a 12-byte field: eleven octal digits and a terminator.
const MAX_11_DIGITS: u64 = 0o777_7777_7777;

/// The header of one entry; the default is an empty regular file of root.
#[derive(Debug, Default)]
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) kind: EntryKind,
    pub(crate) mode: u32,
    /// User and group.
    pub(crate) ids: (u32, u32),
    pub(crate) size: u64,
    /// The modification time, in seconds and nanoseconds.
    pub(crate) mtime: (i64, i64),
    /// The target of a symlink or hard link.
    pub(crate) link: &'a [u8],
    /// Major and minor number.
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The entry's type flag, with a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryKind(pub(crate) EntryType);

impl Default for EntryKind {
    fn default() -> Self {
        Self(EntryType::Regular)
    }
}

/// An archive being written to `out`.
pub(super) struct TarWriter<W> {
    out: W,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out }
    }

    /// Writes an entry: its headers, and `entry.size` bytes of content.
    pub(super) fn write_entry(&mut self, entry: &Entry<'_>, content: &mut dyn Read) -> Result<()> {
        let extended = pax_records(entry);
        if !extended.is_empty() {
            let name = [b"PaxHeaders/", &entry.name[entry.name.len().saturating_sub(80)..]].concat();
            let mut header = header(&Entry { name: &name, mode: 0o644, ..Entry::default() });
            header.set_entry_type(EntryType::XHeader);
            header.set_size(extended.len() as u64);
            self.write_block(header, &mut &extended[..], extended.len() as u64)?;
        }
        self.write_block(header(entry), content, entry.size)
    }

    /// Writes a header and its content, padded to whole blocks.
    fn write_block(&mut self, mut header: Header, content: &mut dyn Read, size: u64) -> Result<()> {
        header.set_cksum();
        self.out.write_all(header.as_bytes()).context("write the archive")?;
        let written = copy_bytes(content, &mut self.out, size)?;
        if written != size {
            return Err(fail!(Kind::State, "the file has become shorter while it was read"));
        }
        let padding = size.wrapping_neg() % BLOCK;
        let zeros = [0; BLOCK as usize];
        self.out.write_all(&zeros[..usize::try_from(padding).unwrap_or(0)]).context("write the archive")
    }

    /// Writes the two zero blocks that end an archive.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.out.write_all(&[0; 2 * BLOCK as usize]).context("write the archive")?;
        Ok(self.out)
    }
}

/// Copies at most `size` bytes, and returns how many there were.
fn copy_bytes(from: &mut dyn Read, to: &mut impl Write, size: u64) -> Result<u64> {
    let mut buffer = vec![0; usize::try_from(size.clamp(1, 128 << 10)).unwrap_or(1)];
    let mut from = from.take(size);
    let mut total = 0;
    loop {
        match from.read(&mut buffer).map_err(Error::from).context("read")? {
            0 => return Ok(total),
            count => to.write_all(&buffer[..count]).context("write the archive")?,
        }
        total = size - from.limit();
    }
}

/// The ustar header. A value that does not fit is cut off here, and the pax header holds it in full.
fn header(entry: &Entry<'_>) -> Header {
    let mut header = Header::new_ustar();
    if let Some(ustar) = header.as_ustar_mut() {
        copy_cut(&mut ustar.name, entry.name);
        copy_cut(&mut ustar.linkname, entry.link);
    }
    header.set_entry_type(entry.kind.0);
    header.set_mode(entry.mode);
    header.set_uid(u64::from(entry.ids.0).min(MAX_7_DIGITS));
    header.set_gid(u64::from(entry.ids.1).min(MAX_7_DIGITS));
    header.set_size(entry.size.min(MAX_11_DIGITS));
    header.set_mtime(u64::try_from(entry.mtime.0).unwrap_or(0).min(MAX_11_DIGITS));
    if matches!(entry.kind.0, EntryType::Char | EntryType::Block) {
        // Cannot fail: ustar has both fields, and the kernel's numbers fit.
        let _ = header.set_device_major(entry.device.0);
        let _ = header.set_device_minor(entry.device.1);
    }
    header
}

/// Copies `text` to a field, cut to its length.
fn copy_cut(field: &mut [u8; 100], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

/// The records of the pax header: what the ustar header has no room for.
fn pax_records(entry: &Entry<'_>) -> Vec<u8> {
    let mut records = Vec::new();
    let mut add = |key: &[u8], value: &[u8]| add_record(&mut records, key, value);
    if entry.name.len() > 100 {
        add(b"path", entry.name);
    }
    if entry.link.len() > 100 {
        add(b"linkpath", entry.link);
    }
    for (key, id) in [("uid", entry.ids.0), ("gid", entry.ids.1)] {
        if u64::from(id) > MAX_7_DIGITS {
            add(key.as_bytes(), id.to_string().as_bytes());
        }
    }
    if entry.size > MAX_11_DIGITS {
        add(b"size", entry.size.to_string().as_bytes());
    }
    let (seconds, nanos) = entry.mtime;
    if nanos != 0 || u64::try_from(seconds).is_ok_and(|seconds| seconds > MAX_11_DIGITS) || seconds < 0 {
        add(b"mtime", decimal_time(seconds, nanos).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        if name.contains(&b'=') {
            let (path, name) = (entry.name.escape_ascii(), name.escape_ascii());
            log::warn(format_args!(
                "{path}: attribute {name} is left out: a tar archive cannot have the = in its name"
            ));
            continue;
        }
        add(&[b"SCHILY.xattr.", &name[..]].concat(), value);
    }
    records
}

/// Adds `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record, itself included.
fn add_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.extend_from_slice(&[b" ", key, b"=", value, b"\n"].concat());
}

/// A time as decimal seconds. The kernel's nanoseconds count upwards before 1970 too; decimal fractions do
/// not.
fn decimal_time(seconds: i64, nanos: i64) -> String {
    let text = match (seconds < 0, nanos) {
        (_, 0) => return seconds.to_string(),
        (false, nanos) => format!("{seconds}.{nanos:09}"),
        (true, nanos) => {
            let (seconds, nanos) = (-(seconds + 1), 1_000_000_000 - nanos);
            format!("-{seconds}.{nanos:09}")
        }
    };
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::archive::{Archive, Entry as Read, EntryKind, Input};

    struct Bytes<'a>(&'a [u8]);
    impl std::io::Read for Bytes<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl std::io::BufRead for Bytes<'_> {
        fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
            Ok(self.0)
        }
        fn consume(&mut self, count: usize) {
            self.0 = &self.0[count..];
        }
    }
    impl Input for Bytes<'_> {}

    #[test]
    fn the_length_of_a_record_counts_itself() {
        for (value, length) in [(1, 7), (3, 9), (4, 11), (92, 99), (93, 101)] {
            let mut records = Vec::new();
            add_record(&mut records, b"ab", &vec![b'x'; value]);
            assert_eq!(records.len(), length, "{value}");
            assert!(records.starts_with(format!("{length} ab=").as_bytes()));
        }
    }

    #[test]
    fn times_are_decimal() {
        assert_eq!(decimal_time(5, 0), "5");
        assert_eq!(decimal_time(5, 120_000_000), "5.12");
        assert_eq!(decimal_time(-1, 500_000_000), "-0.5");
        assert_eq!(decimal_time(-2, 250_000_000), "-1.75");
        assert_eq!(decimal_time(-3, 0), "-3");
    }

    #[test]
    fn our_own_reader_reads_what_is_written() {
        let long = [b"d/".repeat(80), b"\xffname".to_vec()].concat();
        let entry = Entry {
            name: &long,
            mode: 0o4755,
            ids: (3_000_000_000, 7),
            size: 5,
            mtime: (-2, 250_000_000),
            xattrs: vec![(b"user.a".to_vec(), b"1\n2\0".to_vec())],
            ..Entry::default()
        };
        let mut writer = TarWriter::new(Vec::new());
        writer.write_entry(&entry, &mut &b"hello"[..]).unwrap();
        let target = b"t".repeat(200);
        let link =
            Entry { name: b"link", kind: EntryKind(EntryType::Symlink), link: &target, ..Entry::default() };
        writer.write_entry(&link, &mut std::io::empty()).unwrap();
        let bytes = writer.finish().unwrap();
        let mut archive = Archive::new(Bytes(&bytes));
        let mut read = Read::default();
        assert!(archive.next_entry(&mut read).unwrap());
        assert_eq!(read.name, long);
        assert_eq!((read.mode, read.uid, read.gid, read.size), (0o4755, 3_000_000_000, 7, 5));
        assert_eq!(read.mtime, (-2, 250_000_000));
        assert_eq!(read.xattrs, entry.xattrs);
        assert_eq!(archive.data().unwrap(), b"hello");
        assert!(archive.next_entry(&mut read).unwrap());
        assert_eq!((read.kind, &read.link), (EntryKind::Symlink, &target));
        assert!(!archive.next_entry(&mut read).unwrap());
    }
}
