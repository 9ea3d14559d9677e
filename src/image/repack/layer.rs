//! Writes changes as a layer: an entry for each path that was added or changed and for the directories above
//! it, and a whiteout for each path that was deleted (image-spec, layer.md: explicit whiteouts are preferred
//! to opaque ones).

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

use super::tar_writer::{Entry, EntryKind, TarWriter};
use crate::error::{Context, Error, Kind, Result};
use crate::image::archive::path::split;
use crate::image::changes::{self, Changes};
use crate::image::filesystem::xattrs;
use crate::image::unpack::whiteout::PREFIX;
use crate::inroot::c_string;
use crate::{fail, log};

/// Writes the layer with these changes to `out`.
pub(crate) fn write<W: Write>(changes: &Changes, out: W) -> Result<W> {
    let mut layer = LayerWriter {
        changes,
        tar: TarWriter::new(out),
        first: HashMap::new(),
        cached_dir: (Vec::new(), None),
    };
    for (parts, exists) in entries(changes) {
        let path = parts.join(&b'/');
        let written = if exists { layer.write_path(&path) } else { layer.write_whiteout(&path) };
        written.with_context(|| path.escape_ascii().to_string())?;
    }
    layer.tar.finish()
}

/// The paths to write, split into components so that parents come first, and whether each exists (or was
/// deleted).
fn entries(changes: &Changes) -> BTreeMap<Vec<&[u8]>, bool> {
    let mut entries = BTreeMap::new();
    for change in &changes.list {
        let parts: Vec<&[u8]> = match &change.path[..] {
            b"" => Vec::new(),
            path => path.split(|&byte| byte == b'/').collect(),
        };
        // Directories above get an entry too: otherwise programs that unpack each layer separately lose the
        // attributes of these directories.
        for end in 1..parts.len() {
            entries.insert(parts[..end].to_vec(), true);
        }
        entries.insert(parts, change.kind != changes::ChangeKind::Deleted);
    }
    entries
}

struct LayerWriter<'a, W> {
    changes: &'a Changes,
    tar: TarWriter<W>,
    /// The first path of files with several hard links, by device and inode.
    first: HashMap<(u64, u64), Vec<u8>>,
    /// The path of the directory that was opened last, and its descriptor.
    cached_dir: (Vec<u8>, Option<OwnedFd>),
}

impl<W: Write> LayerWriter<'_, W> {
    fn write_whiteout(&mut self, path: &[u8]) -> Result<()> {
        let (above, name) = split(path);
        let mark = [PREFIX, name].concat();
        let name = if above.is_empty() { mark } else { [above, b"/", &mark].concat() };
        let entry = Entry { name: &name, mode: 0o644, ..Entry::default() };
        self.tar.write_entry(&entry, &mut std::io::empty())
    }

    fn write_path(&mut self, path: &[u8]) -> Result<()> {
        if path.is_empty() {
            return self.write_root();
        }
        let (above, last) = split(path);
        if last.starts_with(PREFIX) {
            return Err(fail!(
                Kind::Unsupported,
                "an image cannot have a file of this name: it is a whiteout"
            ));
        }
        let dir = self.open_parent(above)?;
        let name = c_string(last)?;
        let stat = fstatat(&dir, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let mut xattrs = xattrs::read_by_name(dir.as_fd(), &name, self.changes.marks)?;
        let metadata = entry_metadata(&self.changes.owners.unmap(&stat));
        let ids = self.changes.owners.take_owner(&mut xattrs).unwrap_or(metadata.ids);
        let metadata = Entry { ids, xattrs, ..metadata };
        let id = (stat.st_dev, stat.st_ino);
        let is_dir = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
        if !is_dir && stat.st_nlink > 1 {
            if let Some(first) = self.first.get(&id) {
                let kind = EntryKind(EntryType::Link);
                let link = Entry { name: path, link: first, kind, xattrs: Vec::new(), size: 0, ..metadata };
                return self.tar.write_entry(&link, &mut std::io::empty());
            }
            self.first.insert(id, path.to_vec());
        }
        self.write_file(path, &dir, &name, metadata, &stat)
    }

    /// Writes the entry of an existing file of any type. A socket is left out: tar has no type for it.
    fn write_file(
        &mut self,
        path: &[u8],
        dir: &OwnedFd,
        name: &CString,
        metadata: Entry<'_>,
        stat: &FileStat,
    ) -> Result<()> {
        let (dir_name, target);
        let mut entry = Entry { name: path, ..metadata };
        let entry_type = match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => return self.write_regular_file(dir, name, entry, stat),
            libc::S_IFDIR => {
                dir_name = [path, b"/"].concat();
                entry.name = &dir_name;
                EntryType::Directory
            }
            libc::S_IFLNK => {
                target = readlinkat(dir, name.as_c_str())?.into_vec();
                entry.link = &target;
                EntryType::Symlink
            }
            libc::S_IFCHR => EntryType::Char,
            libc::S_IFBLK => EntryType::Block,
            libc::S_IFIFO => EntryType::Fifo,
            _ => {
                log::warn(format_args!("{}: left out: an image cannot have a socket", path.escape_ascii()));
                return Ok(());
            }
        };
        entry.kind = EntryKind(entry_type);
        self.tar.write_entry(&entry, &mut std::io::empty())
    }

    fn write_regular_file(
        &mut self,
        dir: &OwnedFd,
        name: &CString,
        entry: Entry<'_>,
        stat: &FileStat,
    ) -> Result<()> {
        // O_NONBLOCK: opening a FIFO that has taken the file's place must not block.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(dir, name.as_c_str(), flags, Mode::empty())?);
        if fstat(&file)?.st_ino != stat.st_ino {
            return Err(fail!(Kind::State, "another file took its place while it was read"));
        }
        self.tar.write_entry(&Entry { size: stat.st_size.cast_unsigned(), ..entry }, &mut &file)
    }

    /// Writes the entry of the root directory.
    fn write_root(&mut self) -> Result<()> {
        let stat = fstat(&self.changes.tree)?;
        let mut xattrs = xattrs::read_by_name(self.changes.tree.as_fd(), c".", self.changes.marks)?;
        let metadata = entry_metadata(&self.changes.owners.unmap(&stat));
        let ids = self.changes.owners.take_owner(&mut xattrs).unwrap_or(metadata.ids);
        let kind = EntryKind(EntryType::Directory);
        self.tar.write_entry(&Entry { name: b"./", kind, ids, xattrs, ..metadata }, &mut std::io::empty())
    }

    /// Opens the directory `path`; no symlink on the way is followed.
    fn open_parent(&mut self, path: &[u8]) -> Result<OwnedFd> {
        if let (cached, Some(dir)) = &self.cached_dir
            && cached == path
        {
            return Ok(dir.try_clone()?);
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut dir = self.changes.tree.try_clone()?;
        for part in path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
            dir = openat(&dir, c_string(part)?.as_c_str(), flags, Mode::empty())
                .map_err(with_directory_context)?;
        }
        self.cached_dir = (path.to_vec(), Some(dir.try_clone()?));
        Ok(dir)
    }
}

fn with_directory_context(errno: Errno) -> Error {
    Error::from(errno).context("open its directory")
}

/// The header fields that come from stat(2), without name, type and size.
fn entry_metadata(stat: &FileStat) -> Entry<'static> {
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Entry {
        mode: stat.st_mode & 0o7777,
        ids: (stat.st_uid, stat.st_gid),
        mtime: (stat.st_mtime, stat.st_mtime_nsec),
        device: (number(major(stat.st_rdev)), number(minor(stat.st_rdev))),
        ..Entry::default()
    }
}
