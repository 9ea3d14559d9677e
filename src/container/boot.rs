//! The boot of the kernel. A pid and a start time identify a process only within one boot: the next one uses
//! the same numbers again.
//!
//! A state root in memory, such as /run, ends with the boot: there nothing is recorded, and no verb looks
//! anything up. Elsewhere a record may outlast the boot, so it has the kernel's own id of the boot, which
//! costs the three calls of a small file. Cheaper values are not reliable: the boot time by the clock changes
//! when the clock is set, and start times, numbers in pidfs and devices start from the same value again.

use std::os::fd::AsFd;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::statfs::{FsType, TMPFS_MAGIC, fstatfs};

use crate::error::{Context, Result};

const PATH: &str = "/proc/sys/kernel/random/boot_id";
/// RAMFS_MAGIC of linux/magic.h.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// Returns what a record in `dir` stores about this boot; `None` if it cannot outlast the boot, or if the
/// kernel has no boot id.
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

/// Whether a record names this boot.
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
