//! What is told of a store's records.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::stat::FileStat;

pub(crate) struct ListedImage {
    pub(crate) reference: String,
    pub(crate) manifest: String,
    pub(crate) layers: Vec<String>,
    pub(crate) time: SystemTime,
}

pub(crate) struct ListedBundle {
    pub(crate) path: PathBuf,
    pub(crate) layers: Vec<String>,
    /// Whether it is no longer at its path, and mounted all the same: it keeps its layers.
    pub(crate) is_moved: bool,
}

/// When something was last changed.
pub(super) fn time_of(stat: &FileStat) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or_default())
}
