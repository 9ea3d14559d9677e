//! Files of a bundle. A pipe in the place of one is not waited for, and none is read without end: every other
//! container of the pod would wait too.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Most of what is read.
const LARGEST: u64 = 16 << 20;

/// Reads a regular file, which no symlink leads to.
pub(crate) fn read(path: &Path) -> Result<String> {
    read_with(path, libc::O_NOFOLLOW)
}

/// Reads a regular file that a request names: symlinks are the caller's.
pub(crate) fn read_named(path: &Path) -> Result<String> {
    read_with(path, 0)
}

fn read_with(path: &Path, flags: i32) -> Result<String> {
    let flags = flags | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(Error::new(ErrorKind::InvalidData, "larger than 16 MiB"));
    }
    Ok(text)
}
