//! `KeptImage`: an image whose layers a store has as archives, so that it can be given out again.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use oci_spec::image::Digest;

use super::known_image::KnownImage;
use super::seal::check;
use super::session::Session;
use super::trees::has_index;
use super::{ARCHIVE, INDEX, LayerIds, LayerInfo, Store};
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::document::manifest::{Image, read_image};
use crate::image::source::ImageSource;

/// An image of the store. While it lives none of its layers is pruned.
#[derive(Debug)]
pub(crate) struct KeptImage {
    pub(crate) image: Image,
    /// The archives of its layers, the lowest first. The digest of each is to be the layer's diff id: whoever
    /// gives them out proves it.
    pub(crate) archives: Vec<Arc<File>>,
    session: Session,
}

impl KeptImage {
    /// A directory for files without names.
    pub(crate) fn work(&self) -> &Path {
        self.session.path()
    }
}

impl Store {
    /// Opens the image that was pulled by this reference.
    ///
    /// # Errors
    ///
    /// `Kind::NotFound` if the store does not have it; `Kind::Unsupported` if a layer of it is a directory.
    pub(crate) fn kept_image(&self, reference: &str) -> Result<KeptImage> {
        let (known, layers) = self.image_with_documents(reference)?;
        self.open_kept(&known, &layers)
    }

    /// Opens the image of this manifest, which a bundle was made of.
    ///
    /// # Errors
    ///
    /// As for `kept_image`.
    pub(crate) fn kept_image_of(&self, manifest: &Digest) -> Result<KeptImage> {
        let (known, layers) = self.manifest_with_documents(manifest)?;
        self.open_kept(&known, &layers)
    }

    fn open_kept(&self, known: &KnownImage, layers: &[String]) -> Result<KeptImage> {
        let image = read_image(&|descriptor| known.blob(descriptor), known.manifest())?;
        let needed: Vec<LayerIds> = layers.iter().map(|name| LayerIds::of_name(name)).collect();
        let session = Session::begin(self, &needed)?;
        let diff_ids = image.config.rootfs().diff_ids();
        if diff_ids.len() != layers.len() {
            return Err(fail!(
                Kind::Spec,
                "the store's record names {} layers of {}",
                layers.len(),
                diff_ids.len()
            ));
        }
        let archives = layers.iter().zip(diff_ids).enumerate().map(|(number, (name, diff_id))| {
            let place = || format!("layer {} of {} in the store", number + 1, layers.len());
            self.open_archive(name, diff_id).map(Arc::new).with_context(place)
        });
        let archives = archives.collect::<Result<_>>()?;
        Ok(KeptImage { image, archives, session })
    }

    fn open_archive(&self, name: &str, diff_id: &str) -> Result<File> {
        let layer = self.dirs.layers.below(name)?;
        if !has_index(&layer)? {
            return Err(fail!(Kind::Unsupported, "it is unpacked to a directory, and its archive is not kept")
                .with_hint("`tare-image convert --overlay=erofs --store DIR` gets the archive again from where the image came"));
        }
        let info = LayerInfo::read(&layer)?;
        if info.diff_id != diff_id {
            return Err(fail!(
                Kind::Spec,
                "its record names the diff id {}, and not {diff_id}",
                info.diff_id
            ));
        }
        let archive = layer.open_file(ARCHIVE)?;
        check(&info, &archive, &layer.open_file(INDEX)?)?;
        Ok(archive)
    }
}
