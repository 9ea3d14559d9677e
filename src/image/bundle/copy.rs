//! A bundle with a tree of its own: the layers applied one over the other.

use std::sync::Arc;

use super::{About, Options, Work, configure};
use crate::error::{Context, Result};
use crate::image::blob::digest::{self, short};
use crate::image::document::manifest::Image;
use crate::image::filesystem::dir::c_string;
use crate::image::limits::Used;
use crate::image::progress::Watched;
use crate::image::source::Source;
use crate::image::store::{ABOUT, clone};
use crate::image::unpack::layer;
use crate::image::unpack::tree::Tree;

pub fn make(source: &dyn Source, image: &Image, about: &About, work: &Work, options: &Options) -> Result<()> {
    work.mkdir(c"rootfs", 0o755)?;
    let mut tree = Tree::open(&work.path().join("rootfs")).context("open rootfs")?;
    tree.adapted(options.adapt.clone()).context("give rootfs its owner")?;
    if from_store(image, work, options)? {
        // The root has its times by now.
        tree = Tree::open_kept(&work.path().join("rootfs")).context("open rootfs")?;
    } else {
        unpack(source, image, &mut tree, options)?;
    }
    if !options.rootfs_only {
        work.write(c"config.json", &configure(image, &mut tree, &options.wishes)?)?;
    }
    tree.finish().context("set the times of directories")?;
    work.describe("rootfs")?;
    work.write(&c_string(ABOUT.as_bytes())?, &about.text()?)?;
    work.own(options.adapt.root())?;
    work.publish()
}

/// Takes the tree from the store, if all layers are there and can share their blocks. False where they cannot.
fn from_store(image: &Image, work: &Work, options: &Options) -> Result<bool> {
    let Some(store) = options.clones.as_ref().filter(|_| options.wishes.mapping.is_none()) else {
        return Ok(false);
    };
    let ids =
        image.config.rootfs().diff_ids().iter().map(|id| digest::parse(id)).collect::<Result<Vec<_>>>()?;
    let scratch = work.path().join("scratch");
    work.mkdir(c"scratch", 0o700)?;
    let made = clone::tree(store, &ids, &work.path().join("rootfs"), &scratch);
    std::fs::remove_dir(&scratch).with_context(|| format!("remove {}", scratch.display()))?;
    let is_made = made.context("copy the layers that are in the store")?;
    if is_made {
        options.watch.plan(image.manifest.layers());
        image.manifest.layers().iter().for_each(|blob| options.watch.done(blob));
    }
    Ok(is_made)
}

fn unpack(source: &dyn Source, image: &Image, tree: &mut Tree, options: &Options) -> Result<()> {
    let used = Used::default();
    let layers = image.manifest.layers();
    options.watch.plan(layers);
    for (number, (blob, diff_id)) in layers.iter().zip(image.config.rootfs().diff_ids()).enumerate() {
        let diff_id = digest::parse(diff_id)?;
        let digest = blob.digest();
        let place =
            || format!("layer {} of {} ({}:{})", number + 1, layers.len(), digest.algorithm(), short(digest));
        let inner = source.blob(blob).with_context(place)?;
        let bytes = Watched { inner, blob: blob.clone(), watch: Arc::clone(&options.watch) };
        layer::apply(tree, Box::new(bytes), blob, &diff_id, &options.limits, &used).with_context(place)?;
        options.watch.done(blob);
    }
    Ok(())
}
