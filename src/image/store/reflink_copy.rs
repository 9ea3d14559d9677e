//! Copies layers of the store into one private tree, on a filesystem with reflinks: its files share their
//! blocks with those of the store (ioctl_ficlone(2)), so nothing is decompressed or copied.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::linkat;
use oci_spec::image::Digest;

use super::session::Session;
use super::trees::has_index;
use super::{Store, layer_ids};
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::archive::path::split;
use crate::image::filesystem::copy_file::{copy_file, set_owner_and_mode, set_times};
use crate::image::filesystem::dir::open_dir;
use crate::image::filesystem::find::is_whiteout;
use crate::image::filesystem::overlay::Overlay;
use crate::image::filesystem::walk::{WalkEntry, walk};
use crate::image::filesystem::xattrs;
use crate::inroot::{Root, c_string};
use crate::sys::file::clone_file;
use crate::sys::xattr::fsetxattr;

/// Copies the content of a file: `reflink`, or in tests a copy of the bytes.
type CopyContent<'a> = &'a dyn Fn(&File, &File) -> Result<()>;

/// Makes `to` share the blocks of `from`.
fn reflink(from: &File, to: &File) -> Result<()> {
    Ok(clone_file(from.as_fd(), to.as_fd())?)
}

/// Whether files below `to` can share blocks with those of the layer: tried with one of its files.
fn is_supported(store: &Store, layer: &str, to: &Path) -> bool {
    let temporary_file = |path: &Path| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE).open(path)
    };
    match (File::open(store.layer_dir(layer).join("about.json")), temporary_file(to)) {
        (Ok(from), Ok(to)) => reflink(&from, &to).is_ok(),
        _ => false,
    }
}

/// Copies the layers with these diff ids, the lowest first, into the empty directory `to` as one tree.
/// Returns false, with nothing copied, if a layer is not in the store or its blocks cannot be shared.
pub(crate) fn copy_tree(store: &Store, diff_ids: &[Digest], to: &Path) -> Result<bool> {
    let ids = layer_ids(diff_ids);
    let find_all =
        || -> Result<Option<Vec<String>>> { ids.iter().map(|ids| store.find_layer(ids)).collect() };
    if find_all()?.is_none_or(|layers| layers.first().is_none_or(|layer| !is_supported(store, layer, to))) {
        return Ok(false);
    }
    // From here on none of the layers is pruned. One may have been pruned before, so they are looked up
    // again.
    let _session = Session::begin(store, &ids)?;
    let Some(layers) = find_all()? else { return Ok(false) };
    for name in &layers {
        // The files of an archive begin in the middle of blocks.
        if has_index(&store.dirs.layers.below(name)?)? {
            return Ok(false);
        }
    }
    copy(store, &layers, to, &reflink).map(|()| true)
}

/// Copies these layers, the lowest first, into `to`.
fn copy(store: &Store, layers: &[String], to: &Path, copy_content: CopyContent<'_>) -> Result<()> {
    let lowers = store.visible_trees(layers)?;
    let view =
        Overlay { lowers: &lowers, upper: None, userxattr: false, mapped: None, mounts: &[] }.view()?;
    let view = openat(view.as_fd(), c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())?;
    let trees = lowers.iter().rev().map(|lower| Root::open(lower)).collect::<Result<Vec<_>, _>>()?;
    // An overlay of several layers hides its own attributes; a single layer is read directly, with them. An
    // image may have the same layer several times, and `view` uses it once.
    let marks = lowers.iter().all(|lower| Some(lower) == lowers.first()).then_some(c"trusted.overlay.");
    let mut copying =
        Copying { marks, trees, to: Root::open(to)?, copy_content, first: HashMap::new(), dirs: Vec::new() };
    walk(&view, &mut |found| copying.copy_entry(found).map(|()| true))?;
    let dirs = std::mem::take(&mut copying.dirs);
    // After everything is copied, because a new entry changes its directory's time.
    for (path, dir) in dirs.iter().rev() {
        let copied = copying.open_dir(path)?;
        copying
            .copy_attributes(dir.as_fd(), copied.as_fd())
            .with_context(|| path.escape_ascii().to_string())?;
    }
    if let Some(root) = store.topmost_root(layers)? {
        let marks = Some(c"trusted.overlay.");
        let copying = Copying { marks, ..copying };
        copying.copy_attributes(root.as_fd(), copying.open_dir(b"")?.as_fd()).context("the root")?;
    }
    Ok(())
}

struct Copying<'a> {
    /// The prefix of the overlay's own attributes, which are not copied; None if the view shows none.
    marks: Option<&'static CStr>,
    /// The trees of the layers, the topmost first.
    trees: Vec<Root>,
    to: Root,
    copy_content: CopyContent<'a>,
    /// The first path of files with several hard links, by device and inode.
    first: HashMap<(u64, u64), Vec<u8>>,
    /// The paths of copied directories, and the originals.
    dirs: Vec<(Vec<u8>, OwnedFd)>,
}

impl Copying<'_> {
    fn open_dir(&self, path: &[u8]) -> Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        Ok(self.to.resolve(&c_string(path)?, flags)?)
    }

    /// Copies owner, mode, extended attributes and times of an open file or directory.
    fn copy_attributes(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
        let stat = fstat(from)?;
        set_owner_and_mode(to, &stat)?;
        for (name, value) in xattrs::read_open(from, self.marks)? {
            fsetxattr(to, &c_string(&name)?, &value)?;
        }
        Ok(set_times(to, &stat)?)
    }

    /// Copies one entry of the view, without what is in it. Whiteouts are left out.
    fn copy_entry(&mut self, found: &WalkEntry<'_>) -> Result<()> {
        if is_whiteout(&found.stat) {
            return Ok(());
        }
        let into = self.open_dir(split(found.path).0)?;
        if found.is_dir() {
            mkdirat(&into, found.name, Mode::S_IRWXU)?;
            self.dirs.push((found.path.to_vec(), open_dir(found.dir, found.name)?));
            return Ok(());
        }
        let id = (found.stat.st_dev, found.stat.st_ino);
        if found.stat.st_nlink > 1 {
            if let Some(first) = self.first.get(&id) {
                let (above, name) = split(first);
                let from = self.open_dir(above)?;
                return Ok(linkat(&from, c_string(name)?.as_c_str(), &into, found.name, AtFlags::empty())?);
            }
            self.first.insert(id, found.path.to_vec());
        }
        match found.kind() {
            libc::S_IFREG => self.copy_regular_file(found, into.as_fd(), found.name),
            _ => copy_file(found.dir, found.name, &found.stat, into.as_fd(), found.name),
        }
    }

    /// Copies a regular file. Its content comes from the topmost layer that has it, because files of an
    /// overlay have no blocks to share; its attributes come from the view, where they are those of the image.
    fn copy_regular_file(&self, found: &WalkEntry<'_>, into: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let in_view = openat(found.dir, name, flags, Mode::empty())?;
        let path = c_string(found.path)?;
        let open = |layer: &Root| match layer.resolve(&path, flags) {
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENXIO) => None,
            other => Some(other),
        };
        let missing = || fail!(Kind::State, "no layer has this file");
        let from = File::from(self.trees.iter().find_map(open).ok_or_else(missing)??);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let to = File::from(openat(into, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        (self.copy_content)(&from, &to)?;
        self.copy_attributes(in_view.as_fd(), to.as_fd())
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
            fs::create_dir_all(store.layer_dir(key).join("fs").join("d/e")).unwrap();
            fs::write(store.layer_dir(key).join("about.json"), r#"{"diffId":"x","root":true}"#).unwrap();
            fs::write(store.layer_dir(key).join("fs").join("d/both"), key).unwrap();
            fs::write(store.layer_dir(key).join("fs").join(key), key).unwrap();
            fs::hard_link(
                store.layer_dir(key).join("fs").join(key),
                store.layer_dir(key).join("fs").join(format!("d/{key}-link")),
            )
            .unwrap();
        }
        let hidden = store.layer_dir("one").join("fs").join("d/hidden");
        fs::write(hidden, "").unwrap();
        let mark = nix::sys::stat::SFlag::S_IFCHR;
        nix::sys::stat::mknod(&store.layer_dir("two").join("fs").join("d/hidden"), mark, Mode::empty(), 0)
            .unwrap();
        std::os::unix::fs::symlink("nowhere", store.layer_dir("one").join("fs").join("link")).unwrap();
        fs::set_permissions(store.layer_dir("two").join("fs").join("d"), fs::Permissions::from_mode(0o2711))
            .unwrap();
        fs::create_dir(dir.join("to")).unwrap();
        let bytes = |mut from: &File, mut to: &File| Ok(std::io::copy(&mut from, &mut to).map(drop)?);
        copy(&store, &keys, &dir.join("to"), &bytes).unwrap();
        let to = dir.join("to");
        let read = |name: &str| fs::read_to_string(to.join(name)).unwrap();
        assert_eq!((read("one"), read("two"), read("d/both")), ("one".into(), "two".into(), "two".into()));
        assert!(!to.join("d/hidden").exists() && to.join("d/e").is_dir());
        let inode = |name: &str| fs::symlink_metadata(to.join(name)).unwrap().ino();
        assert_eq!(inode("one"), inode("d/one-link"));
        assert_eq!(fs::metadata(to.join("d")).unwrap().mode(), 0o42711);
        let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(time(&to.join("d")), time(&store.layer_dir("two").join("fs").join("d")));
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("nowhere"));
        fs::remove_dir_all(dir).unwrap();
    }
}
