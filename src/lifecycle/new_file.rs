//! Files that others wait for: each appears under its name when it is complete.

use std::fs;
use std::io::{Error, ErrorKind, Result, Write};
use std::path::Path;

/// Writes a file as `beside`, and moves it to `path`. The directory may be somebody else's, who exchanges the name
/// `beside` for a link meanwhile: only a file that is made here is written to. After a failure none is left.
pub(super) fn replace(path: &Path, beside: &Path, bytes: &[u8]) -> Result<()> {
    check(path)?;
    let _ = fs::remove_file(beside);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(beside)?;
    let written = file.write_all(bytes).and_then(|()| fs::rename(beside, path));
    written.inspect_err(|_| drop(fs::remove_file(beside)))
}

/// Refuses a name that is none of a file's: root would take its device away from the whole host, as by
/// `--pid-file /dev/null`, or the name that leads to its output.
pub(super) fn check(path: &Path) -> Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let is_file = match found.is_symlink() {
        false => found.is_file(),
        // /dev/stdout and its like, wherever they lead now.
        true if fs::read_link(path)?.starts_with("/proc") => false,
        true => match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => true,
            there => there?.is_file(),
        },
    };
    if is_file { Ok(()) } else { Err(Error::new(ErrorKind::InvalidInput, "not a regular file")) }
}
