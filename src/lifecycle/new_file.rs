//! Files that others wait for: each appears under its name when it is complete.

use std::fs;
use std::io::{Result, Write};
use std::path::Path;

/// Writes a file as `beside`, and moves it to `path`. The directory may be somebody else's, who exchanges the name
/// `beside` for a link meanwhile: only a file that is made here is written to. After a failure none is left.
pub(super) fn replace(path: &Path, beside: &Path, bytes: &[u8]) -> Result<()> {
    let _ = fs::remove_file(beside);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(beside)?;
    let written = file.write_all(bytes).and_then(|()| fs::rename(beside, path));
    written.inspect_err(|_| drop(fs::remove_file(beside)))
}
