//! A bundle: made beside its destination under another name, and put there as a whole. A failed or killed unpacking
//! leaves nothing at the destination; what it left beside it, the next one takes away.
//!
//! Two forms: `copy`, a tree of its own; `shared`, the layers of the store with a directory for changes over them.

pub mod config;
mod copy;
mod profile;
pub mod seccomp;
mod shared;
pub mod user;
pub mod wishes;
mod work;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::image::Descriptor;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Kind, Result};
use crate::image::archive::path::clean;
use crate::image::bundle::wishes::Wishes;
use crate::image::changes::{self, Changes, Owners};
use crate::image::document::manifest::{self, Image};
use crate::image::limits::Limits;
use crate::image::progress::Watch;
use crate::image::source::Source;
use crate::image::store::Store;
use crate::image::unpack::adapt::Adapt;
use crate::image::unpack::tree::Tree;
use crate::image::userns::mapping::Mapping;
use crate::image::userns::namespace::{Ids, Place};
use crate::{fail, log};

pub use shared::{mount, remove, umount};
use work::Work;

pub use crate::image::store::ABOUT;

/// How to unpack.
pub struct Options {
    pub limits: Limits,
    pub watch: Arc<dyn Watch>,
    pub wishes: Wishes,
    /// No config.json.
    pub rootfs_only: bool,
    /// How entries are made that cannot be made as they are.
    pub adapt: Adapt,
    /// The store that a private copy may share blocks with.
    pub clones: Option<Store>,
    /// The store whose layers the bundle shares; None for a copy.
    pub store: Option<Store>,
}

/// `tare-image.json`: where the bundle comes from, and what it takes to mount it again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    pub reference: String,
    /// The manifest that the bundle is made of.
    pub manifest: Descriptor,
    pub shared: Option<Shared>,
    /// How a user without privileges unpacked it.
    pub rootless: Option<Ids>,
    /// Which ids of the host its owners are.
    pub mapping: Option<Mapping>,
}

/// The layers of an overlay bundle.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shared {
    pub store: PathBuf,
    /// The lowest first.
    pub layers: Vec<String>,
}

impl About {
    /// Reads what the bundle at `path` says; only what tare-image made says something.
    pub fn read(path: &Path) -> Result<Self> {
        let file = path.join(ABOUT);
        let bytes = match fs::read(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(fail!(Kind::NotFound, "{}: not a bundle made by tare-image", path.display()));
            }
            bytes => bytes.with_context(|| format!("read {}", file.display()))?,
        };
        manifest::parse(&bytes).with_context(|| format!("{}", file.display()))
    }

    fn text(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| fail!(Kind::Spec, "{ABOUT}: {e}"))?;
        text.push(b'\n');
        Ok(text)
    }
}

/// Unpacks `image`, found at `reference`, to a new bundle at `path`.
pub fn unpack(
    source: &dyn Source,
    reference: &str,
    image: &Image,
    path: &Path,
    options: &Options,
) -> Result<()> {
    let work = Work::begin(path)?;
    let about = About {
        reference: reference.into(),
        manifest: image.descriptor.clone(),
        shared: None,
        rootless: match Place::find() {
            Place::Own(ids) => Some(ids),
            _ => None,
        },
        mapping: options.wishes.mapping.clone(),
    };
    let result = match &options.store {
        None => copy::make(source, image, &about, &work, options),
        Some(store) => shared::make(source, image, about, &work, options, store),
    };
    result.inspect_err(|_| work.discard())
}

/// What has changed in the bundle at `path` since it was unpacked.
pub fn changes(path: &Path) -> Result<Changes> {
    let about = About::read(path)?;
    let path = path.canonicalize().with_context(|| format!("open {}", path.display()))?;
    let place = match &about.shared {
        None => changes::Place::Own { rootfs: path.join("rootfs") },
        Some(shared) => shared::place(&path, shared, &about)?,
    };
    let owners = Owners { is_single: about.rootless == Some(Ids::Single), mapping: about.mapping };
    changes::changes(&place, owners, &path.join(changes::FILE))
        .with_context(|| format!("changes of {}", path.display()))
}

/// config.json for an unpacked tree: the ids behind names come from it, and it gets the working directory.
fn configure(image: &Image, tree: &mut Tree, wishes: &Wishes) -> Result<Vec<u8>> {
    let image = wishes.image(&image.config);
    let user = user::resolve(config::user(&image), tree.root())?;
    if let Some(mapping) = wishes.rootless.as_ref().or(wishes.mapping.as_ref())
        && let Err(error) = mapping.host(user.uid, user.gid)
    {
        log::warn(format_args!("the container will not start as its user {}: {error}", config::user(&image)));
    }
    let cwd = config::working_dir(&image);
    tree.dir(&clean(cwd.as_bytes())).with_context(|| format!("make working directory {cwd}"))?;
    let runtime = wishes.runtime(config::runtime(&image, &user))?;
    let mut text = serde_json::to_vec_pretty(&runtime).map_err(|e| fail!(Kind::Spec, "config.json: {e}"))?;
    text.push(b'\n');
    Ok(text)
}
