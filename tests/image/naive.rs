//! An unpacker as they once were: names are joined to the root, links are followed, metadata is set by name. What it does to a
//! canary shows that a layer is an attack. It touches nothing outside of the directory of its test.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, mknod};
use tar::EntryType;

use crate::support::Item;

pub(crate) struct Naive<'a> {
    pub root: &'a Path,
    pub within: &'a Path,
}

impl Naive<'_> {
    pub(crate) fn unpack(&self, items: &[Item]) {
        for item in items {
            let _ = self.entry(item);
        }
    }

    fn entry(&self, item: &Item) -> std::io::Result<()> {
        let told = |key: &str, else_it: &[u8]| {
            let pax = item.pax.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
            String::from_utf8_lossy(&pax.unwrap_or_else(|| else_it.to_vec())).into_owned()
        };
        let (name, link) = (told("path", &item.name), told("linkpath", &item.link));
        let name = if name == item.name.escape_ascii().to_string() {
            told("GNU.sparse.name", name.as_bytes())
        } else {
            name
        };
        let path: PathBuf = self.root.join(name).components().collect();
        let parent = path.parent().unwrap_or(self.root);
        if !self.is_within(&path) {
            return Ok(());
        }
        fs::create_dir_all(parent)?;
        if let Some(gone) = path.file_name().and_then(|name| name.to_str()?.strip_prefix(".wh.")) {
            return self.whiteout(parent, gone);
        }
        match item.kind {
            EntryType::Symlink => {
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
                return symlink(link, &path);
            }
            EntryType::Link => {
                return fs::hard_link(self.root.join(link.trim_start_matches('/')), &path)
                    .or_else(|_| fs::hard_link(self.within.join(link.trim_start_matches('/')), &path))
                    .or_else(|_| fs::hard_link(link, &path));
            }
            EntryType::Directory => fs::create_dir_all(&path)?,
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let _ = mknod(&path, SFlag::S_IFIFO, Mode::S_IRWXU, 0);
            }
            _ => fs::write(&path, &item.data)?,
        }
        fs::set_permissions(&path, Permissions::from_mode(item.mode))
    }

    fn whiteout(&self, parent: &Path, gone: &str) -> std::io::Result<()> {
        let remove = |path: &Path| fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
        if gone != ".wh..opq" {
            return if self.is_within(&parent.join(gone)) { remove(&parent.join(gone)) } else { Ok(()) };
        }
        for entry in fs::read_dir(parent)?.flatten().filter(|entry| self.is_within(&entry.path())) {
            let _ = remove(&entry.path());
        }
        Ok(())
    }

    /// Whether the file, and what it leads to, is below the test's own directory.
    fn is_within(&self, path: &Path) -> bool {
        let there = path.ancestors().skip(1).find_map(|above| above.canonicalize().ok());
        let to = path.canonicalize().ok();
        there.into_iter().chain(to).all(|at| at.starts_with(self.within))
    }
}
