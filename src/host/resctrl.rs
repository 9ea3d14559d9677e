//! The resctrl filesystem, by which caches and memory bandwidth are shared out (Intel RDT): where it is and what it can.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resctrl {
    /// Where it is mounted.
    pub root: PathBuf,
    /// L3 cache can be shared out.
    pub cache: bool,
    /// Memory bandwidth can.
    pub bandwidth: bool,
}
