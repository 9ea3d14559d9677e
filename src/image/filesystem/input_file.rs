//! Reads files that a user names, or that stand where others may write: only regular files, because a pipe
//! may block and a device may never end, and no more of them than is asked for.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::{Context, Error, Kind, Result};
use crate::fail;

/// Opens a regular file.
///
/// # Errors
///
/// `Kind::Spec` if it is something else.
pub(crate) fn open_regular(path: &Path) -> Result<File> {
    let opening = || format!("open {}", path.display());
    // Before it is opened: opening a device can have effects, as that of a watchdog.
    check_regular(&fs::metadata(path).with_context(opening)?, path)?;
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).with_context(opening)?;
    check_regular(&file.metadata().with_context(opening)?, path)?;
    Ok(file)
}

pub(super) fn check_regular(found: &Metadata, path: &Path) -> Result<()> {
    match found.is_file() {
        true => Ok(()),
        false => Err(fail!(Kind::Spec, "{}: not a regular file", path.display())),
    }
}

/// Reads a regular file as a whole.
///
/// # Errors
///
/// `Kind::Spec` if it has more than `most` bytes.
pub(crate) fn read_small(path: &Path, most: u64) -> Result<Vec<u8>> {
    read_at_most(open_regular(path)?, path, most)
}

/// Reads like `read_small`; `None` if there is no such file.
pub(crate) fn read_small_if_present(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    present(read_small(path, most))
}

/// None for a file that does not exist.
pub(super) fn present<T>(found: Result<T>) -> Result<Option<T>> {
    let is_missing = |error: &Error| error.errno() == Some(nix::errno::Errno::ENOENT);
    match found {
        Err(error) if is_missing(&error) => Ok(None),
        found => found.map(Some),
    }
}

pub(crate) fn read_at_most(file: File, path: &Path, most: u64) -> Result<Vec<u8>> {
    let reading = || format!("read {}", path.display());
    // The file in one read, and its end in another; it may have grown.
    let size = file.metadata().with_context(reading)?.len().min(most);
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 64);
    file.take(most + 1).read_to_end(&mut bytes).with_context(reading)?;
    match bytes.len() as u64 > most {
        true => Err(fail!(Kind::Spec, "{}: larger than {most} bytes", path.display())),
        false => Ok(bytes),
    }
}
