//! `oci:DIR`: an OCI image layout, a directory with `oci-layout`, `index.json` and `blobs/ALGORITHM/HEX`
//! (image-spec, image-layout.md).

use std::io::Read;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use oci_spec::image::{Descriptor, OciLayout};

use super::interface::ImageSource;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::blob::digest;
use crate::image::document::manifest;
use crate::image::filesystem::input_file::{open_regular, read_small};
use crate::image::limits;

#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
}

impl Layout {
    /// Opens the layout in the directory `path`, and checks its version.
    pub fn open(path: &Path) -> Result<Self> {
        let file = path.join("oci-layout");
        let read = read_small(&file, limits::MAX_MANIFEST).map_err(|error| match error.errno() {
            Some(Errno::ENOENT) => error.with_hint(format!(
                "{} is no image layout: that is a directory with oci-layout, index.json and blobs",
                path.display()
            )),
            _ => error,
        });
        let layout: OciLayout =
            manifest::parse_json(&read?).with_context(|| format!("{}", file.display()))?;
        check_version(&layout).with_context(|| format!("{}", file.display()))?;
        Ok(Self { path: path.to_owned() })
    }
}

/// Only version 1 of the layout is known.
pub(crate) fn check_version(layout: &OciLayout) -> Result<()> {
    match layout.image_layout_version().as_str() {
        "1.0.0" => Ok(()),
        version => Err(fail!(Kind::Unsupported, "layout version {version:?} is not 1.0.0")),
    }
}

impl ImageSource for Layout {
    fn manifests(&self) -> Result<Vec<Descriptor>> {
        let file = self.path.join("index.json");
        let index = manifest::parse_index(&read_small(&file, limits::MAX_MANIFEST)?, None)
            .with_context(|| format!("{}", file.display()))?;
        Ok(index.manifests().clone())
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        let file = self.path.join("blobs").join(digest::path(descriptor.digest())?);
        Ok(Box::new(open_regular(&file)?))
    }
}
