//! The directories of a store: found or made, judged by what was opened, and kept open. Their content is
//! mounted, removed and trusted by name, so they are ours alone, and none is reached by a link.

use std::fs::{self, DirBuilder};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstat};

use super::names;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::filesystem::directory::Directory;
use crate::image::filesystem::lock::Lock;

/// The file that makes a directory a store.
const MARKER: &str = "tare-image-store";
/// The text of that file, for people who look at it.
const MARKER_TEXT: &[u8] = b"This directory is a store of tare-image: layers that bundles share.\n";
const LOCK: &str = "lock";
/// Other entries that a store may have: the store for users without subordinate ids, and the directory that a
/// filesystem has in its root.
const BESIDE: [&str; 2] = ["single", "lost+found"];

#[derive(Debug)]
pub(super) struct Directories {
    pub(super) root: Directory,
    pub(super) layers: Directory,
    pub(super) tmp: Directory,
    pub(super) bundles: Directory,
    pub(super) images: Directory,
}

impl Directories {
    /// Opens the store at `path`, or makes it where nothing or an empty directory is. Returns its absolute
    /// path too.
    pub(super) fn open(path: &Path) -> Result<(Self, PathBuf)> {
        let path = without_slash(path);
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let (root, path) = open_root(&path)?;
        if !has_marker(&root)? {
            check_may_be_store(&root, &path)?;
            make_marker(&root)?;
        }
        Ok((Self::of(root, &|root, name| root.make(name, 0o700))?, path))
    }

    /// Opens like `open`, but makes nothing.
    pub(super) fn open_existing(path: &Path) -> Result<(Self, PathBuf)> {
        let (root, path) = open_root(&without_slash(path))?;
        if !has_marker(&root)? && (root.names()?.is_empty() || check_may_be_store(&root, &path).is_err()) {
            return Err(fail!(Kind::Spec, "it is no store of tare-image"));
        }
        Ok((Self::of(root, &|root, name| root.below(name))?, path))
    }

    fn of(root: Directory, open: &dyn Fn(&Directory, &str) -> Result<Directory>) -> Result<Self> {
        let below = |name| {
            let dir = open(&root, name)?;
            check_is_ours(&dir.stat()?, &root.path_of(name)).map(|()| dir)
        };
        let (layers, tmp) = (below("layers")?, below("tmp")?);
        let (bundles, images) = (below("bundles")?, below("images")?);
        Ok(Self { root, layers, tmp, bundles, images })
    }

    /// Opens the directory of containers, or makes it: stores of earlier versions have none.
    pub(super) fn containers(&self) -> Result<Directory> {
        let dir = self.root.make("containers", 0o700)?;
        check_is_ours(&dir.stat()?, &self.root.path_of("containers")).map(|()| dir)
    }

    /// Removes the records that killed processes were writing.
    pub(super) fn remove_abandoned_records(&self) -> Result<()> {
        self.bundles.remove_abandoned(names::is_partial_record)?;
        self.images.remove_abandoned(names::is_partial_record)
    }

    /// Takes the store's lock: no session begins and nothing is pruned until it is dropped.
    pub(super) fn lock(&self) -> Result<Lock<OwnedFd>> {
        let path = self.root.path_of(LOCK);
        let locking = || format!("lock {}", path.display());
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = openat(&self.root, LOCK, flags, Mode::S_IRUSR | Mode::S_IWUSR).with_context(locking)?;
        if fstat(&file).with_context(locking)?.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Err(fail!(Kind::Spec, "{}: not a regular file", path.display()));
        }
        Lock::wait(file).with_context(locking)
    }
}

/// The path without a slash at its end, which would follow a link.
fn without_slash(path: &Path) -> PathBuf {
    let path: PathBuf = path.components().collect();
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path }
}

/// Opens the store's own directory.
fn open_root(path: &Path) -> Result<(Directory, PathBuf)> {
    let path = resolve_own_link(path)?;
    let root = Directory::open_no_link(&path)?;
    let path = path.canonicalize()?;
    let (stat, named) = (root.stat()?, fs::symlink_metadata(&path)?);
    if (stat.st_dev, stat.st_ino) != (named.dev(), named.ino()) {
        return Err(fail!(Kind::Denied, "{} was replaced meanwhile", path.display()));
    }
    check_is_ours(&stat, &path)?;
    Ok((root, path))
}

/// Returns the target of a symlink that this user or root made. A symlink of any other user is not followed.
fn resolve_own_link(path: &Path) -> Result<PathBuf> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_symlink() {
        return Ok(path.to_owned());
    }
    match found.uid() == nix::unistd::geteuid().as_raw() || found.uid() == 0 {
        true => Ok(path.canonicalize()?),
        false => Err(fail!(Kind::Denied, "{} is a symlink of user {}", path.display(), found.uid())),
    }
}

/// Checks that only this user can write to a directory.
fn check_is_ours(stat: &FileStat, path: &Path) -> Result<()> {
    if stat.st_uid != nix::unistd::geteuid().as_raw() {
        return Err(fail!(Kind::Denied, "{} belongs to user {}", path.display(), stat.st_uid));
    }
    if stat.st_mode & 0o022 != 0 {
        let error = fail!(Kind::Denied, "others may write to {}", path.display());
        return Err(error.with_hint(format!("chmod go-w {}", path.display())));
    }
    Ok(())
}

fn has_marker(root: &Directory) -> Result<bool> {
    let Some(found) = root.stat_of(MARKER)? else { return Ok(false) };
    let is_ours = found.st_uid == nix::unistd::geteuid().as_raw();
    Ok(is_ours && found.st_mode & libc::S_IFMT == libc::S_IFREG)
}

/// The marker is there before anything else is: a killed process leaves a store, or an empty directory.
fn make_marker(root: &Directory) -> Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let making = || format!("make {}", root.path_of(MARKER).display());
    let file = openat(root, MARKER, flags, Mode::from_bits_truncate(0o600)).with_context(making)?;
    match has_marker(root)? {
        true => nix::unistd::write(&file, MARKER_TEXT).map(drop).with_context(making),
        false => Err(fail!(Kind::Exists, "it is no file of ours")).with_context(making),
    }
}

/// Checks that a directory without the marker is empty, or a store of an earlier version.
fn check_may_be_store(root: &Directory, path: &Path) -> Result<()> {
    let mut names = root.names()?;
    names.retain(|name| !BESIDE.contains(&name.as_str()));
    // The marker is looked for again: another process may have made the store since.
    match names.is_empty() || is_unmarked_store(root, &names)? || has_marker(root)? {
        true => Ok(()),
        false => Err(fail!(Kind::Exists, "{} is not empty, and no store of tare-image", path.display())
            .with_hint("name a new or empty directory with --store")),
    }
}

/// A store of an earlier version has all four directories, and nothing in them but what we make.
fn is_unmarked_store(root: &Directory, names: &[String]) -> Result<bool> {
    let is_record = |name: &str| names::is_record(name) || names::is_partial_record(name);
    let is_work = |name: &str| names::is_session(name) || names::is_layer(name);
    type Part<'a> = (&'a str, &'a dyn Fn(&str) -> bool);
    let parts: [Part<'_>; 4] =
        [("layers", &names::is_layer), ("tmp", &is_work), ("bundles", &is_record), ("images", &is_record)];
    if names.iter().any(|name| name != LOCK && !parts.iter().any(|(part, _)| name == part)) {
        return Ok(false);
    }
    for (part, is_known) in parts {
        let is_dir = |stat: FileStat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
        if !root.stat_of(part)?.is_some_and(is_dir)
            || !root.below(part)?.names()?.iter().all(|it| is_known(it))
        {
            return Ok(false);
        }
    }
    Ok(true)
}
