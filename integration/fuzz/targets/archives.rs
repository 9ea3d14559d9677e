//! Tar archives of any bytes.

use std::io::{BufRead, Cursor};

use crate::image::archive::path::clean;
use crate::image::archive::{Archive, Entry, Input};
use crate::image::unpack::whiteout::classify;

struct Bytes<'a>(Cursor<&'a [u8]>);

impl std::io::Read for Bytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl BufRead for Bytes<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.0.consume(count);
    }
}

impl Input for Bytes<'_> {}

/// An archive is read to its end or refused, and nothing is read that it does not have. Names come out clean.
pub(super) fn archive(input: &[u8]) {
    let mut archive = Archive::new(Bytes(Cursor::new(input)));
    let mut entry = Entry::default();
    let mut before = 0;
    while let Ok(true) = archive.next_entry(&mut entry) {
        let offset = archive.offset();
        assert!(offset > before && offset <= input.len() as u64, "{before} to {offset} of {}", input.len());
        before = offset;
        let path = clean(&entry.name);
        let mut parts = path.split(|byte| *byte == b'/');
        assert!(path.is_empty() || parts.all(|part| !part.is_empty() && part != b"." && part != b".."));
        let _ = classify(&path);
        let mut stored = 0_u64;
        while let Ok(data) = archive.data()
            && !data.is_empty()
        {
            let count = data.len();
            stored += count as u64;
            archive.consume(count);
        }
        assert!(stored <= input.len() as u64);
        assert!(entry.sparse.is_some() || stored <= entry.size, "{stored} bytes of {}", entry.size);
    }
}
