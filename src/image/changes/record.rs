//! The record: one line for each thing in a tree as it was left, so that what has changed is found without reading
//! any file. An inode whose number and change time are the same is the same.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs;
use std::io::{BufWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::stat::{FileStat, fstat};

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::filesystem::walk::walk;

/// Its name in the bundle.
pub const FILE: &str = "tare-image.tree";
const HEAD: &str = "tare-image tree 1";

/// What is known of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub inode: u64,
    pub changed: (i64, i64),
    pub about: About,
}

/// What an archive has of it too, its content and attributes left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// With the type.
    pub mode: u32,
    pub ids: (u32, u32),
    /// Of a file or link; nothing of a directory, the number of a device.
    pub size: u64,
    pub modified: (i64, i64),
}

impl Known {
    pub fn of(stat: &FileStat) -> Self {
        let changed = (stat.st_ctime, stat.st_ctime_nsec);
        Self { inode: stat.st_ino, changed, about: About::of(stat) }
    }
}

impl About {
    pub fn of(stat: &FileStat) -> Self {
        let size = match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG | libc::S_IFLNK => stat.st_size.cast_unsigned(),
            libc::S_IFCHR | libc::S_IFBLK => stat.st_rdev,
            _ => 0,
        };
        let modified = (stat.st_mtime, stat.st_mtime_nsec);
        Self { mode: stat.st_mode, ids: (stat.st_uid, stat.st_gid), size, modified }
    }

    pub fn is_dir(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }
}

/// A tree as it was.
#[derive(Debug, Default)]
pub struct Record {
    /// When the tree's root was born, in nanoseconds: it tells a copy.
    pub born: u128,
    pub known: HashMap<Vec<u8>, Known>,
}

/// When the directory was born; 0 where the filesystem does not tell.
pub fn born(path: &Path) -> u128 {
    let path = CString::new(path.as_os_str().as_bytes());
    let time = path.ok().and_then(|path| crate::sys::file::born(&path).ok().flatten());
    time.map_or(0, |(seconds, nanoseconds)| {
        u128::from(seconds.unsigned_abs()) * 1_000_000_000 + u128::from(nanoseconds)
    })
}

/// Writes the record of the open tree at `path`.
pub fn write(path: &Path, tree: &OwnedFd, to: impl Write) -> Result<()> {
    let mut to = BufWriter::with_capacity(64 << 10, to);
    writeln!(to, "{HEAD} {}", born(path))?;
    line(&mut to, b"", &fstat(tree)?)?;
    walk(tree, &mut |found| {
        line(&mut to, found.path, &found.stat)?;
        Ok(true)
    })?;
    Ok(to.flush()?)
}

fn line(to: &mut impl Write, path: &[u8], stat: &FileStat) -> Result<()> {
    let Known { inode, changed, about } = Known::of(stat);
    let About { mode, ids, size, modified } = about;
    write!(to, "{inode:x} {} {} {mode:o} {} {} {size} ", changed.0, changed.1, ids.0, ids.1)?;
    write!(to, "{} {} ", modified.0, modified.1)?;
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
    pub fn read(path: &Path) -> Result<Self> {
        let place = || format!("{}", path.display());
        let text = match fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let error = fail!(Kind::NotFound, "the bundle has no record of how it was unpacked");
                return Err(error).with_context(place);
            }
            text => text.with_context(place)?,
        };
        Self::parse(&text).ok_or_else(|| fail!(Kind::Spec, "is damaged")).with_context(place)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = text.strip_suffix(b"\n")?.split(|&byte| byte == b'\n');
        let head = std::str::from_utf8(lines.next()?).ok()?;
        let born = head.strip_prefix(HEAD)?.trim().parse().ok()?;
        let known = lines.map(parse_line).collect::<Option<_>>()?;
        Some(Self { born, known })
    }
}

fn parse_line(line: &[u8]) -> Option<(Vec<u8>, Known)> {
    let mut fields = line.splitn(10, |&byte| byte == b' ');
    let mut text = || fields.next().and_then(|field| std::str::from_utf8(field).ok());
    let inode = u64::from_str_radix(text()?, 16).ok()?;
    let changed = (text()?.parse().ok()?, text()?.parse().ok()?);
    let mode = u32::from_str_radix(text()?, 8).ok()?;
    let ids = (text()?.parse().ok()?, text()?.parse().ok()?);
    let size = text()?.parse().ok()?;
    let modified = (text()?.parse().ok()?, text()?.parse().ok()?);
    let path = unescaped(fields.next()?);
    Some((path, Known { inode, changed, about: About { mode, ids, size, modified } }))
}

fn unescaped(text: &[u8]) -> Vec<u8> {
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
        let about = About { mode: 0o100644, ids: (1, 2), size: 3, modified: (-1, 5) };
        let stat = {
            let mut stat = fstat(std::io::stdin()).unwrap();
            (stat.st_ino, stat.st_ctime, stat.st_ctime_nsec) = (77, 8, 9);
            (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_size) = (0o100644, 1, 2, 3);
            (stat.st_mtime, stat.st_mtime_nsec) = (-1, 5);
            stat
        };
        for path in [&b""[..], b"a b/c", b"new\nline\\n", b"\xff\\"] {
            let mut text = Vec::new();
            line(&mut text, path, &stat).unwrap();
            let (found, known) = parse_line(text.strip_suffix(b"\n").unwrap()).unwrap();
            assert_eq!(found, path);
            assert_eq!(known, Known { inode: 77, changed: (8, 9), about });
        }
        assert!(parse_line(b"1 2 3").is_none());
    }
}
