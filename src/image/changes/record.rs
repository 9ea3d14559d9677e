//! The record of a tree: one line for each file, directory, symlink and device when the bundle was complete,
//! so that changes are found without reading any content. A file with the same inode number and change time
//! is unchanged.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::sys::stat::{FileStat, fstat};

use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::filesystem::dir::fd_path;
use crate::image::filesystem::walk::walk;

/// The record's name in the bundle.
pub(crate) const RECORD_FILE: &str = "tare-image.tree";
/// The first line begins with this; the birth time of the tree's root follows.
const HEADER: &str = "tare-image tree 1";

/// The recorded state of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileState {
    pub(crate) inode: u64,
    /// The change time, in seconds and nanoseconds.
    ctime: (i64, i64),
    pub(crate) metadata: Metadata,
}

/// The metadata that a tar archive has too, without extended attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// The mode, with the file type.
    pub(crate) mode: u32,
    pub(crate) ids: (u32, u32),
    /// The size in bytes of files and symlinks; the device number of a device; 0 for anything else.
    pub(crate) size: u64,
    /// The modification time, in seconds and nanoseconds.
    pub(crate) mtime: (i64, i64),
}

impl FileState {
    pub(super) fn from_stat(stat: &FileStat) -> Self {
        let ctime = (stat.st_ctime, stat.st_ctime_nsec);
        Self { inode: stat.st_ino, ctime, metadata: Metadata::from_stat(stat) }
    }
}

impl Metadata {
    pub(super) fn from_stat(stat: &FileStat) -> Self {
        let size = match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG | libc::S_IFLNK => stat.st_size.cast_unsigned(),
            libc::S_IFCHR | libc::S_IFBLK => stat.st_rdev,
            _ => 0,
        };
        let mtime = (stat.st_mtime, stat.st_mtime_nsec);
        Self { mode: stat.st_mode, ids: (stat.st_uid, stat.st_gid), size, mtime }
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }
}

/// The recorded state of a tree.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// The birth time of the tree's root, in nanoseconds, by which a copy of the tree is recognized; 0 where
    /// it is unknown.
    pub(super) birth_time: u128,
    /// By path, without leading slash.
    pub(crate) files: HashMap<Vec<u8>, FileState>,
}

/// The birth time of an open directory, in nanoseconds; 0 where the filesystem does not have it.
pub(super) fn birth_time(dir: &OwnedFd) -> u128 {
    let path = CString::new(fd_path(dir.as_fd()).as_os_str().as_bytes());
    let time = path.ok().and_then(|path| crate::sys::file::creation_time(&path).ok().flatten());
    time.map_or(0, |(seconds, nanoseconds)| {
        u128::from(seconds.unsigned_abs()) * 1_000_000_000 + u128::from(nanoseconds)
    })
}

/// Writes the record of the open tree.
pub(crate) fn write(tree: &OwnedFd, to: impl Write) -> Result<()> {
    let mut to = BufWriter::with_capacity(64 << 10, to);
    writeln!(to, "{HEADER} {}", birth_time(tree))?;
    write_line(&mut to, b"", &fstat(tree)?)?;
    walk(tree, &mut |found| {
        write_line(&mut to, found.path, &found.stat)?;
        Ok(true)
    })?;
    Ok(to.flush()?)
}

fn write_line(to: &mut impl Write, path: &[u8], stat: &FileStat) -> Result<()> {
    let FileState { inode, ctime, metadata } = FileState::from_stat(stat);
    let Metadata { mode, ids, size, mtime } = metadata;
    write!(to, "{inode:x} {} {} {mode:o} {} {} {size} ", ctime.0, ctime.1, ids.0, ids.1)?;
    write!(to, "{} {} ", mtime.0, mtime.1)?;
    for &byte in path {
        match byte {
            b'\n' => to.write_all(b"\\n")?,
            b'\\' => to.write_all(b"\\\\")?,
            byte => to.write_all(&[byte])?,
        }
    }
    Ok(to.write_all(b"\n")?)
}

impl Record {
    pub(super) fn read(mut file: File) -> Result<Self> {
        let mut text = Vec::new();
        let read = file.read_to_end(&mut text).map_err(Error::from);
        let parsed = read.and_then(|_| Self::parse(&text).ok_or_else(|| fail!(Kind::Spec, "is damaged")));
        parsed.context(RECORD_FILE)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = text.strip_suffix(b"\n")?.split(|&byte| byte == b'\n');
        let head = std::str::from_utf8(lines.next()?).ok()?;
        let birth_time = head.strip_prefix(HEADER)?.trim().parse().ok()?;
        let files = lines.map(parse_line).collect::<Option<_>>()?;
        Some(Self { birth_time, files })
    }
}

fn parse_line(line: &[u8]) -> Option<(Vec<u8>, FileState)> {
    let mut fields = line.splitn(10, |&byte| byte == b' ');
    let mut field = || fields.next().and_then(|field| std::str::from_utf8(field).ok());
    let inode = u64::from_str_radix(field()?, 16).ok()?;
    let ctime = (field()?.parse().ok()?, field()?.parse().ok()?);
    let mode = u32::from_str_radix(field()?, 8).ok()?;
    let ids = (field()?.parse().ok()?, field()?.parse().ok()?);
    let size = field()?.parse().ok()?;
    let mtime = (field()?.parse().ok()?, field()?.parse().ok()?);
    let path = unescape(fields.next()?);
    Some((path, FileState { inode, ctime, metadata: Metadata { mode, ids, size, mtime } }))
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        path.push(match (byte, byte == b'\\') {
            (_, true) if bytes.next() == Some(&b'n') => b'\n',
            (byte, _) => byte,
        });
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let metadata = Metadata { mode: 0o100644, ids: (1, 2), size: 3, mtime: (-1, 5) };
        let stat = {
            let mut stat = fstat(std::io::stdin()).unwrap();
            (stat.st_ino, stat.st_ctime, stat.st_ctime_nsec) = (77, 8, 9);
            (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_size) = (0o100644, 1, 2, 3);
            (stat.st_mtime, stat.st_mtime_nsec) = (-1, 5);
            stat
        };
        for path in [&b""[..], b"a b/c", b"new\nline\\n", b"\xff\\"] {
            let mut text = Vec::new();
            write_line(&mut text, path, &stat).unwrap();
            let (found, state) = parse_line(text.strip_suffix(b"\n").unwrap()).unwrap();
            assert_eq!(found, path);
            assert_eq!(state, FileState { inode: 77, ctime: (8, 9), metadata });
        }
        assert!(parse_line(b"1 2 3").is_none());
    }
}
