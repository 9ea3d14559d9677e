//! The store: unpacked layers that bundles share, each made once.
//!
//! ```text
//! STORE/lock                      held while the list of what is wanted changes
//! STORE/layers/sha256-HEX/fs      a layer that is the same over any other, by its diff id
//! STORE/layers/chain-sha256-HEX/fs  one that is not, by what is below it too (its chain id)
//! STORE/tmp/ID/                   the workplace of a running process, locked by it; `wanted` lists what it needs
//! STORE/bundles/HEX               which layers a bundle is made of, by the bundle's path
//! STORE/images/HEX                which layers a pulled image is made of, by its reference
//! ```
//!
//! A layer is made in a workplace and renamed when it is complete and on disk: a half one is never seen. A killed
//! process leaves an unlocked workplace, which the next one takes away.

pub mod clone;
mod debts;
mod fill;
mod images;
mod prune;
mod session;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Result};
use crate::image::blob::digest;

pub use fill::{Filled, fill};
pub use prune::{Pruned, prune};
use session::Session;

/// The file that makes a directory a bundle of ours: a claim counts as long as the bundle has it.
pub const ABOUT: &str = "tare-image.json";

#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
}

/// What a layer's directory says of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct About {
    diff_id: String,
    /// Whether the layer has an entry for the root itself: the attributes of `fs` are the image's then.
    root: bool,
}

/// The names that a layer may have in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    pub alone: String,
    pub chained: String,
}

impl Store {
    /// Opens or makes the store; closed to everybody else, because layers hold setuid programs.
    pub fn open(path: &Path) -> Result<Self> {
        let making = || format!("make store {}", path.display());
        let mut dirs = fs::DirBuilder::new();
        dirs.recursive(true).mode(0o700);
        for name in ["", "layers", "tmp", "bundles", "images"] {
            dirs.create(path.join(name)).with_context(making)?;
        }
        // What the kernel is told must hold wherever the process stands.
        Ok(Self { path: path.canonicalize().with_context(making)? })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of a layer.
    pub fn layer(&self, key: &str) -> PathBuf {
        self.path.join("layers").join(key)
    }

    /// The tree of a layer.
    pub fn tree(&self, key: &str) -> PathBuf {
        self.layer(key).join("fs")
    }

    /// Which of its names a layer is there by.
    fn find(&self, keys: &Keys) -> Option<String> {
        [&keys.alone, &keys.chained].into_iter().find(|key| self.layer(key).exists()).cloned()
    }

    fn about(&self, key: &str) -> Result<About> {
        let path = self.layer(key).join("about.json");
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        crate::image::document::manifest::parse(&bytes).with_context(|| format!("{}", path.display()))
    }

    /// The directory whose attributes the root has: the topmost layer's that gives it any.
    pub fn root_of(&self, keys: &[String]) -> Result<Option<PathBuf>> {
        for key in keys.iter().rev() {
            if self.about(key)?.root {
                return Ok(Some(self.tree(key)));
            }
        }
        Ok(None)
    }

    /// Holds off others who change what is wanted.
    fn lock(&self) -> Result<Flock<OwnedFd>> {
        let path = self.path.join("lock");
        let locking = || format!("lock {}", path.display());
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(locking)?;
        Flock::lock(OwnedFd::from(file), FlockArg::LockExclusive)
            .map_err(|(_, errno)| errno)
            .with_context(locking)
    }

    fn bundle_file(&self, bundle: &Path) -> PathBuf {
        let name = digest::of(std::os::unix::ffi::OsStrExt::as_bytes(bundle.as_os_str()));
        self.path.join("bundles").join(name.digest())
    }

    /// Notes that the bundle at this absolute path is made of these layers, or will be in a moment.
    pub fn claim(&self, bundle: &Path, filled: &Filled) -> Result<()> {
        let claim = Claim {
            bundle: bundle.to_owned(),
            layers: filled.layers.clone(),
            session: filled.session.name(),
        };
        let text = serde_json::to_vec(&claim).map_err(|e| crate::fail!(crate::error::Kind::Spec, "{e}"))?;
        crate::image::copy::replace(&self.bundle_file(bundle), &text)
    }

    /// The bundle is gone.
    pub fn release(&self, bundle: &Path) -> Result<()> {
        take_away(&self.bundle_file(bundle))
    }
}

/// Removes a file of the store, if another process has not done so: a bundle is removed beside a prune.
fn take_away(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Claim {
    bundle: PathBuf,
    layers: Vec<String>,
    /// The workplace of the process that makes the bundle.
    session: String,
}

/// The names of all layers of an image, from its diff ids (image-spec, config.md: chain id).
pub fn keys(diff_ids: &[Digest]) -> Vec<Keys> {
    let mut chain: Option<Digest> = None;
    let name = |digest: &Digest| format!("{}-{}", digest.algorithm(), digest.digest());
    diff_ids
        .iter()
        .map(|id| {
            let next = match &chain {
                None => id.clone(),
                Some(below) => digest::of(format!("{below} {id}").as_bytes()),
            };
            let keys = Keys { alone: name(id), chained: format!("chain-{}", name(&next)) };
            chain = Some(next);
            keys
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids_follow_the_specification() {
        let id = |byte: u8| digest::of(&[byte]);
        let found = keys(&[id(1), id(2), id(3)]);
        let second = digest::of(format!("{} {}", id(1), id(2)).as_bytes());
        let third = digest::of(format!("{second} {}", id(3)).as_bytes());
        assert_eq!(found[0].chained, format!("chain-sha256-{}", id(1).digest()));
        assert_eq!(found[1].chained, format!("chain-sha256-{}", second.digest()));
        assert_eq!(found[2].chained, format!("chain-sha256-{}", third.digest()));
        assert_eq!(found[2].alone, format!("sha256-{}", id(3).digest()));
    }
}
