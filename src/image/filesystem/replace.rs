//! Replacing a small file as a whole.

use std::fs;
use std::path::Path;

use crate::error::{Context, Result};

/// Writes `bytes` to a temporary file beside `path` and renames it to `path`: a reader sees the old content or the new.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension(format!("tare-{}", std::process::id()));
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    written
        .inspect_err(|_| drop(fs::remove_file(&temporary)))
        .with_context(|| format!("write {}", path.display()))
}
