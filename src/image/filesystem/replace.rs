//! Replacing a small file as a whole.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Context, Result};

/// Writes `bytes` to a temporary file beside `path` and renames it to `path`: a reader sees the old content or the new.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let writing = || format!("write {}", path.display());
    let (mut file, temporary) = make_temporary(path).with_context(writing)?;
    let written = file.write_all(bytes).and_then(|()| fs::rename(&temporary, path));
    written.inspect_err(|_| drop(fs::remove_file(&temporary))).with_context(writing)
}

/// Makes a new file under a name that nobody else has: threads of this process, processes with the same number in
/// another namespace, and what a killed one left are all told apart.
fn make_temporary(path: &Path) -> std::io::Result<(File, PathBuf)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("tare-{}-{number}", std::process::id()));
        match File::create_new(&temporary) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            file => return Ok((file?, temporary)),
        }
    }
}
