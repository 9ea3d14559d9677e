//! To a registry: blobs some side by side, then the manifest, which names the image.

use super::{From, ToEnd};
use crate::error::Result;
use crate::image::blob::digest::Verified;
use crate::image::source::registry::{Access, Target};

pub fn write(from: &From<'_>, name: &str, access: &Access) -> Result<()> {
    let target = Target::open(name, access)?;
    from.each(&super::blobs(from.image), |blob| {
        // Verified on its way: what is damaged is told by its own name.
        target.blob(blob, from.source.repository(), &|| {
            Ok(Box::new(ToEnd(Verified::new(from.open(blob, 0)?, blob)?)))
        })?;
        from.watch.done(blob);
        Ok(())
    })?;
    target.manifest(&from.image.descriptor, &from.image.manifest_bytes)
}
