//! Reads a tar archive as a stream: headers of every dialect that layers are written in become one `Entry`.
//!
//! It is a reader of our own because its decisions (which size counts, which name counts) are the security of
//! unpacking, and because data goes from the decompressor's buffer to the file without a copy in between. It
//! never touches the filesystem, and refuses archives about which readers are known to disagree.

mod disputed;
mod header;
pub(crate) mod path;
mod pax;
mod sparse;

use std::io::{BufRead, Read};

use disputed::{check_agree, check_slash, check_sparse, set_once};
use header::{BLOCK, Header};
use pax::PaxHeader;
pub(crate) use pax::Time;
pub(crate) use sparse::SparseMap;

use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::blob::content;
use crate::image::io_error::from_io_error;
use crate::image::limits;
use crate::weak::{Defence, stands};

/// The type of file that an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EntryKind {
    #[default]
    Regular,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One entry, all dialects resolved. Names are the bytes of the archive, unchanged.
#[derive(Debug, Default)]
pub struct Entry {
    pub name: Vec<u8>,
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// The size of the file this makes: with holes, not as stored.
    pub size: u64,
    pub mtime: Time,
    pub atime: Option<Time>,
    /// The target of a link.
    pub link: Vec<u8>,
    /// Major and minor number.
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: Option<SparseMap>,
}

/// A tar archive that is read entry by entry.
#[derive(Debug)]
pub struct Archive<R> {
    input: R,
    /// Bytes of the current entry's data not yet read.
    data: u64,
    /// Zeros that follow the data, up to the next block.
    padding: u64,
    /// Bytes taken from the input so far.
    offset: u64,
    global: PaxHeader,
}

/// The input of an archive: a buffered reader that can skip.
pub trait Input: BufRead {
    /// Skips `count` bytes. Returns false where the input ends before.
    fn skip(&mut self, mut count: u64) -> std::io::Result<bool> {
        while count > 0 {
            let buffer = self.fill_buf()?;
            if buffer.is_empty() {
                return Ok(false);
            }
            let step = buffer.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            self.consume(step);
            count -= step as u64;
        }
        Ok(true)
    }
}

/// Headers that were read and belong to the entry after them.
#[derive(Default)]
struct PendingHeaders {
    extended: Option<PaxHeader>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: Input> Archive<R> {
    pub fn new(input: R) -> Self {
        Self { input, data: 0, padding: 0, offset: 0, global: PaxHeader::default() }
    }

    /// Where in the input the current entry's data starts, as long as none of it is read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    pub fn into_inner(self) -> R {
        self.input
    }

    /// Reads the next entry into `entry`, and skips what is left of the one before. Returns false at the end
    /// of the archive.
    ///
    /// # Errors
    ///
    /// `Kind::Spec` for an archive that is damaged or that readers disagree about; the errors of the input.
    pub fn next_entry(&mut self, entry: &mut Entry) -> Result<bool> {
        if !self.skip_to_next()? {
            return Ok(false);
        }
        let mut pending = PendingHeaders::default();
        let mut block = [0; BLOCK];
        loop {
            if !self.read_header(&mut block)? {
                return match pending.extended.is_some()
                    || pending.long_name.is_some()
                    || pending.long_link.is_some()
                {
                    true => Err(fail!(Kind::Spec, "the archive ends after an extended header")),
                    false => Ok(false),
                };
            }
            let header = Header::parse(&block).map_err(|error| {
                match self.offset == BLOCK as u64 && !header::looks_like_one(&block) {
                    true => content::no_tar(&block),
                    false => error,
                }
            })?;
            header.check_format()?;
            match header.kind() {
                b'x' => set_once(&mut pending.extended, self.read_pax_header(header, self.global.clone())?)?,
                b'g' => {
                    self.global = self.read_pax_header(header, self.global.clone())?;
                    self.global.check_global()?;
                }
                b'L' => set_once(&mut pending.long_name, self.read_long_name(header)?)?,
                b'K' => set_once(&mut pending.long_link, self.read_long_name(header)?)?,
                _ => return self.fill_entry(header, pending, entry).map(|()| true),
            }
        }
    }

    /// The next bytes of the current entry's data, straight from the decompressor's buffer; empty at its end.
    pub fn data(&mut self) -> Result<&[u8]> {
        if self.data == 0 {
            return Ok(&[]);
        }
        let buffer = self.input.fill_buf().map_err(from_io_error)?;
        if buffer.is_empty() {
            return Err(truncated());
        }
        let count = buffer.len().min(usize::try_from(self.data).unwrap_or(usize::MAX));
        Ok(&buffer[..count])
    }

    /// Marks `count` bytes of `data` as used.
    pub fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.offset += count as u64;
        self.data -= count as u64;
    }

    /// Skips what is left of an entry. Returns false where the archive ends with its data: some writers leave
    /// out the zeros after the last one.
    fn skip_to_next(&mut self) -> Result<bool> {
        let padding = self.padding;
        self.skip(self.data)?;
        let is_whole = padding == 0 || self.input.skip(padding).map_err(from_io_error)?;
        self.offset += padding;
        Ok(is_whole)
    }

    fn skip(&mut self, count: u64) -> Result<()> {
        if !self.input.skip(count).map_err(from_io_error)? {
            return Err(truncated());
        }
        self.offset += count;
        (self.data, self.padding) = (0, 0);
        Ok(())
    }

    /// Reads one header block. Returns false at the end, which is two blocks of zeros, or the end of the
    /// stream.
    fn read_header(&mut self, block: &mut [u8; BLOCK]) -> Result<bool> {
        if self.input.fill_buf().map_err(from_io_error)?.is_empty() {
            return Ok(false);
        }
        self.read_block(block)?;
        if block.iter().any(|&byte| byte != 0) {
            return Ok(true);
        }
        if self.input.fill_buf().map_err(from_io_error)?.is_empty() {
            return Ok(false);
        }
        self.read_block(block)?;
        match block.iter().all(|&byte| byte == 0) {
            true => Ok(false),
            // Some readers would stop here and some go on.
            false => Err(fail!(Kind::Spec, "a single block of zeros stands between two entries")),
        }
    }

    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<()> {
        // read_exact would not say how much it has read before the end.
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut block[filled..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(from_io_error(error)),
                Ok(0) if self.offset == 0 => return Err(content::no_tar(&block[..filled])),
                Ok(0) => return Err(truncated()),
                Ok(count) => filled += count,
            }
        }
        self.offset += BLOCK as u64;
        Ok(())
    }

    /// Sets the size of the data that follows, for `data` and the next `skip`.
    fn expect_data(&mut self, size: u64) {
        self.data = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// Reads the content of a header that is itself stored as a file.
    fn read_content(&mut self, header: Header<'_>) -> Result<Vec<u8>> {
        let size = u64::try_from(header.size()?).unwrap_or(u64::MAX);
        if size > limits::MAX_PAX_HEADER {
            return Err(fail!(
                Kind::Spec,
                "an extended header is larger than {} bytes",
                limits::MAX_PAX_HEADER
            ));
        }
        self.expect_data(size);
        let mut content = Vec::new();
        self.input.by_ref().take(size).read_to_end(&mut content).map_err(from_io_error)?;
        if content.len() as u64 != size {
            return Err(truncated());
        }
        self.offset += size;
        self.data = 0;
        self.skip(self.padding)?;
        Ok(content)
    }

    fn read_pax_header(&mut self, header: Header<'_>, mut before: PaxHeader) -> Result<PaxHeader> {
        let content = self.read_content(header)?;
        before.add_records(&content)?;
        Ok(before)
    }

    /// Reads one of GNU's long names, up to the first NUL.
    fn read_long_name(&mut self, header: Header<'_>) -> Result<Vec<u8>> {
        let mut name = self.read_content(header)?;
        name.truncate(name.iter().position(|&byte| byte == 0).unwrap_or(name.len()));
        match name.is_empty() {
            // Some take the short name then.
            true => Err(fail!(Kind::Spec, "a long name is empty")),
            false => Ok(name),
        }
    }

    fn fill_entry(&mut self, header: Header<'_>, pending: PendingHeaders, entry: &mut Entry) -> Result<()> {
        let extended = pending.extended.unwrap_or_else(|| self.global.clone());
        header.name(&mut entry.name);
        check_agree(pending.long_name.as_ref(), extended.path.as_ref())?;
        check_agree(pending.long_link.as_ref(), extended.linkpath.as_ref())?;
        replace_if_some(&mut entry.name, pending.long_name);
        replace_if_some(&mut entry.name, extended.path);
        replace_if_some(&mut entry.name, extended.sparse.name.clone());
        entry.link.clear();
        entry.link.extend_from_slice(header.link());
        replace_if_some(&mut entry.link, pending.long_link);
        replace_if_some(&mut entry.link, extended.linkpath);
        let shown = entry.name.escape_ascii().to_string();
        let attributes = Attributes {
            uid: extended.uid,
            gid: extended.gid,
            mtime: extended.mtime,
            atime: extended.atime,
            xattrs: extended.xattrs,
        };
        let filled = attributes.fill(header, entry);
        filled
            .and_then(|()| self.set_size(header, extended.size, &extended.sparse, entry))
            .and_then(|()| check_sparse(header, &extended.sparse, entry.sparse.is_some()))
            .with_context(|| shown)
    }

    /// Decides how many bytes of data follow. The number is decided once, because reading the data and
    /// finding the next header must use the same number (CVE-2025-62518).
    fn set_size(
        &mut self,
        header: Header<'_>,
        extended: Option<u64>,
        sparse: &pax::SparseRecords,
        entry: &mut Entry,
    ) -> Result<()> {
        (entry.sparse, entry.size) = (None, 0);
        let stored = match extended {
            Some(size) => size,
            None => {
                let size = header.size()?;
                u64::try_from(size).map_err(|_| fail!(Kind::Spec, "size {size} is negative"))?
            }
        };
        check_slash(header, &entry.name, stored)?;
        if entry.kind != EntryKind::Regular {
            // Some writers leave a size in the header of a link; no data follows it.
            return Ok(());
        }
        let map = if header.kind() == b'S' {
            let (ranges, size) = sparse::read_old_gnu(header, |block| self.read_block(block))?;
            Some(SparseMap::checked(ranges, size, stored)?)
        } else {
            self.pax_sparse_map(sparse, stored)?
        };
        match map {
            Some(map) => {
                entry.size = map.size;
                let holds = map.ranges.iter().map(|&(_, length)| length).sum();
                self.expect_data(stored);
                self.data = holds;
                entry.sparse = Some(map);
            }
            None => {
                entry.size = stored;
                let told = if stands(Defence::PaxSize) { stored } else { header.size()?.cast_unsigned() };
                self.expect_data(told);
            }
        }
        Ok(())
    }

    fn pax_sparse_map(&mut self, sparse: &pax::SparseRecords, stored: u64) -> Result<Option<SparseMap>> {
        let missing = || fail!(Kind::Spec, "a sparse file has no size");
        match (sparse.major, sparse.minor) {
            (Some(1), Some(0)) => {
                let (ranges, taken) = sparse::read_pax_1(|block| self.read_block(block))?;
                let holds = stored.checked_sub(taken);
                let holds = holds.ok_or_else(|| fail!(Kind::Spec, "a sparse file's map is cut off"))?;
                SparseMap::checked(ranges, sparse.size.ok_or_else(missing)?, holds).map(Some)
            }
            (None | Some(0), _) if !sparse.map.is_empty() || sparse.blocks.is_some() => {
                SparseMap::checked(sparse::read_pax_0(sparse)?, sparse.size.ok_or_else(missing)?, stored)
                    .map(Some)
            }
            (None, None) => Ok(None),
            (major, minor) => {
                let version = (major.unwrap_or(0), minor.unwrap_or(0));
                Err(fail!(Kind::Unsupported, "sparse files of version {}.{}", version.0, version.1))
            }
        }
    }
}

/// The overrides that are not names or sizes.
struct Attributes {
    uid: Option<i64>,
    gid: Option<i64>,
    mtime: Option<Time>,
    atime: Option<Time>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attributes {
    fn fill(self, header: Header<'_>, entry: &mut Entry) -> Result<()> {
        entry.kind = entry_kind(header, &entry.name)?;
        entry.mode = header.mode()?;
        entry.uid = valid_id(self.uid, || header.uid(), "uid")?;
        entry.gid = valid_id(self.gid, || header.gid(), "gid")?;
        entry.mtime = match self.mtime {
            Some(time) => time,
            None => (header.mtime()?, 0),
        };
        entry.atime = self.atime;
        entry.xattrs = self.xattrs;
        entry.device = match entry.kind {
            EntryKind::CharDevice | EntryKind::BlockDevice => header.device()?,
            _ => (0, 0),
        };
        Ok(())
    }
}

fn entry_kind(header: Header<'_>, name: &[u8]) -> Result<EntryKind> {
    Ok(match header.kind() {
        // V7 had no type for directories: a slash at the end of the name says it.
        b'\0' if name.ends_with(b"/") => EntryKind::Directory,
        b'0' | b'\0' | b'7' => EntryKind::Regular,
        b'S' if header.is_gnu() => EntryKind::Regular,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        // The caller says of which entry.
        other => {
            return Err(fail!(Kind::Spec, "type '{}' has no place in a layer", other.escape_ascii()));
        }
    })
}

/// The owner from the pax header or else the tar header. The kernel has no id above 2^32 - 2: -1 means "leave
/// it". Writers to whom an id is a signed number write -2, the nobody of NFS, for 4294967294.
fn valid_id(extended: Option<i64>, header: impl FnOnce() -> Result<i64>, what: &str) -> Result<u32> {
    let found = match extended {
        Some(id) => id,
        None => header()?,
    };
    let signed = i32::try_from(found).ok().map(i32::cast_unsigned);
    u32::try_from(found)
        .ok()
        .or(signed)
        .filter(|&id| id != u32::MAX)
        .ok_or_else(|| fail!(Kind::Spec, "{what} {found} is out of range"))
}

fn replace_if_some(name: &mut Vec<u8>, by: Option<Vec<u8>>) {
    if let Some(by) = by {
        *name = by;
    }
}

fn truncated() -> Error {
    fail!(Kind::Spec, "the archive is cut off")
}
