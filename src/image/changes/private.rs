//! The changes of a private tree: a path that is not in the record was added, a recorded one that is gone was deleted,
//! and one with another inode number or change time was changed.

use std::collections::HashSet;
use std::path::Path;

use nix::sys::stat::fstat;

use super::record::{FileState, Record, birth_time};
use super::{Change, Changes, Kind, Owners, open};
use crate::error::{Context, Error, Result};
use crate::image::filesystem::walk::walk;
use crate::{fail, log};

/// Compares the tree at `rootfs` with its record.
pub(crate) fn changes(rootfs: &Path, owners: Owners, mut record: Record) -> Result<Changes> {
    let tree = open(rootfs)?;
    let is_copy = record.birth_time != 0 && birth_time(rootfs) != record.birth_time;
    if is_copy {
        log::warn(format_args!(
            "{}: this is a copy of the unpacked tree: files of the same size and time are taken for unchanged",
            rootfs.display()
        ));
    }
    let is_same = |before: &FileState, now: &FileState| match is_copy {
        true => before.metadata == now.metadata,
        false => before == now,
    };
    let root = fstat(&tree).with_context(|| rootfs.display().to_string())?;
    let mut list = Vec::new();
    // Directories that something else has replaced: what was in them is not listed as deleted.
    let mut replaced: HashSet<Vec<u8>> = HashSet::new();
    let mut compare = |path: &[u8], now: FileState| {
        let kind = match record.files.remove(path) {
            None => Kind::Added,
            Some(before) if is_same(&before, &now) => return,
            Some(before) => {
                if before.metadata.is_dir() && !now.metadata.is_dir() {
                    replaced.insert(path.to_vec());
                }
                Kind::Changed
            }
        };
        list.push(Change { path: path.to_vec(), kind });
    };
    compare(b"", FileState::from_stat(&root));
    walk(&tree, &mut |found| {
        if found.stat.st_dev != root.st_dev {
            return Err(mounted_inside());
        }
        compare(found.path, FileState::from_stat(&found.stat));
        Ok(true)
    })
    .with_context(|| rootfs.display().to_string())?;
    list.extend(deleted(&record, replaced));
    Ok(Changes::new(list, tree, owners, None))
}

/// The paths that are left in the record, without those below another deleted path or below a path in `gone`.
fn deleted(record: &Record, mut gone: HashSet<Vec<u8>>) -> Vec<Change> {
    let mut paths: Vec<&Vec<u8>> = record.files.keys().collect();
    paths.sort_unstable_by_key(|path| path.len());
    let mut list = Vec::new();
    for path in paths {
        let mut ends = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(index, _)| index);
        if !ends.any(|end| gone.contains(&path[..end])) {
            list.push(Change { path: path.clone(), kind: Kind::Deleted });
            gone.insert(path.clone());
        }
    }
    list
}

fn mounted_inside() -> Error {
    fail!(crate::error::Kind::State, "something is mounted there and hides the files of the bundle")
}
