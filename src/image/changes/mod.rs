//! Finds what has changed in a bundle since it was unpacked.
//!
//! A bundle with a private tree is compared with the `record` of its files, written when it was complete
//! (`private_tree`). An overlay bundle has its changes in the upper directory, which is compared with the
//! layers below (`overlay`).

mod overlay;
mod owners;
mod private_tree;
mod record;

use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::image::archive::path::is_within;

pub(crate) use owners::Owners;
pub(crate) use record::RECORD_FILE;
use record::Record;

/// How a path differs from the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Added,
    Changed,
    Deleted,
}

/// A path that differs from the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// From the root, without a leading slash; empty for the root itself.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: ChangeKind,
}

/// All changes of a bundle, in the order of their paths.
#[derive(Debug)]
pub(crate) struct Changes {
    pub(crate) list: Vec<Change>,
    /// The directory that holds what was added or changed: the rootfs, or the upper directory of an overlay.
    pub(crate) tree: OwnedFd,
    pub(crate) owners: Owners,
    /// The prefix of the overlay's own attributes in that directory; None for a private tree.
    pub(super) marks: Option<&'static CStr>,
}

impl Changes {
    fn new(mut list: Vec<Change>, tree: OwnedFd, owners: Owners, marks: Option<&'static CStr>) -> Self {
        list.sort_by(|a, b| parts(&a.path).cmp(parts(&b.path)));
        Self { list, tree, owners, marks }
    }

    /// Leaves out what is at one of these paths or below it.
    pub(crate) fn mask(&mut self, masks: &[Vec<u8>]) {
        self.list.retain(|change| !masks.iter().any(|mask| is_within(&change.path, mask)));
    }
}

fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/')
}

/// Finds what has changed in the private tree `rootfs`. `record` was written when it was unpacked; `shown` is
/// the tree's path for messages.
///
/// # Errors
///
/// `Kind::State` if something is mounted inside the tree.
pub(crate) fn of_private_tree(
    rootfs: OwnedFd,
    shown: &Path,
    owners: Owners,
    record: File,
) -> Result<Changes> {
    let record = Record::read(record)?;
    private_tree::changes(rootfs, shown, owners, record).with_context(|| shown.display().to_string())
}

/// Finds what has changed in the directory `upper` of an overlay over `below`.
pub(crate) fn of_overlay(
    upper: OwnedFd,
    shown: &Path,
    below: &LayersBelow<'_>,
    owners: Owners,
    record: File,
) -> Result<Changes> {
    let record = Record::read(record)?;
    overlay::changes(upper, below, owners, record).with_context(|| shown.display().to_string())
}

/// The layers that an overlay bundle has below its upper directory.
#[derive(Debug)]
pub(crate) struct LayersBelow<'a> {
    /// The lowest first.
    pub(crate) lowers: &'a [PathBuf],
    /// The mounts, in no namespace, that some of them are.
    pub(crate) mounts: &'a [OwnedFd],
    /// The mount option of this name.
    pub(crate) userxattr: bool,
}

/// Writes a record of the open tree as it is now, for a later comparison.
pub(super) fn write_record(tree: &OwnedFd, shown: &Path, to: impl Write) -> Result<()> {
    record::write(tree, to).with_context(|| format!("record {}", shown.display()))
}
