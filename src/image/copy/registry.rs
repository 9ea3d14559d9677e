//! Pushes to a registry: the blobs, some in parallel, then manifests and indexes, and last the document that
//! gets the tag.

use super::{CopySource, ReadToEnd};
use crate::error::Result;
use crate::image::blob::digest::VerifyingReader;
use crate::image::source::registry::{Access, PushTarget};

pub(super) fn write(from: &CopySource<'_>, name: &str, access: &Access) -> Result<()> {
    let target = PushTarget::open(name, access)?;
    from.for_each_blob(|blob| {
        // Verified here too, because a registry would only report different bytes.
        target.push_blob(blob, from.source.repository(), &|| {
            Ok(Box::new(ReadToEnd(VerifyingReader::new(from.open(blob, 0)?, blob)?)))
        })?;
        from.progress.done(blob);
        Ok(())
    })?;
    // `top` is the last one, and the only one that gets the name.
    for (document, bytes) in &from.contents.documents {
        match document.digest() == from.contents.digest() {
            true => target.push_manifest(document, bytes)?,
            false => target.push_unnamed(document, bytes)?,
        }
    }
    Ok(())
}
