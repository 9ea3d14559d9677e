//! The trees of layers as overlays take them: directories of the store, or mounts of indexes, which live as long
//! as they are held here or an overlay is over them.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::{ARCHIVE, FILES, INDEX, Store};
use crate::error::{Context, Error, Result};
use crate::image::filesystem::dir::fd_path;
use crate::image::filesystem::directory::Directory;
use crate::image::filesystem::erofs;
use crate::image::userns::mapping::IdMapping;

/// The trees of layers, the lowest first.
#[derive(Debug, Default)]
pub(crate) struct Trees {
    paths: Vec<PathBuf>,
    mounts: Vec<OwnedFd>,
}

impl Deref for Trees {
    type Target = [PathBuf];

    fn deref(&self) -> &[PathBuf] {
        &self.paths
    }
}

impl Trees {
    /// Maps the owners of those that are mounts.
    pub(crate) fn map_owners(&self, mapping: &IdMapping) -> Result<()> {
        erofs::map_owners(&self.mounts, mapping)
    }

    /// Whether some of them are directories of the store.
    pub(crate) fn has_directories(&self) -> bool {
        self.mounts.len() < self.paths.len()
    }

    /// The mounts among them.
    pub(crate) fn mounts(&self) -> &[OwnedFd] {
        &self.mounts
    }
}

/// The tree of one layer.
enum Tree {
    Directory(PathBuf),
    Mount(OwnedFd),
}

impl Store {
    /// Returns the trees of the visible layers, the lowest first: the topmost layer that hides all others, and
    /// the layers above it. Overlayfs has no mark for an opaque root.
    pub(crate) fn visible_trees(&self, layers: &[String]) -> Result<Trees> {
        let (mut trees, mut known) = (Trees::default(), HashMap::new());
        for name in layers.iter().rev() {
            let path = match known.get(name) {
                Some(path) => PathBuf::clone(path),
                None => match self.open_tree(name)? {
                    Tree::Directory(path) => path,
                    Tree::Mount(mount) => {
                        let path = fd_path(mount.as_fd());
                        trees.mounts.push(mount);
                        path
                    }
                },
            };
            known.insert(name, path.clone());
            trees.paths.push(path);
            if self.layer_info(name)?.hides_all {
                break;
            }
        }
        trees.paths.reverse();
        Ok(trees)
    }

    /// Opens the directory with the attributes of the image's root, which is the root of the topmost layer with
    /// an entry for it; None if no layer has such an entry.
    pub(crate) fn topmost_root(&self, layers: &[String]) -> Result<Option<File>> {
        for name in layers.iter().rev() {
            if self.layer_info(name)?.has_root_entry {
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                return match self.open_tree(name)? {
                    Tree::Directory(path) => Ok(Some(File::open(path)?)),
                    Tree::Mount(mount) => Ok(Some(openat(&mount, c".", flags, Mode::empty())?.into())),
                };
            }
        }
        Ok(None)
    }

    fn open_tree(&self, name: &str) -> Result<Tree> {
        let layer = self.dirs.layers.below(name)?;
        match has_index(&layer)? {
            true => Ok(Tree::Mount(mount(&layer).with_context(|| format!("mount layer {name}"))?)),
            false => Ok(Tree::Directory(self.layer_dir(name).join(FILES))),
        }
    }
}

/// Whether a layer has an index, and no directory with its files.
pub(super) fn has_index(layer: &Directory) -> Result<bool> {
    Ok(layer.stat_of(INDEX)?.is_some())
}

/// Makes a file of a layer, in a session's directory.
pub(super) fn new_file(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(path);
    file.with_context(|| format!("make {}", path.display()))
}

fn mount(layer: &Directory) -> Result<OwnedFd> {
    let (index, archive) = (layer.open_file(INDEX)?, layer.open_file(ARCHIVE)?);
    erofs::mount(&index, &archive).map_err(|error| {
        let hint =
            "this host mounts no EROFS over files: tare-image convert --overlay=files gives it directories";
        Error::from(error).with_hint(hint)
    })
}
