//! What has changed in a bundle since it was unpacked.
//!
//! A bundle with a tree of its own is compared with the `record` made when it was complete (`own`); one over layers
//! of the store has its changes in a directory apart, which is compared with the layers (`upper`).

mod own;
mod owners;
mod record;
mod upper;

use std::ffi::CStr;
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::image::archive::path::is_within;

pub use owners::Owners;
pub use record::FILE;
use record::Record;

/// How a path differs from the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Added,
    Changed,
    Deleted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// From the root, without a leading slash; empty for the root itself.
    pub path: Vec<u8>,
    pub kind: Kind,
}

/// All changes of a bundle, in the order of their paths.
#[derive(Debug)]
pub struct Changes {
    pub list: Vec<Change>,
    /// The tree that has what was added or changed.
    pub tree: OwnedFd,
    pub owners: Owners,
    /// The prefix of the overlay's own attributes in it.
    pub marks: Option<&'static CStr>,
}

impl Changes {
    fn new(mut list: Vec<Change>, tree: OwnedFd, owners: Owners, marks: Option<&'static CStr>) -> Self {
        list.sort_by(|a, b| parts(&a.path).cmp(parts(&b.path)));
        Self { list, tree, owners, marks }
    }

    /// Leaves out what is at one of these paths or below it.
    pub fn mask(&mut self, masks: &[Vec<u8>]) {
        self.list.retain(|change| !masks.iter().any(|mask| is_within(&change.path, mask)));
    }
}

fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/')
}

/// Where a bundle's changes are.
#[derive(Debug)]
pub enum Place {
    /// In a tree that holds everything.
    Own { rootfs: PathBuf },
    /// In a directory over others, the lowest of them first.
    Upper { upper: PathBuf, lowers: Vec<PathBuf>, userxattr: bool },
}

/// Compares the bundle's tree with what it was. `file` is the record that was made then.
pub fn changes(place: &Place, owners: Owners, file: &Path) -> Result<Changes> {
    let record = Record::read(file)?;
    match place {
        Place::Own { rootfs } => own::changes(rootfs, owners, record),
        Place::Upper { upper, lowers, userxattr } => {
            upper::changes(upper, lowers, *userxattr, owners, record)
        }
    }
}

/// Describes the tree at `path` as it is now, for a later comparison.
pub fn describe(path: &Path, to: impl Write) -> Result<()> {
    let tree = open(path)?;
    record::write(path, &tree, to).with_context(|| format!("describe {}", path.display()))
}

fn open(path: &Path) -> Result<OwnedFd> {
    Ok(fs::File::open(path).with_context(|| format!("open {}", path.display()))?.into())
}
