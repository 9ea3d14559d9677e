//! Opens a file that is still being written, beside its destination and under a name that others can predict.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use crate::error::{Context, Kind, Result};
use crate::fail;

/// Opens or makes the file at `path`, and locks it; waits for another process that works on it.
///
/// # Errors
///
/// `Kind::Exists` if the path is no regular file, or is a symlink, another owner's or another hard link: writing would
/// change another file.
pub(crate) fn lock(path: &Path) -> Result<Flock<File>> {
    let place = || format!("open {}", path.display());
    loop {
        let mut options = OpenOptions::new();
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        options.read(true).write(true).create(true).truncate(false).mode(0o644).custom_flags(flags);
        let file = match options.open(path) {
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                return Err(foreign()).with_context(place);
            }
            file => file.with_context(place)?,
        };
        let found = file.metadata().with_context(place)?;
        if !found.is_file() || found.uid() != nix::unistd::geteuid().as_raw() || found.nlink() > 1 {
            return Err(foreign()).with_context(place);
        }
        let file =
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).with_context(place)?;
        // The process that had the lock may have renamed the file to its destination, or removed it.
        if std::fs::symlink_metadata(path)
            .is_ok_and(|now| (now.dev(), now.ino()) == (found.dev(), found.ino()))
        {
            return Ok(file);
        }
    }
}

fn foreign() -> crate::error::Error {
    let error = fail!(Kind::Exists, "it is there already, and not what an earlier run of this user left");
    error.with_hint("look at it, and remove it by hand if nobody needs it")
}
