//! A private copy of an image whose layers are all in the store: on a filesystem with reflinks its files share their
//! blocks with the store's (FICLONE), and nothing is decompressed or copied.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fchmod, fstat, futimens, mkdirat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, linkat};
use oci_spec::image::Digest;

use super::{Session, Store, debts, keys};
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::archive::path::split;
use crate::image::filesystem::dir::{c_string, open_dir};
use crate::image::filesystem::overlay::Overlay;
use crate::image::filesystem::walk::{Found, walk};
use crate::image::filesystem::xattrs;
use crate::image::unpack::single_layer::is_whiteout;
use crate::inroot::Root;
use crate::sys::file::clone_file;
use crate::sys::xattr::fsetxattr;

/// How the content of a file comes over.
type Share<'a> = &'a dyn Fn(&File, &File) -> Result<()>;

/// Shares blocks.
fn reflink(from: &File, to: &File) -> Result<()> {
    Ok(clone_file(from.as_fd(), to.as_fd())?)
}

/// Whether files of the layer `key` can share their blocks with files below `to`.
fn can(store: &Store, key: &str, to: &Path) -> bool {
    let file = |path: &Path| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE).open(path)
    };
    match (File::open(store.layer(key).join("about.json")), file(to)) {
        (Ok(from), Ok(to)) => reflink(&from, &to).is_ok(),
        _ => false,
    }
}

/// Makes the tree of these layers in the empty directory `to`, if all are in the store and can share their blocks; else
/// false, and nothing was made. `scratch` is empty too.
pub fn tree(store: &Store, diff_ids: &[Digest], to: &Path, scratch: &Path) -> Result<bool> {
    let wanted = keys(diff_ids);
    let found = || -> Option<Vec<String>> { wanted.iter().map(|keys| store.find(keys)).collect() };
    if found().is_none_or(|keys| keys.first().is_none_or(|key| !can(store, key, to))) {
        return Ok(false);
    }
    // From here on none of them is pruned, if it was not in between.
    let _session = Session::begin(store, &wanted)?;
    let Some(keys) = found() else { return Ok(false) };
    copy(store, &keys, to, scratch, &reflink).map(|()| true)
}

/// Makes the tree of these layers, the lowest first.
fn copy(store: &Store, keys: &[String], to: &Path, scratch: &Path, share: Share<'_>) -> Result<()> {
    let lowers: Vec<PathBuf> = keys.iter().map(|key| store.tree(key)).collect();
    let view = Overlay { lowers: &lowers, upper: None, userxattr: false, mapped: None }.view(scratch)?;
    let view = openat(view.as_fd(), c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())?;
    let real = lowers.iter().rev().map(|lower| Root::open(lower)).collect::<Result<Vec<_>, _>>()?;
    // Several layers are shown by the kernel, which hides its marks; a single one is as it is.
    let marks = lowers.iter().all(|lower| Some(lower) == lowers.first()).then_some(c"trusted.overlay.");
    let mut copying =
        Copying { marks, real, to: Root::open(to)?, share, first: HashMap::new(), dirs: Vec::new() };
    walk(&view, &mut |found| copying.one(found).map(|()| true))?;
    let dirs = std::mem::take(&mut copying.dirs);
    // From the deepest on: what is made in a directory changes its time.
    for (path, dir) in dirs.iter().rev() {
        let made = copying.dir(path)?;
        copying.attributes(dir.as_fd(), made.as_fd()).with_context(|| path.escape_ascii().to_string())?;
    }
    if let Some(root) = store.root_of(keys)? {
        let marks = Some(c"trusted.overlay.");
        let copying = Copying { marks, ..copying };
        copying.attributes(File::open(&root)?.as_fd(), copying.dir(b"")?.as_fd()).context("the root")?;
    }
    Ok(())
}

struct Copying<'a> {
    marks: Option<&'static CStr>,
    /// The layers as they are, the topmost first.
    real: Vec<Root>,
    to: Root,
    share: Share<'a>,
    /// The first name of what has several.
    first: HashMap<(u64, u64), Vec<u8>>,
    /// Directories, and what they are in the image.
    dirs: Vec<(Vec<u8>, OwnedFd)>,
}

impl Copying<'_> {
    fn dir(&self, path: &[u8]) -> Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        Ok(self.to.resolve(&c_string(path)?, flags)?)
    }

    /// Owner, mode, attributes and times of an open file or directory.
    fn attributes(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
        let stat = fstat(from)?;
        fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
        fchmod(to, Mode::from_bits_truncate(stat.st_mode & 0o7777))?;
        for (name, value) in xattrs::open(from, self.marks)? {
            fsetxattr(to, &c_string(&name)?, &value)?;
        }
        let (atime, mtime) = (
            TimeSpec::new(stat.st_atime, stat.st_atime_nsec),
            TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec),
        );
        Ok(futimens(to, &atime, &mtime)?)
    }

    fn one(&mut self, found: &Found<'_>) -> Result<()> {
        if is_whiteout(&found.stat) {
            return Ok(());
        }
        let into = self.dir(split(found.path).0)?;
        if found.is_dir() {
            mkdirat(&into, found.name, Mode::S_IRWXU)?;
            self.dirs.push((found.path.to_vec(), open_dir(found.dir, found.name)?));
            return Ok(());
        }
        let id = (found.stat.st_dev, found.stat.st_ino);
        if found.stat.st_nlink > 1 {
            if let Some(first) = self.first.get(&id) {
                let (above, name) = split(first);
                let from = self.dir(above)?;
                return Ok(linkat(&from, c_string(name)?.as_c_str(), &into, found.name, AtFlags::empty())?);
            }
            self.first.insert(id, found.path.to_vec());
        }
        match found.kind() {
            libc::S_IFREG => self.file(found, into.as_fd(), found.name),
            _ => debts::copy_file(found.dir, found.name, &found.stat, into.as_fd(), found.name),
        }
    }

    /// A file shares its blocks with that of the topmost layer that has it; attributes are those that the kernel shows.
    fn file(&self, found: &Found<'_>, into: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let shown = openat(found.dir, name, flags, Mode::empty())?;
        let path = c_string(found.path)?;
        let open = |layer: &Root| match layer.resolve(&path, flags) {
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENXIO) => None,
            other => Some(other),
        };
        let missing = || fail!(Kind::State, "no layer has it");
        let from = File::from(self.real.iter().find_map(open).ok_or_else(missing)??);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let to = File::from(openat(into, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        (self.share)(&from, &to)?;
        self.attributes(shown.as_fd(), to.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn the_layers_are_copied_as_one_tree() {
        if !nix::unistd::geteuid().is_root() {
            return crate::skip::skip("needs root");
        }
        let dir = std::env::temp_dir().join(format!("tare-clone-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let store = Store::open(&dir.join("store")).unwrap();
        let keys = ["one".to_owned(), "two".to_owned()];
        for key in &keys {
            fs::create_dir_all(store.tree(key).join("d/e")).unwrap();
            fs::write(store.layer(key).join("about.json"), r#"{"diffId":"x","root":true}"#).unwrap();
            fs::write(store.tree(key).join("d/both"), key).unwrap();
            fs::write(store.tree(key).join(key), key).unwrap();
            fs::hard_link(store.tree(key).join(key), store.tree(key).join(format!("d/{key}-link"))).unwrap();
        }
        let hidden = store.tree("one").join("d/hidden");
        fs::write(hidden, "").unwrap();
        let mark = nix::sys::stat::SFlag::S_IFCHR;
        nix::sys::stat::mknod(&store.tree("two").join("d/hidden"), mark, Mode::empty(), 0).unwrap();
        std::os::unix::fs::symlink("nowhere", store.tree("one").join("link")).unwrap();
        fs::set_permissions(store.tree("two").join("d"), fs::Permissions::from_mode(0o2711)).unwrap();
        for name in ["to", "scratch"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        let bytes = |mut from: &File, mut to: &File| Ok(std::io::copy(&mut from, &mut to).map(drop)?);
        copy(&store, &keys, &dir.join("to"), &dir.join("scratch"), &bytes).unwrap();
        let to = dir.join("to");
        let read = |name: &str| fs::read_to_string(to.join(name)).unwrap();
        assert_eq!((read("one"), read("two"), read("d/both")), ("one".into(), "two".into(), "two".into()));
        assert!(!to.join("d/hidden").exists() && to.join("d/e").is_dir());
        let inode = |name: &str| fs::symlink_metadata(to.join(name)).unwrap().ino();
        assert_eq!(inode("one"), inode("d/one-link"));
        assert_eq!(fs::metadata(to.join("d")).unwrap().mode(), 0o42711);
        let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(time(&to.join("d")), time(&store.tree("two").join("d")));
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("nowhere"));
        fs::remove_dir_all(dir).unwrap();
    }
}
