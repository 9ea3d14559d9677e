//! Writing a tar archive as layers have it: ustar headers, and POSIX extended headers before them where a value does
//! not fit or ustar has no field for it.

use std::io::{Read, Write};

use tar::{EntryType, Header};

use crate::error::{Context, Error, Kind, Result};
use crate::{fail, log};

const BLOCK: u64 = 512;
/// The largest number in eight octal digits of ustar, its end mark taken off.
const SMALL: u64 = 0o777_7777;
/// The same in twelve.
const LARGE: u64 = 0o777_7777_7777;

/// One entry; the default is a file of root's.
#[derive(Debug, Default)]
pub struct Entry<'a> {
    pub name: &'a [u8],
    pub kind: Kinds,
    pub mode: u32,
    pub ids: (u32, u32),
    pub size: u64,
    /// Seconds and nanoseconds.
    pub modified: (i64, i64),
    pub link: &'a [u8],
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The entry's type flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds(pub EntryType);

impl Default for Kinds {
    fn default() -> Self {
        Self(EntryType::Regular)
    }
}

pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Writes the headers of an entry, and its content.
    pub fn entry(&mut self, entry: &Entry<'_>, content: &mut dyn Read) -> Result<()> {
        let extended = extended(entry);
        if !extended.is_empty() {
            let name = [b"PaxHeaders/", &entry.name[entry.name.len().saturating_sub(80)..]].concat();
            let mut header = header(&Entry { name: &name, mode: 0o644, ..Entry::default() });
            header.set_entry_type(EntryType::XHeader);
            header.set_size(extended.len() as u64);
            self.block(header, &mut &extended[..], extended.len() as u64)?;
        }
        self.block(header(entry), content, entry.size)
    }

    fn block(&mut self, mut header: Header, content: &mut dyn Read, size: u64) -> Result<()> {
        header.set_cksum();
        self.out.write_all(header.as_bytes()).context("write the archive")?;
        let written = pour(content, &mut self.out, size)?;
        if written != size {
            return Err(fail!(Kind::State, "the file has become shorter while it was read"));
        }
        let padding = size.wrapping_neg() % BLOCK;
        let zeros = [0; BLOCK as usize];
        self.out.write_all(&zeros[..usize::try_from(padding).unwrap_or(0)]).context("write the archive")
    }

    /// Writes the end.
    pub fn finish(mut self) -> Result<W> {
        self.out.write_all(&[0; 2 * BLOCK as usize]).context("write the archive")?;
        Ok(self.out)
    }
}

fn pour(from: &mut dyn Read, to: &mut impl Write, size: u64) -> Result<u64> {
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

/// The ustar header, as far as it has room; the rest is `extended`.
fn header(entry: &Entry<'_>) -> Header {
    let mut header = Header::new_ustar();
    if let Some(ustar) = header.as_ustar_mut() {
        fill(&mut ustar.name, entry.name);
        fill(&mut ustar.linkname, entry.link);
    }
    header.set_entry_type(entry.kind.0);
    header.set_mode(entry.mode);
    header.set_uid(u64::from(entry.ids.0).min(SMALL));
    header.set_gid(u64::from(entry.ids.1).min(SMALL));
    header.set_size(entry.size.min(LARGE));
    header.set_mtime(u64::try_from(entry.modified.0).unwrap_or(0).min(LARGE));
    if matches!(entry.kind.0, EntryType::Char | EntryType::Block) {
        // Both are in ustar, and the kernel's numbers fit.
        let _ = header.set_device_major(entry.device.0);
        let _ = header.set_device_minor(entry.device.1);
    }
    header
}

fn fill(field: &mut [u8; 100], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

/// The records of what the ustar header has no room for.
fn extended(entry: &Entry<'_>) -> Vec<u8> {
    let mut records = Vec::new();
    let mut add = |key: &[u8], value: &[u8]| record(&mut records, key, value);
    if entry.name.len() > 100 {
        add(b"path", entry.name);
    }
    if entry.link.len() > 100 {
        add(b"linkpath", entry.link);
    }
    for (key, id) in [("uid", entry.ids.0), ("gid", entry.ids.1)] {
        if u64::from(id) > SMALL {
            add(key.as_bytes(), id.to_string().as_bytes());
        }
    }
    if entry.size > LARGE {
        add(b"size", entry.size.to_string().as_bytes());
    }
    let (seconds, nanos) = entry.modified;
    if nanos != 0 || u64::try_from(seconds).is_ok_and(|seconds| seconds > LARGE) || seconds < 0 {
        add(b"mtime", time(seconds, nanos).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        if name.contains(&b'=') {
            let (path, name) = (entry.name.escape_ascii(), name.escape_ascii());
            log::warn(format_args!(
                "{path}: attribute {name} is left out: an archive ends its name at the ="
            ));
            continue;
        }
        add(&[b"SCHILY.xattr.", &name[..]].concat(), value);
    }
    records
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.extend_from_slice(&[b" ", key, b"=", value, b"\n"].concat());
}

/// Decimal seconds; what is before 1970 counts downwards from its whole second.
fn time(seconds: i64, nanos: i64) -> String {
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
    use crate::image::archive::{Archive, Entry as Read, Input, Type};

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
            record(&mut records, b"ab", &vec![b'x'; value]);
            assert_eq!(records.len(), length, "{value}");
            assert!(records.starts_with(format!("{length} ab=").as_bytes()));
        }
    }

    #[test]
    fn times_are_decimal() {
        assert_eq!(time(5, 0), "5");
        assert_eq!(time(5, 120_000_000), "5.12");
        assert_eq!(time(-1, 500_000_000), "-0.5");
        assert_eq!(time(-2, 250_000_000), "-1.75");
        assert_eq!(time(-3, 0), "-3");
    }

    #[test]
    fn our_own_reader_reads_what_is_written() {
        let long = [b"d/".repeat(80), b"\xffname".to_vec()].concat();
        let entry = Entry {
            name: &long,
            mode: 0o4755,
            ids: (3_000_000_000, 7),
            size: 5,
            modified: (-2, 250_000_000),
            xattrs: vec![(b"user.a".to_vec(), b"1\n2\0".to_vec())],
            ..Entry::default()
        };
        let mut writer = Writer::new(Vec::new());
        writer.entry(&entry, &mut &b"hello"[..]).unwrap();
        let target = b"t".repeat(200);
        let link =
            Entry { name: b"link", kind: Kinds(EntryType::Symlink), link: &target, ..Entry::default() };
        writer.entry(&link, &mut std::io::empty()).unwrap();
        let bytes = writer.finish().unwrap();
        let mut archive = Archive::new(Bytes(&bytes));
        let mut read = Read::default();
        archive.next(&mut read).unwrap().unwrap();
        assert_eq!(read.name, long);
        assert_eq!((read.mode, read.uid, read.gid, read.size), (0o4755, 3_000_000_000, 7, 5));
        assert_eq!(read.mtime, (-2, 250_000_000));
        assert_eq!(read.xattrs, entry.xattrs);
        assert_eq!(archive.data().unwrap(), b"hello");
        archive.next(&mut read).unwrap().unwrap();
        assert_eq!((read.kind, &read.link), (Type::Symlink, &target));
        assert!(archive.next(&mut read).unwrap().is_none());
    }
}
