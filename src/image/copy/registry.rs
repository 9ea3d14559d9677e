//! Pushes an image to a registry: its blobs, some in parallel, then the manifest, which names the image.

use super::{CopySource, ReadToEnd};
use crate::error::Result;
use crate::image::blob::digest::Verified;
use crate::image::source::registry::{Access, PushTarget};

pub(super) fn write(from: &CopySource<'_>, name: &str, access: &Access) -> Result<()> {
    let target = PushTarget::open(name, access)?;
    from.for_each_blob(|blob| {
        // Verified here too: a registry would only answer that it got other bytes.
        target.push_blob(blob, from.source.repository(), &|| {
            Ok(Box::new(ReadToEnd(Verified::new(from.open(blob, 0)?, blob)?)))
        })?;
        from.progress.done(blob);
        Ok(())
    })?;
    target.push_manifest(&from.image.descriptor, &from.image.manifest_bytes)
}
