//! Looks a path up among those of an image, as the kernel does in the tree that `unpack` makes of it.

use std::collections::BTreeMap;

use nix::errno::Errno;

use super::Origin;
use crate::error::Result;
use crate::image::archive::EntryKind;
use crate::image::archive::path::{NAME_MAX, split};
use crate::inroot::MAX_SYMLINKS;

/// What a path leads to.
pub(super) enum Found {
    /// A directory, and where it is.
    Directory(Vec<u8>),
    /// There is nothing.
    Missing,
    /// Another file, on the way or at its end.
    OtherFile,
}

/// Follows all symlinks of a path, inside the root.
///
/// # Errors
///
/// Too many symlinks in all, or a symlink with a name that no file has.
pub(super) fn look(path: &[u8], paths: &BTreeMap<Vec<u8>, Origin>) -> Result<Found> {
    // What is above a directory of the tree is no symlink.
    if path.is_empty() || is_directory(path, paths) {
        return Ok(Found::Directory(path.to_vec()));
    }
    let (mut here, mut left, mut links) = (Vec::new(), components(path), 0);
    while let Some(part) = left.pop() {
        let above = here.len();
        if !step(&mut here, &part)? {
            continue;
        }
        match paths.get(&here) {
            None => return Ok(Found::Missing),
            Some(found) if found.kind == EntryKind::Directory => {}
            Some(found) if found.kind == EntryKind::Symlink => {
                links += 1;
                if links > MAX_SYMLINKS {
                    return Err(Errno::ELOOP.into());
                }
                here.truncate(if found.link.starts_with(b"/") { 0 } else { above });
                left.extend(components(&found.link));
            }
            Some(_) => return Ok(Found::OtherFile),
        }
    }
    Ok(Found::Directory(here))
}

/// Where a path leads to, with the names of what is not there.
pub(super) fn follow<'a>(path: &[u8], find: &dyn Fn(&[u8]) -> Option<&'a Origin>) -> Result<Vec<u8>> {
    let (mut here, mut left, mut links) = (Vec::new(), components(path), 0);
    while let Some(part) = left.pop() {
        let above = here.len();
        step(&mut here, &part)?;
        let Some(found) = find(&here).filter(|found| found.kind == EntryKind::Symlink) else { continue };
        links += 1;
        if links > MAX_SYMLINKS {
            return Err(Errno::ELOOP.into());
        }
        here.truncate(if found.link.starts_with(b"/") { 0 } else { above });
        left.extend(components(&found.link));
    }
    Ok(here)
}

/// Goes on to `part`; returns false if that was up.
fn step(here: &mut Vec<u8>, part: &[u8]) -> Result<bool> {
    if part == b".." {
        here.truncate(split(here).0.len());
        return Ok(false);
    }
    if part.len() > NAME_MAX {
        return Err(Errno::ENAMETOOLONG.into());
    }
    if !here.is_empty() {
        here.push(b'/');
    }
    here.extend(part);
    Ok(true)
}

pub(super) fn is_directory(path: &[u8], paths: &BTreeMap<Vec<u8>, Origin>) -> bool {
    paths.get(path).is_some_and(|found| found.kind == EntryKind::Directory)
}

/// The components of a path, the last one first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.rev().map(<[u8]>::to_vec).collect()
}
