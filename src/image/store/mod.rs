//! The store: unpacked layers that bundles share, each unpacked once.
//!
//! ```text
//! STORE/tare-image-store            marks the directory as a store; nothing is removed from any other
//! STORE/lock                        held while sessions begin and while layers are pruned
//! STORE/layers/sha256-HEX/          a layer that is the same over any other, named by its diff id
//! STORE/layers/chain-sha256-HEX/    a layer that depends on those below it, named by its chain id
//!     layer.tar, layer.erofs        its archive, and an index of it that the kernel mounts; or
//!     fs/                           its files, unpacked
//!     about.json                    what else is known of it
//! STORE/tmp/ID/                     the locked session of a running process; `needed` lists its layers
//! STORE/bundles/HEX                 which layers a bundle uses, by the bundle's path
//! STORE/images/HEX                  which layers a pulled image uses, by its reference, and its documents
//! STORE/containers/NAME/            a container of `tare-image run` (`image::run`)
//! ```
//!
//! A layer is made in a session's directory and renamed to its place when it is complete and on disk:
//! nobody sees a partial one. A killed process leaves its session unlocked, and the next process removes it.

mod complete;
pub(crate) mod convert;
mod directories;
mod import;
mod kept;
mod known_first;
mod known_image;
pub(crate) mod listing;
mod listed;
mod names;
mod prune;
mod records;
pub(crate) mod reflink_copy;
mod seal;
mod session;
mod trees;
pub(crate) mod verify;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use directories::Directories;
use nix::errno::Errno;
use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::blob::digest;
use crate::image::filesystem::dir::fd_path;
use crate::image::filesystem::directory::Directory;

pub(crate) use import::{ImportOptions, LayerForm, import_layers};
pub(crate) use kept::KeptImage;
pub(crate) use known_first::KnownFirst;
pub(crate) use prune::prune;
pub(crate) use trees::Trees;

/// The file that makes a directory a bundle of tare-image. A bundle's layers are kept as long as it is there.
pub(super) const BUNDLE_INFO: &str = "tare-image.json";

/// The largest size of a file of the store's own, in bytes: it names some hundred layers at most.
const MAX_RECORD: u64 = 1 << 20;

/// A directory with layers, open.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    /// Absolute, for messages, records and bundles. Nothing is reached by it: the owner of a directory above
    /// may put another one in its place.
    path: PathBuf,
    dirs: Arc<Directories>,
}

/// A layer's archive, decompressed, in its directory.
const ARCHIVE: &str = "layer.tar";
/// The index of that archive.
const INDEX: &str = "layer.erofs";
/// The directory with a layer's files, if it has no index.
const FILES: &str = "fs";
/// What is known of a layer, in its directory.
const ABOUT: &str = "about.json";

/// The content of `ABOUT`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayerInfo {
    diff_id: String,
    /// Whether the layer's archive has an entry for the root directory, so that the attributes of `fs` come
    /// from the image.
    #[serde(rename = "root")]
    has_root_entry: bool,
    /// Whether an opaque whiteout in the root hides all layers below.
    #[serde(default, rename = "opaque")]
    hides_all: bool,
    /// The layers that an index was completed over, the lowest first; None for one that needs none, and for
    /// a layer without an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    below: Option<Vec<String>>,
    /// None where the filesystem had no fs-verity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seals: Option<Seals>,
}

/// The digests of fs-verity of the two files of a layer with an index, in hexadecimal digits.
#[derive(Debug, Serialize, Deserialize)]
struct Seals {
    archive: String,
    index: String,
}

impl LayerInfo {
    fn read(layer: &Directory) -> Result<Self> {
        let path = layer.path_of(ABOUT);
        let missing = || fail!(Kind::System(Errno::ENOENT), "open {}: no such file", path.display());
        let bytes = layer.read_small(ABOUT, MAX_RECORD)?.ok_or_else(missing)?;
        crate::image::document::manifest::parse_json(&bytes).with_context(|| format!("{}", path.display()))
    }

    fn write(&self, layer: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|e| fail!(Kind::Spec, "{e}"))?;
        // With a mode, and 0644 whatever the umask is: while another layer is unpacked, it is empty.
        Directory::open_no_link(layer)?.replace(ABOUT, &text, 0o644)
    }
}

/// The two names that a layer may have in `STORE/layers`. The diff id is the digest of the decompressed
/// layer; the chain id identifies the layer together with all layers below it (image-spec, config.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LayerIds {
    pub(crate) diff_id: String,
    chain_id: String,
}

impl LayerIds {
    /// Whatever layer has this name.
    fn of_name(name: &str) -> Self {
        Self { diff_id: name.to_owned(), chain_id: name.to_owned() }
    }
}

impl Store {
    /// Opens the store at `path`, and makes it if it is missing. Its mode is 0700, because layers hold setuid
    /// programs.
    ///
    /// # Errors
    ///
    /// `Kind::Exists` for a directory that holds something else; `Kind::Denied` where others may write to it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let (dirs, path) =
            Directories::open(path).with_context(|| format!("make store {}", path.display()))?;
        Ok(Self { path, dirs: Arc::new(dirs) })
    }

    /// Opens like `open`, for a store that a bundle names: nothing is made if it is missing.
    pub(crate) fn open_existing(path: &Path) -> Result<Self> {
        let (dirs, path) =
            Directories::open_existing(path).with_context(|| format!("open store {}", path.display()))?;
        Ok(Self { path, dirs: Arc::new(dirs) })
    }

    /// The directory with what belongs to the containers of `tare-image run`; makes it if it is missing.
    pub(crate) fn containers(&self) -> Result<Directory> {
        self.dirs.containers()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the store for system calls: it begins at the descriptor.
    pub(super) fn fd_path(&self) -> PathBuf {
        fd_path(self.dirs.root.as_fd())
    }

    /// Returns the path that users see, for a `path` that begins at the descriptor.
    pub(super) fn shown(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.fd_path()).map_or_else(|_| path.to_owned(), |below| self.path.join(below))
    }

    /// The directory of the layer `name`, for system calls.
    fn layer_dir(&self, name: &str) -> PathBuf {
        self.fd_path().join("layers").join(name)
    }

    /// Whether the store has the layer `name`.
    pub(super) fn has_layer(&self, name: &str) -> Result<bool> {
        Ok(self.dirs.layers.stat_of(name)?.is_some())
    }

    /// Returns the name of the layer in the store; None if the store does not have it.
    fn find_layer(&self, ids: &LayerIds) -> Result<Option<String>> {
        for name in [&ids.diff_id, &ids.chain_id] {
            if self.dirs.layers.stat_of(name)?.is_some() {
                return Ok(Some(name.clone()));
            }
        }
        Ok(None)
    }

    fn layer_info(&self, name: &str) -> Result<LayerInfo> {
        LayerInfo::read(&self.dirs.layers.below(name)?)
    }
}

/// The names of an image's layers, from their diff ids, the lowest first.
fn layer_ids(diff_ids: &[Digest]) -> Vec<LayerIds> {
    let mut chain: Option<Digest> = None;
    let name = |digest: &Digest| format!("{}-{}", digest.algorithm(), digest.digest());
    diff_ids
        .iter()
        .map(|id| {
            let next = match &chain {
                None => id.clone(),
                Some(below) => digest::sha256_of(format!("{below} {id}").as_bytes()),
            };
            let ids = LayerIds { diff_id: name(id), chain_id: format!("chain-{}", name(&next)) };
            chain = Some(next);
            ids
        })
        .collect()
}

/// The number by which the kernel's messages tell a layer: the first digits of its diff id.
fn uuid_of(diff_id: &Digest) -> [u8; 16] {
    let digits = diff_id.digest().as_bytes();
    let byte = |at: usize| digits.get(at..at + 2).and_then(|two| std::str::from_utf8(two).ok());
    std::array::from_fn(|at| {
        byte(2 * at).and_then(|two| u8::from_str_radix(two, 16).ok()).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids_follow_the_specification() {
        let id = |byte: u8| digest::sha256_of(&[byte]);
        let found = layer_ids(&[id(1), id(2), id(3)]);
        let second = digest::sha256_of(format!("{} {}", id(1), id(2)).as_bytes());
        let third = digest::sha256_of(format!("{second} {}", id(3)).as_bytes());
        assert_eq!(found[0].chain_id, format!("chain-sha256-{}", id(1).digest()));
        assert_eq!(found[1].chain_id, format!("chain-sha256-{}", second.digest()));
        assert_eq!(found[2].chain_id, format!("chain-sha256-{}", third.digest()));
        assert_eq!(found[2].diff_id, format!("sha256-{}", id(3).digest()));
    }
}
