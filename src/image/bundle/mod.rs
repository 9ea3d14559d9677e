//! A bundle is made in a staging directory beside its destination, and renamed to it as a whole. A failed or
//! killed unpack leaves nothing at the destination; the next unpack removes the old staging directory.
//!
//! A bundle has one of two forms: `private_tree` unpacks a tree for this bundle alone; `overlay` mounts the
//! layers of the store, with a directory for changes over them. config.json comes from the image's
//! configuration (`config`), with `defaults` for everything that images do not set, and the command line's
//! `config_overrides`.

pub(crate) mod config;
pub(crate) mod config_overrides;
mod defaults;
mod in_use;
mod look;
mod opened;
mod overlay;
mod private_tree;
mod removal;
pub(crate) mod seccomp;
mod staging;
mod traces;
pub(crate) mod user;
mod user_namespace;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::image::Descriptor;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Kind, Result};
use crate::image::archive::path::clean;
use crate::image::changes::{self, Changes, Owners};
use crate::image::document::manifest::Image;
use crate::image::limits::Limits;
use crate::image::progress::Progress;
use crate::image::source::ImageSource;
use crate::image::store::{LayerForm, Store};
use crate::image::unpack::entry_adapter::EntryAdapter;
use crate::image::unpack::tree::Tree;
use crate::image::userns::mapping::IdMapping;
use crate::image::userns::namespace::{MappedIds, Privilege};
use crate::{fail, log};

use config_overrides::ConfigOverrides;
pub(crate) use in_use::refuse_if_in_use;
pub(crate) use look::look;
pub(crate) use opened::Bundle;
pub(crate) use overlay::{mount, store_of, umount};
pub(crate) use removal::{discard, remove};
use staging::StagingDir;

use crate::image::store::BUNDLE_INFO;

/// The options of `unpack`.
pub(crate) struct UnpackOptions {
    pub(crate) limits: Limits,
    pub(crate) progress: Arc<dyn Progress>,
    pub(crate) overrides: ConfigOverrides,
    /// Make no config.json.
    pub(crate) rootfs_only: bool,
    /// Changes entries that this host cannot make unchanged.
    pub(crate) adapter: EntryAdapter,
    /// The store that a private tree may share blocks with (reflinks).
    pub(crate) reflink_store: Option<Store>,
    /// The store whose layers an overlay bundle mounts; None for a private tree.
    pub(crate) overlay_store: Option<Store>,
    /// The form in which layers come into that store.
    pub(crate) layer_form: LayerForm,
}

/// `tare-image.json`: the image that the bundle comes from, and the data to mount it again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BundleInfo {
    pub(crate) reference: String,
    /// The manifest that the bundle was unpacked from.
    pub(crate) manifest: Descriptor,
    /// The layers of an overlay bundle; None for a private tree.
    #[serde(rename = "shared")]
    pub(crate) overlay: Option<OverlayLayers>,
    /// The ids that an unprivileged user unpacked the bundle with; None for root.
    pub(crate) rootless: Option<MappedIds>,
    /// The mapping of the tree's owners to ids of the host, from --uid-map.
    pub(crate) mapping: Option<IdMapping>,
}

/// The layers of an overlay bundle.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OverlayLayers {
    pub(crate) store: PathBuf,
    /// Their names in the store, the lowest first.
    pub(crate) layers: Vec<String>,
}

impl BundleInfo {
    fn to_json(&self) -> Result<Vec<u8>> {
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|e| fail!(Kind::Spec, "{BUNDLE_INFO}: {e}"))?;
        text.push(b'\n');
        Ok(text)
    }
}

/// Unpacks `image`, found at `reference`, to a new bundle at `path`.
///
/// # Errors
///
/// Any fault of the image, its source, the destination or the disk; then nothing is at `path`.
pub(crate) fn unpack(
    source: &dyn ImageSource,
    reference: &str,
    image: &Image,
    path: &Path,
    options: &UnpackOptions,
) -> Result<()> {
    if !options.rootfs_only {
        // As far as it can be known before the layers are read: names are looked up in the image.
        user::check(config::user(&options.overrides.apply_to_image(&image.config)))?;
    }
    let staging = StagingDir::create(path)?;
    let info = BundleInfo {
        reference: reference.into(),
        manifest: image.descriptor.clone(),
        overlay: None,
        rootless: match Privilege::detect() {
            Privilege::OwnNamespace(ids) => Some(ids),
            _ => None,
        },
        mapping: options.overrides.mapping.clone(),
    };
    let result = match &options.overlay_store {
        None => private_tree::make(source, image, &info, &staging, options),
        Some(store) => overlay::make(source, image, info, &staging, options, store),
    };
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    result.inspect_err(|_| staging.discard()).map_err(|error| error.name_full_disk(above))
}

/// The changes in the bundle since it was unpacked.
pub(crate) fn changes(bundle: &Bundle) -> Result<Changes> {
    let info = bundle.info();
    let place = || format!("changes of {}", bundle.shown().display());
    let record = bundle.open_record().with_context(place)?;
    let owners =
        Owners { is_single_id: info.rootless == Some(MappedIds::Single), mapping: info.mapping.clone() };
    match &info.overlay {
        None => changes::of_private_tree(
            bundle.open_dir(c"rootfs").with_context(place)?,
            &bundle.shown().join("rootfs"),
            owners,
            record,
        ),
        Some(layers) => overlay::changes(bundle, layers, owners, record),
    }
    .with_context(place)
}

/// The content of config.json for an unpacked tree. Names of users are looked up in the tree, and the working
/// directory is made in the tree if it is missing.
fn runtime_config(image: &Image, tree: &mut Tree, overrides: &ConfigOverrides) -> Result<Vec<u8>> {
    let image = overrides.apply_to_image(&image.config);
    let user = user::resolve(config::user(&image), tree.root())?;
    if let Some(mapping) = overrides.rootless.as_ref().or(overrides.mapping.as_ref())
        && let Err(error) = mapping.to_host(user.uid, user.gid)
    {
        log::warn(format_args!("the container will not start as its user {}: {error}", config::user(&image)));
    }
    let cwd = config::working_dir(&image);
    tree.open_or_create_dir(&clean(cwd.as_bytes()))
        .with_context(|| format!("make working directory {cwd}"))?;
    let runtime = overrides.apply_to_runtime(config::runtime(&image, &user));
    let mut text = serde_json::to_vec_pretty(&runtime).map_err(|e| fail!(Kind::Spec, "config.json: {e}"))?;
    text.push(b'\n');
    Ok(text)
}
