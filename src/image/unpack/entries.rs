//! Reads the entries of a layer without unpacking them, with the same checks.

use std::io::Read;

use oci_spec::image::{Descriptor, Digest};

use super::layer_stream::LayerStream;
use super::whiteout::classify;
use crate::error::{Error, Result};
use crate::image::archive::path::clean;
use crate::image::archive::{Archive, Entry};
use crate::image::limits::{Limits, Usage};

/// Reads a layer to its verified end, and calls `visit` with every entry and its clean path.
///
/// # Errors
///
/// Any fault of the blob or the archive, and the errors of `visit`.
pub(crate) fn for_each_entry(
    blob: Box<dyn Read + Send>,
    descriptor: &Descriptor,
    diff_id: &Digest,
    limits: &Limits,
    used: &Usage,
    visit: &mut dyn FnMut(&Entry, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut archive = Archive::new(LayerStream::open(blob, descriptor, diff_id, limits, used)?);
    let mut entry = Entry::default();
    while archive.next_entry(&mut entry)? {
        used.add_entries(0, limits)?;
        if entry.sparse.is_some() {
            used.add_bytes(entry.size, limits)?;
        }
        let path = clean(&entry.name);
        let visited = classify(&path).and_then(|_| visit(&entry, &path));
        visited.map_err(|e: Error| e.context(entry.name.escape_ascii().to_string()))?;
    }
    archive.into_inner().finish()
}
