//! Seals the files of a layer with fs-verity, where their filesystem has it: from then on nobody changes them, and
//! the kernel proves each page that it reads of them. The digests that it has given them are kept with the layer,
//! and asked for whenever it is mounted.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;

use super::{ARCHIVE, INDEX, LayerInfo, Seals};
use crate::error::{Context, Error, Kind, Result};
use crate::image::filesystem::directory::Directory;
use crate::sys::verity;
use crate::{fail, log};

/// Seals the archive and the index in the directory `path`, which are complete, and which nobody has open for
/// writing. Does nothing where the filesystem cannot.
pub(super) fn seal(path: &Path) -> Result<()> {
    let layer = Directory::open_no_link(path)?;
    let Some(archive) = seal_file(&layer, ARCHIVE)? else { return Ok(()) };
    let Some(index) = seal_file(&layer, INDEX)? else { return Ok(()) };
    let info = LayerInfo { seals: Some(Seals { archive, index }), ..LayerInfo::read(&layer)? };
    info.write(path)
}

/// Seals one file; None where the filesystem or the kernel cannot.
fn seal_file(layer: &Directory, name: &str) -> Result<Option<String>> {
    let file = layer.open_file(name)?;
    match verity::enable(file.as_fd()) {
        // KERNEL(5.4); EINVAL, for what is asked for always: KERNEL(6.3), pages that are not of 4 KiB.
        Err(errno @ (Errno::ENOTTY | Errno::EOPNOTSUPP | Errno::EINVAL)) => {
            log::debug(format_args!("layers are not sealed with fs-verity: {}", errno.desc()));
            Ok(None)
        }
        done => {
            let digest = done.and_then(|()| verity::measure(file.as_fd()));
            digest
                .map(|digest| Some(hex(&digest)))
                .map_err(Error::from)
                .with_context(|| format!("seal {name}"))
        }
    }
}

/// Checks that the files that are about to be mounted are those that were sealed.
///
/// # Errors
///
/// `Kind::Spec` for a file with another seal, or with none any more.
pub(super) fn check(info: &LayerInfo, archive: &File, index: &File) -> Result<()> {
    let Some(seals) = &info.seals else { return Ok(()) };
    check_file(archive, ARCHIVE, &seals.archive)?;
    check_file(index, INDEX, &seals.index)
}

fn check_file(file: &File, name: &str, seal: &str) -> Result<()> {
    let replaced = |how: &str| {
        fail!(Kind::Spec, "{name} {how}, and not the file that was sealed").with_hint(
            "somebody has replaced it, or the store was copied: remove the store, and pull its images again",
        )
    };
    match verity::measure(file.as_fd()) {
        Ok(found) if hex(&found) == seal => Ok(()),
        Ok(_) => Err(replaced("has another digest of fs-verity")),
        Err(Errno::ENODATA | Errno::ENOTTY | Errno::EOPNOTSUPP) => Err(replaced("has no fs-verity")),
        Err(errno) => Err(errno).with_context(|| format!("ask for the digest of {name}")),
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
