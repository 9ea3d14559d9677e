//! Gives the layers of a store an index, image by image: each is read again from where it came.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::image::document::manifest::read_image;
use crate::image::limits::Limits;
use crate::image::progress::Progress;
use crate::image::source;
use crate::image::source::reference::Reference;
use crate::image::source::registry::Access;
use crate::image::store::convert::{Converted, index_layers};
use crate::image::store::{ImportOptions, LayerForm, Store};
use crate::log;

/// Gives the layers of all images and bundles that `store` knows an index, where it has none. What cannot be read
/// from its source any more is told, and stays.
///
/// # Errors
///
/// Those of the store, and `Kind::Unsupported` if this host mounts no index.
pub(crate) fn index_store(
    store: &Store,
    access: &Access,
    limits: &Limits,
    progress: &Arc<dyn Progress>,
    report: &mut dyn FnMut(&str, Converted),
) -> Result<()> {
    for (reference, manifest, layers) in store.origins()? {
        let options = ImportOptions { limits, progress, form: LayerForm::Erofs };
        let mut index = || {
            let source = source::open(&Reference::parse(&reference)?, access)?;
            let image = read_image(&|blob| source.blob(blob), &manifest)?;
            index_layers(store, source.as_ref(), &image, &layers, options, report)
        };
        if let Err(error) = index() {
            let error: Error = error;
            log::warn(format_args!("{reference}: its layers stay as they are: {error}"));
        }
    }
    Ok(())
}
