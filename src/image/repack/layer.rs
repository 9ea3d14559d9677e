//! Changes as a layer: what was added or changed with the directories on the way to it, a whiteout for each thing
//! that was deleted (image-spec, layer.md: explicit ones rather than opaque directories).

use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, major, minor};
use tar::EntryType;

use super::writer::{Entry, Kinds, Writer};
use crate::error::{Context, Error, Kind, Result};
use crate::image::archive::path::split;
use crate::image::changes::{self, Changes};
use crate::image::filesystem::dir::c_string;
use crate::image::filesystem::xattrs;
use crate::image::unpack::whiteout::PREFIX;
use crate::{fail, log};

/// Writes the layer that makes of the image what the bundle is now.
pub fn write<W: Write>(changes: &Changes, out: W) -> Result<W> {
    let mut layer =
        Layer { changes, writer: Writer::new(out), first: HashMap::new(), above: (Vec::new(), None) };
    for (parts, is_there) in entries(changes) {
        let path = parts.join(&b'/');
        let written = if is_there { layer.put(&path) } else { layer.white_out(&path) };
        written.with_context(|| path.escape_ascii().to_string())?;
    }
    layer.writer.finish()
}

/// Paths by their parts, so that parents come first, and whether there is something.
fn entries(changes: &Changes) -> BTreeMap<Vec<&[u8]>, bool> {
    let mut entries = BTreeMap::new();
    for change in &changes.list {
        let parts: Vec<&[u8]> = match &change.path[..] {
            b"" => Vec::new(),
            path => path.split(|&byte| byte == b'/').collect(),
        };
        // A directory without an entry would not be the one below to those who unpack layers one by one.
        for end in 1..parts.len() {
            entries.insert(parts[..end].to_vec(), true);
        }
        entries.insert(parts, change.kind != changes::Kind::Deleted);
    }
    entries
}

struct Layer<'a, W> {
    changes: &'a Changes,
    writer: Writer<W>,
    /// The first name of what has several.
    first: HashMap<(u64, u64), Vec<u8>>,
    /// The directory last looked at.
    above: (Vec<u8>, Option<OwnedFd>),
}

impl<W: Write> Layer<'_, W> {
    fn white_out(&mut self, path: &[u8]) -> Result<()> {
        let (above, name) = split(path);
        let mark = [PREFIX, name].concat();
        let name = if above.is_empty() { mark } else { [above, b"/", &mark].concat() };
        let entry = Entry { name: &name, mode: 0o644, ..Entry::default() };
        self.writer.entry(&entry, &mut std::io::empty())
    }

    fn put(&mut self, path: &[u8]) -> Result<()> {
        if path.is_empty() {
            return self.root();
        }
        let (above, last) = split(path);
        if last.starts_with(PREFIX) {
            return Err(fail!(
                Kind::Unsupported,
                "an image cannot have a file of this name: it is a whiteout"
            ));
        }
        let dir = self.directory(above)?;
        let name = c_string(last)?;
        let stat = fstatat(&dir, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let mut xattrs = xattrs::all(dir.as_fd(), &name, self.changes.marks)?;
        let about = about(&self.changes.owners.stat(&stat));
        let ids = self.changes.owners.take(&mut xattrs).unwrap_or(about.ids);
        let about = Entry { ids, xattrs, ..about };
        let id = (stat.st_dev, stat.st_ino);
        let is_dir = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
        if !is_dir && stat.st_nlink > 1 {
            if let Some(first) = self.first.get(&id) {
                let kind = Kinds(EntryType::Link);
                let link = Entry { name: path, link: first, kind, xattrs: Vec::new(), size: 0, ..about };
                return self.writer.entry(&link, &mut std::io::empty());
            }
            self.first.insert(id, path.to_vec());
        }
        self.one(path, &dir, &name, about, &stat)
    }

    fn one(
        &mut self,
        path: &[u8],
        dir: &OwnedFd,
        name: &CString,
        about: Entry<'_>,
        stat: &FileStat,
    ) -> Result<()> {
        let kind = |kind| Kinds(kind);
        let empty = &mut std::io::empty();
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => {
                let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
                let file = File::from(openat(dir, name.as_c_str(), flags, Mode::empty())?);
                if fstat(&file)?.st_ino != stat.st_ino {
                    return Err(fail!(Kind::State, "another file has come in its place while it was read"));
                }
                let size = stat.st_size.cast_unsigned();
                self.writer.entry(&Entry { name: path, size, ..about }, &mut &file)
            }
            libc::S_IFDIR => {
                let name = [path, b"/"].concat();
                self.writer.entry(&Entry { name: &name, kind: kind(EntryType::Directory), ..about }, empty)
            }
            libc::S_IFLNK => {
                let link = readlinkat(dir, name.as_c_str())?.into_vec();
                let entry = Entry { name: path, kind: kind(EntryType::Symlink), link: &link, ..about };
                self.writer.entry(&entry, empty)
            }
            libc::S_IFCHR => {
                self.writer.entry(&Entry { name: path, kind: kind(EntryType::Char), ..about }, empty)
            }
            libc::S_IFBLK => {
                self.writer.entry(&Entry { name: path, kind: kind(EntryType::Block), ..about }, empty)
            }
            libc::S_IFIFO => {
                self.writer.entry(&Entry { name: path, kind: kind(EntryType::Fifo), ..about }, empty)
            }
            _ => {
                log::warn(format_args!("{}: left out: an image cannot have a socket", path.escape_ascii()));
                Ok(())
            }
        }
    }

    fn root(&mut self) -> Result<()> {
        let stat = fstat(&self.changes.tree)?;
        let mut xattrs = xattrs::all(self.changes.tree.as_fd(), c".", self.changes.marks)?;
        let about = about(&self.changes.owners.stat(&stat));
        let ids = self.changes.owners.take(&mut xattrs).unwrap_or(about.ids);
        let kind = Kinds(EntryType::Directory);
        self.writer.entry(&Entry { name: b"./", kind, ids, xattrs, ..about }, &mut std::io::empty())
    }

    /// The directory `path`, no symlink followed on the way.
    fn directory(&mut self, path: &[u8]) -> Result<OwnedFd> {
        if let (known, Some(dir)) = &self.above
            && known == path
        {
            return Ok(dir.try_clone()?);
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut dir = self.changes.tree.try_clone()?;
        for part in path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
            dir = openat(&dir, c_string(part)?.as_c_str(), flags, Mode::empty()).map_err(moved)?;
        }
        self.above = (path.to_vec(), Some(dir.try_clone()?));
        Ok(dir)
    }
}

fn moved(errno: Errno) -> Error {
    Error::from(errno).context("open its directory")
}

/// What the headers have of it, name and content left out.
fn about(stat: &FileStat) -> Entry<'static> {
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Entry {
        mode: stat.st_mode & 0o7777,
        ids: (stat.st_uid, stat.st_gid),
        modified: (stat.st_mtime, stat.st_mtime_nsec),
        device: (number(major(stat.st_rdev)), number(minor(stat.st_rdev))),
        ..Entry::default()
    }
}
