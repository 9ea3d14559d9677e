//! The changes of a tree that holds everything: what the record does not know is added, what is not there any more is
//! deleted, and what has another inode or change time is changed.

use std::collections::HashSet;
use std::path::Path;

use nix::sys::stat::fstat;

use super::record::{Known, Record, born};
use super::{Change, Changes, Kind, Owners, open};
use crate::error::{Context, Error, Result};
use crate::image::filesystem::walk::walk;
use crate::{fail, log};

pub fn changes(rootfs: &Path, owners: Owners, mut record: Record) -> Result<Changes> {
    let tree = open(rootfs)?;
    let is_copy = record.born != 0 && born(rootfs) != record.born;
    if is_copy {
        log::warn(format_args!(
            "{}: a copy of what was unpacked: files of the same size and time are taken for unchanged",
            rootfs.display()
        ));
    }
    let same = |known: &Known, now: &Known| match is_copy {
        true => known.about == now.about,
        false => known == now,
    };
    let root = fstat(&tree).with_context(|| rootfs.display().to_string())?;
    let mut list = Vec::new();
    // Directories that are none any more: what was in them went with them.
    let mut replaced: HashSet<Vec<u8>> = HashSet::new();
    let mut look = |path: &[u8], now: Known| {
        let kind = match record.known.remove(path) {
            None => Kind::Added,
            Some(known) if same(&known, &now) => return,
            Some(known) => {
                if known.about.is_dir() && !now.about.is_dir() {
                    replaced.insert(path.to_vec());
                }
                Kind::Changed
            }
        };
        list.push(Change { path: path.to_vec(), kind });
    };
    look(b"", Known::of(&root));
    walk(&tree, &mut |found| {
        if found.stat.st_dev != root.st_dev {
            return Err(mounted());
        }
        look(found.path, Known::of(&found.stat));
        Ok(true)
    })
    .with_context(|| rootfs.display().to_string())?;
    list.extend(deleted(&record, replaced));
    Ok(Changes::new(list, tree, owners, None))
}

/// What is left of the record; of a tree that went as a whole only its root.
fn deleted(record: &Record, mut gone: HashSet<Vec<u8>>) -> Vec<Change> {
    let mut paths: Vec<&Vec<u8>> = record.known.keys().collect();
    paths.sort_unstable_by_key(|path| path.len());
    let mut list = Vec::new();
    for path in paths {
        let ends = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at);
        if !ends.into_iter().any(|end| gone.contains(&path[..end])) {
            list.push(Change { path: path.clone(), kind: Kind::Deleted });
            gone.insert(path.clone());
        }
    }
    list
}

fn mounted() -> Error {
    fail!(crate::error::Kind::State, "something is mounted there, which hides what the bundle has")
}
