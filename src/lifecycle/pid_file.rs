//! Tells the engine about the process: writes the pid file, and sends the pidfd to its socket.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use super::new_file;
use crate::error::{Context, Result};
use crate::sys::socket::{connect, send_fd};

/// Writes the pid in decimal without a newline, because containerd's shim and conmon parse it strictly. The
/// file appears only when it is complete.
pub(super) fn write(path: &Path, pid: i32) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}"));
    let written = new_file::replace(path, &new, pid.to_string().as_bytes());
    written.with_context(|| format!("write pid file {}", path.display()))
}

/// Sends one message with the descriptor. Its data is the kind of process: `standard` or `setns`.
pub(super) fn send_pidfd(path: &Path, kind: &str, pidfd: BorrowedFd<'_>) -> Result<()> {
    let doing = || format!("send pidfd to {}", path.display());
    let stream = connect(path.as_os_str()).with_context(doing)?;
    send_fd(stream.as_fd(), kind.as_bytes(), pidfd).map(drop).with_context(doing)
}
