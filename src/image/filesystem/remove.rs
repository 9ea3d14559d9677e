//! Removes a tree by descriptor: no symlink is followed, no mount entered, and few descriptors suffice for
//! any depth.
//!
//! A layer can make trees deeper than any path is long (through symlinks), so recursion would run out of
//! stack or descriptors just when a failed unpack must be cleaned up.
//!
//! Others may rename directories while their tree is removed: a container that still runs, or the owner of
//! the directory above. A directory that was moved out of the tree leads by `..` to where it is now, so names
//! are removed only below descriptors of directories that the walk came through; a parent that had to be
//! reopened is compared with the one that was left.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, fstat, fstatat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::inroot::Result;
use crate::sys::file::{RESOLVE_NO_XDEV, openat2, read_small_at};

/// How often the walk is repeated if others add files to the tree meanwhile.
const PASSES: u32 = 32;

/// How many of the innermost directories are kept open.
const KEPT_OPEN: usize = 16;

/// Removes `name` in `parent` and everything below it. Does nothing if it is missing.
///
/// # Errors
///
/// EBUSY if something is mounted in the tree; ENOTEMPTY or ESTALE if others kept changing it.
pub(crate) fn tree(parent: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    again_where_changed(|| tree_except(parent, name, &|_, _| false))
}

/// Removes everything below the directory `dir`, which stays; errors are those of `tree`.
pub(crate) fn empty(dir: &OwnedFd) -> Result<()> {
    again_where_changed(|| {
        contents(clone(dir)?, &|_, _| false)?;
        if is_empty(dir)? { Ok(()) } else { Err(Errno::ENOTEMPTY) }
    })
}

fn again_where_changed(pass: impl Fn() -> Result<()>) -> Result<()> {
    for _ in 1..PASSES {
        match pass() {
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ESTALE) => {}
            other => return other,
        }
    }
    pass()
}

/// Removes like `tree`, but keeps every entry that `spare(inode number of its directory, name)` is true for,
/// with the directories
/// above it, and walks the tree once.
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
    let spares = match enter(parent, name) {
        Ok(dir) => contents(dir, spare)?,
        // A kept entry need not be a directory.
        Err(Errno::ENOTDIR | Errno::ELOOP) if kept => return Ok(()),
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    if kept {
        return Ok(());
    }
    match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        Err(Errno::ENOTEMPTY | Errno::EEXIST) if spares => Ok(()),
        other => other,
    }
}

/// Removes everything below the directory `dir`, except what `spare` is true for (see `tree_except`). Returns
/// whether it spared anything.
pub(crate) fn contents(dir: OwnedFd, spare: &dyn Fn(u64, &CStr) -> bool) -> Result<bool> {
    let mut levels = vec![Level::read(dir)?];
    let mut spares = false;
    while let Some(level) = levels.last_mut() {
        let Some((name, is_dir)) = level.names.pop() else {
            let Some(done) = levels.pop() else { break };
            if spares {
                done.restore_times()?;
            }
            let Some(above) = levels.last_mut() else { break };
            above.reopen_from(&done)?;
            let Some(name) = above.inside.take() else { continue };
            match spare(above.id.1, &name) {
                true => spares = true,
                false => remove_dir(above.fd()?, &name)?,
            }
            continue;
        };
        if is_dir {
            match enter(level.fd()?, &name) {
                // Another process removed or replaced it: if something remains, the directory above is not
                // empty.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
                dir => descend(&mut levels, name, dir?)?,
            }
        } else if spare(level.id.1, &name) {
            spares = true;
        } else {
            remove_file(level.fd()?, &name)?;
        }
    }
    Ok(spares)
}

/// Enters `dir`, which is `name` in the last of the levels, and closes the directory that is too far above.
fn descend(levels: &mut Vec<Level>, name: CString, dir: OwnedFd) -> Result<()> {
    if let Some(level) = levels.last_mut() {
        level.inside = Some(name);
    }
    levels.push(Level::read(dir)?);
    if let Some(far) = levels.len().checked_sub(KEPT_OPEN + 1) {
        levels[far].dir = None;
    }
    Ok(())
}

fn remove_file(parent: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        // Another process removed it, or replaced it by a directory, which the next pass finds.
        Err(Errno::ENOENT | Errno::EISDIR) => Ok(()),
        other => other,
    }
}

/// Whether the directory `dir` is empty.
pub(crate) fn is_empty(dir: &OwnedFd) -> Result<bool> {
    let here = openat(dir, c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    Ok(Level::read(here)?.names.is_empty())
}

fn clone(dir: &OwnedFd) -> Result<OwnedFd> {
    dir.try_clone().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}

/// One directory on the way down.
struct Level {
    /// None if the directory is so far above that it was closed.
    dir: Option<OwnedFd>,
    /// Device and inode number.
    id: (u64, u64),
    /// The times that it had before anything in it was removed.
    times: (TimeSpec, TimeSpec),
    /// The names that are still to be removed, and whether each is a directory.
    names: Vec<(CString, bool)>,
    /// The name of the directory that the walk is in.
    inside: Option<CString>,
}

impl Level {
    fn read(dir: OwnedFd) -> Result<Self> {
        let mut names = Vec::new();
        for item in Dir::from_fd(clone(&dir)?)?.iter() {
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
        let found = fstat(&dir)?;
        let atime = TimeSpec::new(found.st_atime, found.st_atime_nsec);
        let mtime = TimeSpec::new(found.st_mtime, found.st_mtime_nsec);
        let (id, times) = ((found.st_dev, found.st_ino), (atime, mtime));
        Ok(Self { id, times, dir: Some(dir), names, inside: None })
    }

    /// Gives a directory that may stay its times again.
    fn restore_times(&self) -> Result<()> {
        futimens(self.fd()?, &self.times.0, &self.times.1)
    }

    fn fd(&self) -> Result<BorrowedFd<'_>> {
        self.dir.as_ref().map(AsFd::as_fd).ok_or(Errno::EBADF)
    }

    /// Opens this directory again from the one below it, unless it is open.
    ///
    /// # Errors
    ///
    /// ESTALE if the directory below was moved: its `..` is then no directory of this walk.
    fn reopen_from(&mut self, below: &Self) -> Result<()> {
        if self.dir.is_none() {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let dir = openat(below.fd()?, c"..", flags, Mode::empty())?;
            if id(&dir)? != self.id {
                return Err(Errno::ESTALE);
            }
            self.dir = Some(dir);
        }
        Ok(())
    }
}

/// Device and inode number of an open file.
pub(crate) fn id(fd: &OwnedFd) -> Result<(u64, u64)> {
    let stat = fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Asks for the type of `name`, if the filesystem's listings have no types.
fn is_dir(dir: BorrowedFd<'_>, name: &CStr) -> Result<bool> {
    match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => Ok(false),
        stat => Ok(stat?.st_mode & libc::S_IFMT == libc::S_IFDIR),
    }
}

/// Opens a directory to remove what is in it.
fn enter(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match open_inside(parent, name, OFlag::O_RDONLY | flags) {
        // An unprivileged user's own directory may lack the permissions to list it.
        Err(Errno::EACCES) => {
            let found = open_inside(parent, name, OFlag::O_PATH | flags)?;
            let path = format!("/proc/self/fd/{}", found.as_raw_fd());
            fchmodat(AT_FDCWD, path.as_str(), Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
            openat(&found, c".", OFlag::O_RDONLY | flags, Mode::empty())
        }
        other => other,
    }
}

/// Opens `name` unless something is mounted there: that is not part of the tree.
fn open_inside(parent: BorrowedFd<'_>, name: &CStr, flags: OFlag) -> Result<OwnedFd> {
    match openat2(parent, name, flags.bits(), 0, RESOLVE_NO_XDEV) {
        Err(Errno::EXDEV) => Err(Errno::EBUSY),
        // KERNEL(5.6): before it there is no openat2.
        Err(Errno::ENOSYS) => {
            let dir = openat(parent, name, flags, Mode::empty())?;
            if mount_id(dir.as_fd())? == mount_id(parent)? { Ok(dir) } else { Err(Errno::EBUSY) }
        }
        other => other,
    }
}

/// The number of the mount that an open file is on. KERNEL(3.15).
fn mount_id(fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let text = read_small_at(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()).as_str())?;
    let id = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"mnt_id:"));
    id.map(<[u8]>::to_vec).ok_or(Errno::ENOSYS)
}

/// Removes a directory, unless it is not empty; then the directory above stays too.
fn remove_dir(parent: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
        Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOENT | Errno::ENOTDIR) => Ok(()),
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
        fs::create_dir(dir.join("empty")).unwrap();
        tree_except(open(&dir).as_fd(), c"empty", &|_, name| name == c"empty").unwrap();
        assert!(dir.join("empty").exists());
        fs::remove_dir_all(dir).unwrap();
    }

    /// Removes trees while somebody moves `moved` of each out of it and back. A name that is in every
    /// directory of the tree is beside the tree and above it too, and has to stay there.
    fn race(name: &str, depth: usize, moved: usize) {
        use std::sync::atomic::{AtomicBool, Ordering};
        let base = scratch(name);
        let above = base.join("above");
        for attempt in 0..1000 {
            let mut dir = above.join("tree");
            let mut from = dir.clone();
            for level in 0..depth {
                dir.push("d");
                fs::create_dir_all(&dir).unwrap();
                fs::write(dir.join("canary"), "").unwrap();
                if level == moved {
                    from.clone_from(&dir);
                }
            }
            for canary in [above.join("canary"), base.join("canary")] {
                fs::write(canary, "").unwrap();
            }
            let ends = AtomicBool::new(false);
            let removed = std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !ends.load(Ordering::Relaxed) {
                        let _ = fs::rename(&from, above.join("out"));
                        let _ = fs::rename(above.join("out"), &from);
                    }
                });
                let removed = tree(open(&above).as_fd(), c"tree");
                ends.store(true, Ordering::Relaxed);
                removed
            });
            for canary in [above.join("canary"), base.join("canary")] {
                assert!(canary.exists(), "attempt {attempt}: {} was removed", canary.display());
            }
            assert!(matches!(removed, Ok(()) | Err(Errno::ENOTEMPTY | Errno::ESTALE)), "{removed:?}");
            let _ = fs::remove_dir_all(above.join("out"));
            tree(open(&above).as_fd(), c"tree").unwrap();
            assert!(!above.join("tree").exists());
        }
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_directory_moved_out_meanwhile_leads_to_nothing_outside() {
        race("moved", 3, 2);
    }

    #[test]
    fn a_deep_directory_moved_out_meanwhile_leads_to_nothing_outside() {
        race("moved-deep", KEPT_OPEN + 4, 2);
    }
}
