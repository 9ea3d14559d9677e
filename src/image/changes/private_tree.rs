//! Finds the changes of a private tree: a path that is not in the record was added, a recorded path that is
//! missing was deleted, and a path with another inode number or change time was changed.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::stat::{FileStat, fstat};

use super::record::{FileState, Record, birth_time};
use super::{Change, ChangeKind, Changes, Owners};
use crate::error::{Error, Result};
use crate::image::filesystem::walk::walk;
use crate::{fail, log};

/// Compares the open tree with its record; `shown` is its path for messages.
pub(super) fn changes(tree: OwnedFd, shown: &Path, owners: Owners, record: Record) -> Result<Changes> {
    let is_copy = record.birth_time != 0 && birth_time(&tree) != record.birth_time;
    if is_copy {
        log::warn(format_args!(
            "{}: this is a copy of the unpacked tree: files of the same size and time are taken for unchanged",
            shown.display()
        ));
    }
    let mut comparison = Comparison { record, is_copy, list: Vec::new(), replaced: HashSet::new() };
    let root = fstat(&tree)?;
    comparison.compare(b"", &root);
    walk(&tree, &mut |found| {
        if found.stat.st_dev != root.st_dev {
            return Err(mounted_inside());
        }
        comparison.compare(found.path, &found.stat);
        Ok(true)
    })?;
    let Comparison { record, mut list, replaced, .. } = comparison;
    list.extend(deleted(&record, replaced));
    Ok(Changes::new(list, tree, owners, None))
}

struct Comparison {
    /// Recorded paths that are not compared yet; in the end, the paths that are missing from the tree.
    record: Record,
    /// The tree is a copy: its inode numbers and change times are not those of the record.
    is_copy: bool,
    list: Vec<Change>,
    /// Directories that another file replaced: their former content is not listed as deleted.
    replaced: HashSet<Vec<u8>>,
}

impl Comparison {
    /// Compares a path with the record, and lists it if it differs.
    fn compare(&mut self, path: &[u8], stat: &FileStat) {
        let now = FileState::from_stat(stat);
        let kind = match self.record.files.remove(path) {
            None => ChangeKind::Added,
            Some(before) if self.is_same(&before, &now) => return,
            Some(before) => {
                if before.metadata.is_dir() && !now.metadata.is_dir() {
                    self.replaced.insert(path.to_vec());
                }
                ChangeKind::Changed
            }
        };
        self.list.push(Change { path: path.to_vec(), kind });
    }

    fn is_same(&self, before: &FileState, now: &FileState) -> bool {
        if self.is_copy { before.metadata == now.metadata } else { before == now }
    }
}

/// The paths that are left in the record, without those below another deleted path or below a path in `gone`.
fn deleted(record: &Record, mut gone: HashSet<Vec<u8>>) -> Vec<Change> {
    let mut paths: Vec<&Vec<u8>> = record.files.keys().collect();
    paths.sort_unstable_by_key(|path| path.len());
    let mut list = Vec::new();
    for path in paths {
        let mut ends = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(index, _)| index);
        if !ends.any(|end| gone.contains(&path[..end])) {
            list.push(Change { path: path.clone(), kind: ChangeKind::Deleted });
            gone.insert(path.clone());
        }
    }
    list
}

fn mounted_inside() -> Error {
    fail!(crate::error::Kind::State, "something is mounted there and hides the files of the bundle")
}
