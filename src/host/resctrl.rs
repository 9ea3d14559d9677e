//! `Resctrl`: where the resctrl filesystem (Intel RDT) is mounted, and what it can allocate.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A mounted resctrl filesystem.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resctrl {
    /// The mount point.
    pub root: PathBuf,
    /// Whether L3 cache can be allocated.
    pub cache: bool,
    /// Whether memory bandwidth can be allocated.
    pub bandwidth: bool,
}
