//! `IndexedTar`: a tar file as a set of named files, which `oci-archive:` and `docker-archive:` are read
//! from.
//!
//! The headers are read once; after that each file is a range of the tar file. A compressed tar file is
//! decompressed first, into a temporary file without a name.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::archive::path::{clean, split};
use crate::image::archive::{Archive, Entry, EntryKind, Input};
use crate::image::blob::compression::Compression;
use crate::image::filesystem::input_file::open_regular;
use crate::image::io_error::from_io_error;
use crate::image::limits::{self, Limits};

/// The most files of an archive. An image's archive has few: a layer, a directory and two documents for each
/// layer.
const MAX_FILES: usize = 100_000;
/// The longest name in it: that of a blob has some hundred bytes. To look at each directory above a name takes the
/// square of its length.
const MAX_NAME: usize = 4096;
/// The most bytes of all names in it.
const MAX_NAME_BYTES: usize = 64 << 20;
/// The most symlinks that are followed between files of an archive.
const MAX_LINKS: u32 = 8;

#[derive(Debug)]
pub(super) struct IndexedTar {
    file: Arc<File>,
    names: HashMap<Vec<u8>, Member>,
}

#[derive(Debug, Clone)]
enum Member {
    File(FileRange),
    /// The clean path that it points at.
    Link(Vec<u8>),
    Directory,
    /// A device or a pipe.
    Other,
}

/// The bytes of the tar file that are the content of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileRange {
    start: u64,
    pub(crate) size: u64,
}

impl IndexedTar {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let read = || {
            let file = decompress_if_needed(open_regular(path)?)?;
            let names = read_headers(&file)?;
            Ok(Self { file: Arc::new(file), names })
        };
        read().map_err(|e: crate::error::Error| e.context(format!("archive {}", path.display())))
    }

    /// Finds the file of this name; links are followed inside the archive.
    pub(crate) fn find(&self, name: &str) -> Option<FileRange> {
        let mut name = clean(name.as_bytes());
        for _ in 0..MAX_LINKS {
            match self.names.get(&name)? {
                Member::File(range) => return Some(*range),
                Member::Link(target) => name.clone_from(target),
                Member::Directory | Member::Other => return None,
            }
        }
        None
    }

    pub(crate) fn reader(&self, range: FileRange) -> RangeReader {
        RangeReader { file: Arc::clone(&self.file), at: range.start, end: range.start + range.size }
    }

    /// Reads a small file as a whole; None if it does not exist.
    pub(super) fn read_small_file(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(range) = self.find(name) else { return Ok(None) };
        if range.size > limits::MAX_CONFIG {
            return Err(fail!(Kind::Spec, "{name}: larger than {} bytes", limits::MAX_CONFIG));
        }
        let mut bytes = Vec::new();
        self.reader(range).read_to_end(&mut bytes).with_context(|| format!("read {name}"))?;
        Ok(Some(bytes))
    }
}

/// Reads a range of a file with pread(2), which leaves the file's own position alone.
#[derive(Debug)]
pub(crate) struct RangeReader {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl RangeReader {
    /// A whole file.
    pub(crate) fn whole(file: Arc<File>, size: u64) -> Self {
        Self { file, at: 0, end: size }
    }
}

impl Read for RangeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Reads the headers. Readers disagree about two files of one name: those of containers/image take the first,
/// those that unpack the archive (Docker) have the last. So two files of one name must be identical, or one
/// archive would be two images.
fn read_headers(file: &File) -> Result<HashMap<Vec<u8>, Member>> {
    let mut archive = Archive::new(SeekingInput(BufReader::with_capacity(4096, file)));
    let mut entry = Entry::default();
    let (mut names, mut name_bytes) = (HashMap::new(), 0);
    while archive.next_entry(&mut entry)? {
        if entry.name.len() > MAX_NAME || entry.link.len() > MAX_NAME {
            return Err(fail!(Kind::Spec, "a name in it is longer than {MAX_NAME} bytes"));
        }
        name_bytes += entry.name.len() + entry.link.len();
        if name_bytes > MAX_NAME_BYTES {
            return Err(fail!(Kind::Spec, "its names have more than {MAX_NAME_BYTES} bytes"));
        }
        let name = clean(&entry.name);
        let target = |target: &[u8]| Member::Link(clean(target));
        let member = match entry.kind {
            EntryKind::Regular if entry.sparse.is_some() => {
                return Err(fail!(Kind::Unsupported, "{}: is a sparse file", name.escape_ascii()));
            }
            EntryKind::Regular => Member::File(FileRange { start: archive.offset(), size: entry.size }),
            EntryKind::HardLink => target(&entry.link),
            EntryKind::Symlink => target(&[split(&name).0, &entry.link].join(&b'/')),
            EntryKind::Directory => Member::Directory,
            _ => Member::Other,
        };
        if let Some(before) = names.get(&name)
            && !is_same(file, before, &member)?
        {
            let shown = name.escape_ascii();
            return Err(fail!(Kind::Spec, "{shown}: stands in it twice, and not the same both times"));
        }
        names.insert(name, member);
        if names.len() > MAX_FILES {
            return Err(fail!(Kind::Spec, "has more than {MAX_FILES} files"));
        }
    }
    check_parents(&names)?;
    Ok(names)
}

/// Whether two members are the same to every reader.
fn is_same(file: &File, one: &Member, other: &Member) -> Result<bool> {
    match (one, other) {
        (Member::Directory, Member::Directory) => Ok(true),
        (Member::Link(one), Member::Link(other)) => Ok(one == other),
        (Member::File(one), Member::File(other)) if one.size == other.size => {
            has_same_bytes(file, one.start, other.start, one.size)
        }
        _ => Ok(false),
    }
}

fn has_same_bytes(file: &File, one: u64, other: u64, size: u64) -> Result<bool> {
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut at = 0;
    while at < size {
        let count = usize::try_from(size - at).unwrap_or(usize::MAX).min(left.len());
        file.read_exact_at(&mut left[..count], one + at).context("read")?;
        file.read_exact_at(&mut right[..count], other + at).context("read")?;
        if left[..count] != right[..count] {
            return Ok(false);
        }
        at += count as u64;
    }
    Ok(true)
}

/// Refuses files below a path that is no directory: with a symlink `x -> .`, readers that unpack the archive
/// would get `x/manifest.json` in place of `manifest.json`.
fn check_parents(names: &HashMap<Vec<u8>, Member>) -> Result<()> {
    for name in names.keys() {
        let mut above = split(name).0;
        while !above.is_empty() {
            if names.get(above).is_some_and(|member| !matches!(member, Member::Directory)) {
                let (name, above) = (name.escape_ascii(), above.escape_ascii());
                return Err(fail!(Kind::Spec, "{name}: stands below {above}, which is no directory"));
            }
            above = split(above).0;
        }
    }
    Ok(())
}

/// The input of the archive reader that skips with lseek(2).
struct SeekingInput<'a>(BufReader<&'a File>);

impl Read for SeekingInput<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl BufRead for SeekingInput<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.0.consume(count);
    }
}

impl Input for SeekingInput<'_> {
    fn skip(&mut self, count: u64) -> io::Result<bool> {
        self.0.seek_relative(count.cast_signed())?;
        Ok(self.0.stream_position()? <= self.0.get_ref().metadata()?.len())
    }
}

/// Returns the file itself, or a temporary file with its decompressed content.
fn decompress_if_needed(file: File) -> Result<File> {
    let mut start = [0; 4];
    let count = file.read_at(&mut start, 0).context("read")?;
    match Compression::from_magic(&start[..count]) {
        Compression::Plain => Ok(file),
        Compression::Gzip => decompress_to_temporary(MultiGzDecoder::new(BufReader::new(&file)), &file),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(&file).context("zstd")?;
            decoder.window_log_max(limits::MAX_ZSTD_WINDOW_LOG).context("zstd")?;
            decompress_to_temporary(decoder, &file)
        }
    }
}

/// Decompresses to a file without a name; blocks of zeros become holes. `packed` is read by `from`.
fn decompress_to_temporary(mut from: impl Read, mut packed: &File) -> Result<File> {
    let limits = Limits::default();
    let dir = std::env::temp_dir();
    let place = || format!("decompress to {}", dir.display());
    let options = || {
        std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_TMPFILE)
            .mode(0o600)
            .open(&dir)
    };
    let mut file = options().with_context(place)?;
    let mut buffer = vec![0; 128 << 10];
    let (mut total, mut zeros) = (0, 0);
    loop {
        let count = fill(&mut from, &mut buffer)?;
        total += count as u64;
        if count == 0 {
            file.set_len(total).with_context(place)?;
            file.seek(SeekFrom::Start(0)).with_context(place)?;
            return Ok(file);
        }
        if total > limits.size {
            return Err(fail!(Kind::Spec, "is larger than {} bytes decompressed", limits.size));
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let (length, is_zero) = leading_run(rest);
            if is_zero {
                zeros += length as u64;
                file.seek_relative(length.cast_signed() as i64).with_context(place)?;
            } else {
                file.write_all(&rest[..length]).with_context(place)?;
            }
            rest = &rest[length..];
        }
        let read = packed.stream_position().with_context(place)?;
        limits::check_ratio(read, total - zeros, &limits).map_err(|error| {
            fail!(error.kind(), "{error}")
                .with_hint("if you trust it, decompress it, and name what comes out")
        })?;
    }
}

/// The length of the start of `bytes` that is only blocks of zeros (true), or only other blocks (false).
fn leading_run(bytes: &[u8]) -> (usize, bool) {
    const BLOCK: usize = 4096;
    let is_zero = |block: &[u8]| block.iter().all(|&byte| byte == 0);
    let first = is_zero(&bytes[..bytes.len().min(BLOCK)]);
    (bytes.chunks(BLOCK).take_while(|block| is_zero(block) == first).map(<[u8]>::len).sum(), first)
}

/// Reads until the buffer is full or the input ends.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]).map_err(from_io_error)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
