//! Walks a tree by descriptor, parents before children and names in order. No symlink is followed, one
//! descriptor suffices for any depth, and a directory that is moved meanwhile is noticed.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};

use super::dir::open_dir;
use crate::error::{Context, Kind, Result};
use crate::fail;

/// A file that the walk has found.
pub(crate) struct WalkEntry<'a> {
    /// From the root of the walk, without a leading slash.
    pub(crate) path: &'a [u8],
    pub(crate) dir: BorrowedFd<'a>,
    pub(crate) name: &'a CStr,
    pub(crate) stat: FileStat,
}

impl WalkEntry<'_> {
    pub(crate) fn kind(&self) -> libc::mode_t {
        self.stat.st_mode & libc::S_IFMT
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }
}

/// Calls `visit` for every file below `root`, and enters a directory where `visit` returns true.
///
/// # Errors
///
/// The first error of `visit` or of a system call; `Kind::State` for a directory that was moved meanwhile.
pub(crate) fn walk(root: &OwnedFd, visit: &mut dyn FnMut(&WalkEntry<'_>) -> Result<bool>) -> Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut here = openat(root, c".", flags, Mode::empty())?;
    let mut path = Vec::new();
    let mut levels = vec![Level::read(&here, 0)?];
    while let Some(level) = levels.last_mut() {
        path.truncate(level.path);
        let Some(name) = level.names.pop() else {
            levels.pop();
            let Some(above) = levels.last() else { break };
            here = reopen_parent(&here, above).with_context(|| path.escape_ascii().to_string())?;
            continue;
        };
        let stat = match fstatat(&here, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            // It was removed meanwhile.
            Err(Errno::ENOENT) => continue,
            stat => stat?,
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        let found = WalkEntry { path: &path, dir: here.as_fd(), name: &name, stat };
        let enters = visit(&found).with_context(|| path.escape_ascii().to_string())?;
        if enters && stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
            here = open_dir(here.as_fd(), &name).with_context(|| path.escape_ascii().to_string())?;
            levels.push(Level::read(&here, path.len())?);
        }
    }
    Ok(())
}

/// Opens the directory that the walk came from.
fn reopen_parent(here: &OwnedFd, above: &Level) -> Result<OwnedFd> {
    let dir = openat(here, c"..", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    if Level::id(&dir)? != above.id {
        return Err(fail!(Kind::State, "the directory was moved while it was read"));
    }
    Ok(dir)
}

/// One directory on the way down.
struct Level {
    /// Device and inode.
    id: (u64, u64),
    /// Entries still to be visited, the last first.
    names: Vec<CString>,
    /// The length of its path.
    path: usize,
}

impl Level {
    fn id(dir: &OwnedFd) -> Result<(u64, u64)> {
        let stat = fstat(dir)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    fn read(dir: &OwnedFd, path: usize) -> Result<Self> {
        let mut names = Vec::new();
        for entry in Dir::from_fd(dir.try_clone()?)?.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Self { id: Self::id(dir)?, names, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn parents_come_before_children_and_names_in_order() {
        let dir = std::env::temp_dir().join(format!("tare-walk-order-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("b/c")).unwrap();
        fs::create_dir_all(dir.join("skipped/inside")).unwrap();
        for file in ["a", "b/c/d", "b.x"] {
            fs::write(dir.join(file), "").unwrap();
        }
        std::os::unix::fs::symlink("b", dir.join("link")).unwrap();
        let mut seen = Vec::new();
        let root = fs::File::open(&dir).unwrap().into();
        walk(&root, &mut |found| {
            seen.push(String::from_utf8(found.path.to_vec()).unwrap());
            Ok(found.name != c"skipped")
        })
        .unwrap();
        assert_eq!(seen, ["a", "b", "b/c", "b/c/d", "b.x", "link", "skipped"]);
        fs::remove_dir_all(dir).unwrap();
    }
}
