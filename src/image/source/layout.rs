//! `oci:DIR`: an OCI image layout, a directory with `oci-layout`, `index.json` and `blobs/ALGORITHM/HEX` (image-spec,
//! image-layout.md).

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, OciLayout};

use super::interface::ImageSource;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::blob::digest;
use crate::image::document::manifest;
use crate::image::limits;

#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
}

impl Layout {
    /// Opens the layout in the directory `path`, and checks its version.
    pub fn open(path: &Path) -> Result<Self> {
        let file = path.join("oci-layout");
        let layout: OciLayout =
            manifest::parse_json(&read_document(&file)?).with_context(|| format!("{}", file.display()))?;
        check_version(&layout).with_context(|| format!("{}", file.display()))?;
        Ok(Self { path: path.to_owned() })
    }
}

/// Only version 1 of the layout is known.
pub(super) fn check_version(layout: &OciLayout) -> Result<()> {
    match layout.image_layout_version().as_str() {
        "1.0.0" => Ok(()),
        version => Err(fail!(Kind::Unsupported, "layout version {version:?} is not 1.0.0")),
    }
}

impl ImageSource for Layout {
    fn manifests(&self) -> Result<Vec<Descriptor>> {
        let file = self.path.join("index.json");
        let index = manifest::parse_index(&read_document(&file)?, None)
            .with_context(|| format!("{}", file.display()))?;
        Ok(index.manifests().clone())
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        let file = self.path.join("blobs").join(digest::path(descriptor.digest())?);
        Ok(Box::new(open_regular(&file)?))
    }
}

/// Reads a small file as a whole.
fn read_document(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?
        .take(limits::MAX_MANIFEST + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("read {}", path.display()))?;
    if bytes.len() as u64 > limits::MAX_MANIFEST {
        return Err(fail!(Kind::Spec, "{}: larger than {} bytes", path.display(), limits::MAX_MANIFEST));
    }
    Ok(bytes)
}

/// Opens a regular file: a pipe or device would block, or never end.
pub(super) fn open_regular(path: &Path) -> Result<File> {
    let opening = || format!("open {}", path.display());
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).with_context(opening)?;
    if !file.metadata().with_context(opening)?.is_file() {
        return Err(fail!(Kind::Spec, "{}: not a regular file", path.display()));
    }
    Ok(file)
}
