//! Removes a tree by descriptor: no symlink is followed, and one descriptor suffices for any depth.
//!
//! A layer can make trees deeper than any path is long (through symlinks), so recursion would run out of stack or
//! descriptors just when a failed unpack must be cleaned up.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::inroot::Result;

/// Removes `name` in `parent` and everything below it. Does nothing where it is missing.
pub(crate) fn tree(parent: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    tree_except(parent, name, &|_, _| false)
}

/// As `tree`, but keeps every entry that `spare(inode number of its directory, name)` is true for, with the directories
/// above it.
pub(crate) fn tree_except(
    parent: BorrowedFd<'_>,
    name: &CStr,
    spare: &dyn Fn(u64, &CStr) -> bool,
) -> Result<()> {
    let above = fstat(parent)?.st_ino;
    let kept = spare(above, name);
    if !kept {
        match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EISDIR | Errno::EPERM) => {}
            Err(errno) => return Err(errno),
        }
    }
    match enter(parent, name) {
        Ok(dir) => contents(dir, spare)?,
        // A kept entry need not be a directory.
        Err(Errno::ENOTDIR | Errno::ELOOP) if kept => return Ok(()),
        Err(errno) => return Err(errno),
    }
    if kept { Ok(()) } else { remove_dir(parent, name) }
}

/// Removes everything below the directory `dir`, except what `spare` is true for (see `tree_except`).
pub(crate) fn contents(dir: OwnedFd, spare: &dyn Fn(u64, &CStr) -> bool) -> Result<()> {
    let mut levels = vec![Level::read(&dir)?];
    let mut here = dir;
    while let Some(level) = levels.last_mut() {
        let Some((name, is_dir)) = level.names.pop() else {
            levels.pop();
            let Some(above) = levels.last_mut() else { break };
            here =
                openat(&here, c"..", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
            if let Some(name) = above.inside.take().filter(|name| !spare(above.inode, name)) {
                remove_dir(here.as_fd(), &name)?;
            }
            continue;
        };
        if !is_dir {
            if !spare(level.inode, &name) {
                unlinkat(&here, name.as_c_str(), UnlinkatFlags::NoRemoveDir)?;
            }
            continue;
        }
        here = enter(here.as_fd(), &name)?;
        level.inside = Some(name);
        levels.push(Level::read(&here)?);
    }
    Ok(())
}

/// Whether the directory `dir` is empty.
pub(crate) fn is_empty(dir: &OwnedFd) -> Result<bool> {
    Ok(Level::read(dir)?.names.is_empty())
}

/// One directory on the way down.
struct Level {
    inode: u64,
    /// The names that are still to be removed, and whether each is a directory.
    names: Vec<(CString, bool)>,
    /// The name of the directory that the walk is in.
    inside: Option<CString>,
}

impl Level {
    fn read(dir: &OwnedFd) -> Result<Self> {
        let inode = fstat(dir)?.st_ino;
        let mut names = Vec::new();
        for item in
            Dir::from_fd(dir.try_clone().map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(0)))?)?.iter()
        {
            let item = item?;
            let name = item.file_name();
            if name != c"." && name != c".." {
                let is_dir = match item.file_type() {
                    Some(kind) => kind == Type::Directory,
                    None => is_dir(dir.as_fd(), name)?,
                };
                names.push((name.to_owned(), is_dir));
            }
        }
        Ok(Self { inode, names, inside: None })
    }
}

/// Asks for the type of `name`, where the filesystem has none in its listings.
fn is_dir(dir: BorrowedFd<'_>, name: &CStr) -> Result<bool> {
    let stat = nix::sys::stat::fstatat(dir, name, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)?;
    Ok(stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

/// Opens a directory to remove what is in it.
fn enter(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(parent, name, flags, Mode::empty()) {
        // An unprivileged user's own directory may lack the permissions to list it.
        Err(Errno::EACCES) => {
            fchmodat(parent, name, Mode::S_IRWXU, FchmodatFlags::NoFollowSymlink)?;
            openat(parent, name, flags, Mode::empty())
        }
        other => other,
    }
}

/// Removes a directory; one that still holds a kept entry stays.
fn remove_dir(parent: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
        Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOENT) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("tare-remove-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn open(path: &std::path::Path) -> OwnedFd {
        fs::File::open(path).unwrap().into()
    }

    #[test]
    fn a_tree_goes_and_what_its_links_point_at_stays() {
        let dir = scratch("links");
        fs::create_dir_all(dir.join("a/b/c")).unwrap();
        fs::create_dir(dir.join("keep")).unwrap();
        fs::write(dir.join("keep/file"), "x").unwrap();
        std::os::unix::fs::symlink("../keep", dir.join("a/link")).unwrap();
        tree(open(&dir).as_fd(), c"a").unwrap();
        assert!(!dir.join("a").exists() && dir.join("keep/file").exists());
        tree(open(&dir).as_fd(), c"a").unwrap();
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_tree_deeper_than_descriptors_allow_goes() {
        let dir = scratch("deep");
        let mut here = open(&dir);
        for _ in 0..3000 {
            nix::sys::stat::mkdirat(&here, c"d", Mode::S_IRWXU).unwrap();
            here = enter(here.as_fd(), c"d").unwrap();
        }
        tree(open(&dir).as_fd(), c"d").unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_is_spared_stays_with_the_directories_above_it() {
        let dir = scratch("spare");
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::create_dir_all(dir.join("a/c")).unwrap();
        fs::write(dir.join("a/b/mine"), "").unwrap();
        fs::write(dir.join("a/b/theirs"), "").unwrap();
        tree_except(open(&dir).as_fd(), c"a", &|_, name| name == c"mine").unwrap();
        assert!(dir.join("a/b/mine").exists());
        assert!(!dir.join("a/b/theirs").exists() && !dir.join("a/c").exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
