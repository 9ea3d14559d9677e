//! `oci-archive:FILE`: an OCI image layout in a tar file.

use std::io::Read;
use std::path::Path;

use oci_spec::image::{Descriptor, OciLayout};

use super::indexed_tar::IndexedTar;
use super::interface::ImageSource;
use super::layout;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::blob::digest;
use crate::image::document::manifest;

#[derive(Debug)]
pub(crate) struct OciArchive(IndexedTar);

impl OciArchive {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let tar = IndexedTar::open(path)?;
        let place = || format!("archive {}", path.display());
        let missing = || fail!(Kind::Spec, "has no oci-layout: it is no OCI archive");
        let file =
            tar.read_small_file("oci-layout").with_context(place)?.ok_or_else(missing).with_context(place)?;
        let about: OciLayout = manifest::parse_json(&file).with_context(place)?;
        layout::check_version(&about).with_context(place)?;
        Ok(Self(tar))
    }
}

impl ImageSource for OciArchive {
    fn manifests(&self) -> Result<Vec<Descriptor>> {
        let bytes =
            self.0.read_small_file("index.json")?.ok_or_else(|| fail!(Kind::Spec, "has no index.json"))?;
        let index = manifest::parse_index(&bytes, None).context("index.json")?;
        Ok(index.manifests().clone())
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        let name = format!("blobs/{}", digest::path(descriptor.digest())?);
        let range = self.0.find(&name).ok_or_else(|| fail!(Kind::NotFound, "the archive has no {name}"))?;
        Ok(Box::new(self.0.reader(range)))
    }
}
