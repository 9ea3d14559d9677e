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

use super::seal::check;
use super::{ARCHIVE, FILES, INDEX, LayerInfo, Store};
use crate::error::{Context, Error, Result};
use crate::image::erofs::probe::probe;
use crate::image::filesystem::dir::fd_path;
use crate::image::filesystem::directory::Directory;
use crate::image::filesystem::erofs;
use crate::image::userns::mapping::IdMapping;

/// The trees of layers, the lowest first.
#[derive(Debug, Default)]
pub(crate) struct Trees {
    paths: Vec<PathBuf>,
    mounts: Vec<OwnedFd>,
    /// The topmost one with an entry for the root.
    root: Option<PathBuf>,
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

    /// The directory with the attributes of the image's root; None if none of these layers has an entry for it.
    pub(crate) fn root(&self) -> Option<&Path> {
        self.root.as_deref()
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
            let info = self.layer_info(name)?;
            let path = match known.get(name) {
                Some(path) => PathBuf::clone(path),
                None => match self.open_tree(name, &info)? {
                    Tree::Directory(path) => path,
                    Tree::Mount(mount) => {
                        let path = fd_path(mount.as_fd());
                        trees.mounts.push(mount);
                        path
                    }
                },
            };
            if info.has_root_entry && trees.root.is_none() {
                trees.root = Some(path.clone());
            }
            known.insert(name, path.clone());
            trees.paths.push(path);
            if info.hides_all {
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
            let info = self.layer_info(name)?;
            if info.has_root_entry {
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                return match self.open_tree(name, &info)? {
                    Tree::Directory(path) => Ok(Some(File::open(path)?)),
                    Tree::Mount(mount) => Ok(Some(openat(&mount, c".", flags, Mode::empty())?.into())),
                };
            }
        }
        Ok(None)
    }

    fn open_tree(&self, name: &str, info: &LayerInfo) -> Result<Tree> {
        let layer = self.dirs.layers.below(name)?;
        match has_index(&layer)? {
            true => Ok(Tree::Mount(mount(&layer, info).with_context(|| format!("mount layer {name}"))?)),
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

fn mount(layer: &Directory, info: &LayerInfo) -> Result<OwnedFd> {
    let (index, archive) = (layer.open_file(INDEX)?, layer.open_file(ARCHIVE)?);
    check(info, &archive, &index)?;
    erofs::mount(&index, &archive).map_err(|failed| {
        // The same errno may tell of the kernel or of this layer: an index that is known to be good decides.
        let host = match failed.may_be_the_host {
            true => probe(&fd_path(layer.as_fd())),
            false => Ok(None),
        };
        let hint = match host {
            Ok(Some(_)) => {
                "this host mounts no EROFS over files: tare-image convert --overlay=files gives it directories"
            }
            _ => "this host mounts others: `tare-image verify --store DIR` tells whether the layer is damaged",
        };
        Error::from(failed).with_hint(hint)
    })
}
