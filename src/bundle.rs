//! Reads the configuration of a bundle, and other documents for commands, from their files; writes the
//! template of `spec`. `spec`, which knows no files, judges their content.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use oci_spec::runtime::Process;

use crate::error::{Context, Error, Kind, Result, matched};
use crate::fail;
use crate::spec::{self, CheckedSpec};

/// The name of the configuration in a bundle.
pub(crate) const CONFIG: &str = "config.json";

/// The largest document that is read, in bytes. The largest known real ones have some 100 KiB.
pub(crate) const MAX_DOCUMENT_SIZE: u64 = 16 << 20;

/// Reads and checks the configuration of the bundle in the directory `bundle`. Also returns the bytes of the
/// file, for a copy.
///
/// # Errors
/// `Kind::NotFound` if there is none; `Kind::Spec` with all errors of the first stage that fails: JSON
/// syntax, types, rules.
pub fn read_config(bundle: &Path) -> Result<(CheckedSpec, Vec<u8>)> {
    let path = bundle.join(CONFIG);
    let bytes = read_config_bytes(&path).map_err(|error| match error.errno() {
        Some(Errno::ENOENT) => fail!(Kind::NotFound, "{}: in {}", matched::NO_CONFIG, bundle.display())
            .with_hint(
                "`tare spec -b DIR` writes one; -b DIR names a bundle other than the current directory",
            ),
        _ => error,
    })?;
    spec::parse(&bytes).context(CONFIG).map(|checked| (checked, bytes))
}

/// Reads and checks a configuration that is not its bundle's own (`--config`), like `read_config`.
///
/// # Errors
/// Those of `read_config`; but a missing file is the system's error.
pub(crate) fn read_config_file(path: &Path) -> Result<(CheckedSpec, Vec<u8>)> {
    let bytes = read_config_bytes(path)?;
    spec::parse(&bytes).with_context(|| path.display().to_string()).map(|checked| (checked, bytes))
}

/// Reads and checks the process of `exec --process`. Also returns the warnings about it.
///
/// # Errors
/// `Kind::Spec` with all errors, or the system's.
pub fn read_process(path: &Path) -> Result<(Process, Vec<String>)> {
    let bytes = read_document(path)?;
    spec::parse_process(&bytes).with_context(|| path.display().to_string())
}

/// Reads a document that the caller names. Any file is accepted, even a pipe of the caller's.
pub(crate) fn read_document(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).with_context(|| format!("read {}", path.display()))?;
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    read_bounded(file, size, path)
}

/// Reads a document from standard input.
pub(crate) fn read_standard_input() -> Result<Vec<u8>> {
    read_bounded(std::io::stdin(), 0, Path::new("standard input"))
}

/// The place for the template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateTarget {
    /// A file that must not exist yet.
    New(PathBuf),
    Overwrite(PathBuf),
}

/// Writes the template of a configuration, mode 0666 less the umask; the arguments are those of
/// `spec::template`.
///
/// # Errors
/// `Kind::Exists` if a new file exists already.
pub fn write_template(target: &TemplateTarget, rootless: Option<(u32, u32)>, cgroup_v2: bool) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    let (path, opened) = match target {
        TemplateTarget::New(path) => (path, options.create_new(true).open(path)),
        TemplateTarget::Overwrite(path) => (path, options.create(true).truncate(true).open(path)),
    };
    let mut file = match opened {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Error::new(Kind::Exists, matched::SPEC_EXISTS));
        }
        other => other.with_context(|| format!("create {}", path.display()))?,
    };
    let text = spec::template(rootless, cgroup_v2);
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))
}

/// Reads the bytes of a configuration. Opens without waiting: whoever made the bundle may have put a FIFO
/// there, on which an open would hang.
pub(crate) fn read_config_bytes(path: &Path) -> Result<Vec<u8>> {
    let doing = || format!("read {}", path.display());
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).with_context(doing)?;
    let metadata = file.metadata().with_context(doing)?;
    if metadata.file_type().is_fifo() {
        return Err(fail!(Kind::Spec, "{}: is a fifo, not a file", path.display()));
    }
    read_bounded(file, metadata.len(), path)
}

/// `size` is about the expected size.
fn read_bounded(file: impl Read, size: u64, path: &Path) -> Result<Vec<u8>> {
    let doing = || format!("read {}", path.display());
    let capacity = usize::try_from(size.min(MAX_DOCUMENT_SIZE)).unwrap_or(0) + 1;
    let mut bytes = Vec::with_capacity(capacity);
    file.take(MAX_DOCUMENT_SIZE + 1).read_to_end(&mut bytes).with_context(doing)?;
    if bytes.len() as u64 > MAX_DOCUMENT_SIZE {
        let most = MAX_DOCUMENT_SIZE >> 20;
        return Err(fail!(Kind::Spec, "{}: larger than {most} MiB", path.display()));
    }
    Ok(bytes)
}
