//! Finds files of a tree by path without following any symlink, so that the result is this path and no other.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, fstatat, makedev};

use crate::error::Result;
use crate::image::archive::path::split;
use crate::inroot::{Root, c_string};

const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY);

/// The kernel's whiteout: a character device 0:0.
pub(crate) fn is_whiteout(stat: &libc::stat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == makedev(0, 0)
}

/// The longest path that the kernel takes at once.
const LONGEST: usize = libc::PATH_MAX as usize - 1;

/// Opens the directory `path` of a tree, a clean path; None if it is missing. As few calls as the length of the path
/// allows: one for each of its directories would take minutes for a small image of deep ones.
pub(crate) fn open_path(root: &Root, path: &[u8]) -> Result<Option<OwnedFd>> {
    let (mut dir, mut rest) = (root.resolve(c".", READ)?, path);
    while !rest.is_empty() {
        let end = match rest.len() > LONGEST {
            true => rest[..LONGEST].iter().rposition(|&byte| byte == b'/').unwrap_or(LONGEST),
            false => rest.len(),
        };
        let (piece, after) = rest.split_at(end);
        dir = match Root::from(dir).resolve_without_symlinks(&c_string(piece)?, READ) {
            // ENXIO: a whiteout, in a layer that is looked at without an overlay.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENXIO) => return Ok(None),
            dir => dir?,
        };
        rest = after.strip_prefix(b"/").unwrap_or(after);
    }
    Ok(Some(dir))
}

/// Returns the stat of `path` in a tree, and its open parent directory; None if nothing is there.
pub(crate) fn find(root: &Root, path: &[u8]) -> Result<Option<(OwnedFd, FileStat)>> {
    let (above, name) = split(path);
    let Some(dir) = open_path(root, above)? else { return Ok(None) };
    match stat(dir.as_fd(), &c_string(name)?) {
        Err(Errno::ENOENT) => Ok(None),
        Ok(stat) if is_whiteout(&stat) => Ok(None),
        stat => Ok(Some((dir, stat?))),
    }
}

/// The stat of `name` in `dir` itself.
pub(crate) fn stat(dir: BorrowedFd<'_>, name: &CStr) -> nix::Result<FileStat> {
    fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}
