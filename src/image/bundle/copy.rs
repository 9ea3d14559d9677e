//! A bundle with a tree of its own: the layers applied one over the other.

use std::sync::Arc;

use super::{ABOUT, About, Options, Work, configure};
use crate::error::{Context, Result};
use crate::image::digest::{self, short};
use crate::image::layer;
use crate::image::limits::Used;
use crate::image::manifest::Image;
use crate::image::source::Source;
use crate::image::tree::{Tree, c_string};
use crate::image::watch::Watched;

pub fn make(source: &dyn Source, image: &Image, about: &About, work: &Work, options: &Options) -> Result<()> {
    work.mkdir(c"rootfs", 0o755)?;
    let mut tree = Tree::open(&work.path().join("rootfs")).context("open rootfs")?;
    tree.adapted(options.adapt.clone()).context("give rootfs its owner")?;
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
        layer::apply(&mut tree, Box::new(bytes), blob, &diff_id, &options.limits, &used)
            .with_context(place)?;
        options.watch.done(blob);
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
