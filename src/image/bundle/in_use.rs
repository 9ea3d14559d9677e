//! Finds out whether a container runs in a bundle. The kernel is asked, not the records of a runtime: there are several
//! runtimes, and each keeps its records where its caller says.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;

use super::opened::Bundle;
use crate::error::{Context, Kind, Result};
use crate::fail;

/// Fails if a process has the rootfs of the bundle as its root directory.
pub(crate) fn refuse_if_in_use(bundle: &Bundle) -> Result<()> {
    check(bundle)
}

/// As `refuse_if_in_use`.
pub(super) fn check(bundle: &Bundle) -> Result<()> {
    let (dir, path, info) = (bundle.dir(), bundle.path()?, bundle.info());
    let rootfs = match fstatat(dir, c"rootfs", AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => return Ok(()),
        stat => stat?,
    };
    let is_root_of = |process: &Path| {
        fs::metadata(process.join("root"))
            .is_ok_and(|root| (root.dev(), root.ino()) == (rootfs.st_dev, rootfs.st_ino))
    };
    // Rootless, the overlay is visible only in the container's mount namespace.
    let upper = [b"upperdir=", path.as_os_str().as_bytes(), b"/upper,"].concat();
    let has_mounted = |process: &Path| {
        fs::read(process.join("mountinfo"))
            .is_ok_and(|mounts| mounts.windows(upper.len()).any(|window| window == upper))
    };
    let is_hidden_overlay = info.overlay.is_some() && info.rootless.is_some();
    let user = processes()?
        .into_iter()
        .find(|process| is_root_of(process) || is_hidden_overlay && has_mounted(process));
    match user {
        None => Ok(()),
        Some(process) => {
            let pid = process.file_name().unwrap_or_default().display().to_string();
            let error = fail!(Kind::State, "a container runs in it: process {pid}");
            Err(error.with_hint("stop and delete the container first"))
        }
    }
}

/// The directories of all processes but this one, which has mounted the bundle itself in a namespace of its own.
fn processes() -> Result<Vec<PathBuf>> {
    let own = std::process::id().to_string();
    let is_process = |name: &[u8]| name.iter().all(u8::is_ascii_digit) && name != own.as_bytes();
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc").context("read /proc")? {
        let entry = entry.context("read /proc")?;
        if is_process(entry.file_name().as_bytes()) {
            processes.push(entry.path());
        }
    }
    Ok(processes)
}
