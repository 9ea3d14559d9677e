//! Finds out whether this host mounts indexes, by mounting one.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::builder::IndexBuilder;
use super::format::BLOCK;
use super::index_file::write_index;
use crate::error::{Context, Error, Result};
use crate::image::filesystem::erofs::{self, MountError};
use crate::image::unpack::entry_adapter::EntryAdapter;

/// Mounts the index of an empty archive, with both files in `dir`, and forgets it. Returns why the host cannot.
///
/// # Errors
///
/// What the files say.
pub(crate) fn probe(dir: &Path) -> Result<Option<Error>> {
    let new = |name: &str| -> Result<File> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(dir.join(name));
        file.context("try whether this host mounts EROFS")
    };
    let (index, archive) = (new("probe.erofs")?, new("probe.tar")?);
    archive.set_len(2 * BLOCK)?;
    let Ok(mut empty) = IndexBuilder::new(EntryAdapter::default()).finish() else { return Ok(None) };
    write_index(&mut empty, &archive, None, [0; 16], &index)?;
    match erofs::mount(&index, &archive) {
        Ok(_) => Ok(None),
        Err(MountError::Unavailable(error)) => Ok(Some(error)),
        Err(MountError::Failed(error)) => Err(error.context("try whether this host mounts EROFS")),
    }
}
