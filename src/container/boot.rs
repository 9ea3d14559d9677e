//! The boot of the kernel: a pid and a start time name a process within one, and the next boot gives out the same ones.
//!
//! A state root in memory, as /run is, ends with the boot: there nothing is recorded, and nothing is looked up by any
//! verb. Elsewhere a record may outlast it, and has the kernel's own number for the boot, which costs the three calls of
//! a small file. What is cheaper is not the same for sure: the boot's time by the clock changes when the clock is set,
//! and start times, numbers in pidfs and devices are counted anew from the same beginning.

use std::os::fd::AsFd;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::statfs::{FsType, TMPFS_MAGIC, fstatfs};

use crate::error::{Context, Result};

const PATH: &str = "/proc/sys/kernel/random/boot_id";
/// RAMFS_MAGIC of linux/magic.h.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// What a record in `dir` says of this boot; None where it cannot outlast the boot, or the kernel has no number for it.
pub(super) fn to_remember(dir: impl AsFd) -> Result<Option<String>> {
    let filesystem =
        fstatfs(dir).context("look for the file system of the state directory")?.filesystem_type();
    if matches!(filesystem, TMPFS_MAGIC | RAMFS_MAGIC) {
        return Ok(None);
    }
    match crate::sys::file::read_small_at(PATH) {
        Err(Errno::ENOENT) => Ok(None),
        other => Ok(Some(text(&other.with_context(|| format!("read {PATH}"))?))),
    }
}

/// Whether it is this boot that a record names.
pub(super) fn is_current(remembered: &str) -> Result<bool> {
    static CURRENT: OnceLock<String> = OnceLock::new();
    if let Some(current) = CURRENT.get() {
        return Ok(current == remembered);
    }
    let read = crate::sys::file::read_small_at(PATH).with_context(|| format!("read {PATH}"))?;
    Ok(CURRENT.get_or_init(|| text(&read)) == remembered)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}
