//! Makes a bundle with a private tree: the layers are applied one after the other to its rootfs.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::staging::StagingDir;
use super::{BundleInfo, UnpackOptions, runtime_config};
use crate::error::{Context, Result};
use crate::image::blob::digest::{self, short};
use crate::image::document::manifest::Image;
use crate::image::filesystem::dir::fd_path;
use crate::image::limits::Usage;
use crate::image::progress::ProgressReader;
use crate::image::source::ImageSource;
use crate::image::store::{BUNDLE_INFO, reflink_copy};
use crate::image::unpack::layer;
use crate::image::unpack::tree::Tree;
use crate::inroot::{Root, c_string};

/// Makes the bundle in the staging directory and puts it in place.
pub(super) fn make(
    source: &dyn ImageSource,
    image: &Image,
    info: &BundleInfo,
    staging: &StagingDir,
    options: &UnpackOptions,
) -> Result<()> {
    staging.mkdir(c"rootfs", 0o755)?;
    let mut tree = Tree::merged(Root::from(staging.open_dir(c"rootfs")?), options.adapter.clone())
        .context("open rootfs")?;
    tree.chown_root().context("give rootfs its owner")?;
    if copy_from_store(image, staging, options)? {
        // The copied root has the image's times: they are kept.
        tree = Tree::over(Root::from(staging.open_dir(c"rootfs")?), options.adapter.clone())
            .context("open rootfs")?;
    } else {
        unpack(source, image, &mut tree, options)?;
    }
    if !options.rootfs_only {
        staging.write_file(c"config.json", &runtime_config(image, &mut tree, &options.overrides)?)?;
    }
    tree.finish().context("set the times of directories")?;
    staging.record_tree(c"rootfs")?;
    staging.write_file(&c_string(BUNDLE_INFO.as_bytes())?, &info.to_json()?)?;
    staging.publish(options.adapter.root_ids())
}

/// Copies the tree from the store, if the store has all layers and their blocks can be shared. Returns
/// whether the tree was copied.
fn copy_from_store(image: &Image, staging: &StagingDir, options: &UnpackOptions) -> Result<bool> {
    let Some(store) = options.reflink_store.as_ref().filter(|_| options.overrides.mapping.is_none()) else {
        return Ok(false);
    };
    let ids =
        image.config.rootfs().diff_ids().iter().map(|id| digest::parse(id)).collect::<Result<Vec<_>>>()?;
    let rootfs = staging.open_dir(c"rootfs")?;
    let copied = reflink_copy::copy_tree(store, &ids, &fd_path(rootfs.as_fd()));
    let is_copied = copied.context("copy the layers that are in the store")?;
    if is_copied {
        options.progress.plan(image.manifest.layers());
        image.manifest.layers().iter().for_each(|blob| options.progress.done(blob));
    }
    Ok(is_copied)
}

fn unpack(source: &dyn ImageSource, image: &Image, tree: &mut Tree, options: &UnpackOptions) -> Result<()> {
    let used = Usage::default();
    let layers = image.manifest.layers();
    options.progress.plan(layers);
    for (number, (blob, diff_id)) in layers.iter().zip(image.config.rootfs().diff_ids()).enumerate() {
        let diff_id = digest::parse(diff_id)?;
        let digest = blob.digest();
        let place =
            || format!("layer {} of {} ({}:{})", number + 1, layers.len(), digest.algorithm(), short(digest));
        let inner = source.blob(blob).with_context(place)?;
        let bytes = ProgressReader { inner, blob: blob.clone(), progress: Arc::clone(&options.progress) };
        layer::apply(tree, Box::new(bytes), blob, &diff_id, &options.limits, &used).with_context(place)?;
        options.progress.done(blob);
    }
    used.warn_of_attributes_left_out();
    Ok(())
}
