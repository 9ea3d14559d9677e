//! Walks through a root without openat2(2), for kernels before 5.6: each component is opened without
//! following it, and the targets of symlinks are walked inside the root.
//!
//! `..` goes back to the directory that the walk came from, which is inside the root because the walk was. If
//! a component is swapped between check and use, the lookup fails; it never leaves the root.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, fstat};

use super::{MAX_SYMLINKS, Result};

/// Opens what openat2(2) with RESOLVE_IN_ROOT would open. Magic links are walked as the text that they show.
pub(crate) fn open(root: BorrowedFd<'_>, path: &CStr, flags: OFlag, mode: Mode) -> Result<OwnedFd> {
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    // The kernel's limit. Without it, an image would have us walk a long path again for each of its components.
    if path.count_bytes() >= libc::PATH_MAX.unsigned_abs() as usize {
        return Err(Errno::ENAMETOOLONG);
    }
    let mut walk = Walk { root, inside: Vec::new(), ahead: VecDeque::new(), links: 0 };
    walk.queue(path.to_bytes());
    let flags = flags | OFlag::O_CLOEXEC;
    let is_dir = |bytes: &[u8]| matches!(bytes.rsplit(|&b| b == b'/').next(), Some(b"" | b"." | b".."));
    // A slash behind the last component is like a component more: the kernel follows what is before it.
    let flags =
        if is_dir(path.to_bytes()) { (flags | OFlag::O_DIRECTORY) - OFlag::O_NOFOLLOW } else { flags };
    while let Some(name) = walk.ahead.pop_front() {
        if !walk.ahead.is_empty() {
            walk.enter(&name)?;
        } else if let Some(opened) = walk.open_last(&name, flags, mode)? {
            return Ok(opened);
        }
    }
    openat(walk.here(), c".", flags, mode)
}

struct Walk<'a> {
    root: BorrowedFd<'a>,
    /// The directories on the way from the root.
    inside: Vec<OwnedFd>,
    ahead: VecDeque<CString>,
    links: u32,
}

impl Walk<'_> {
    fn here(&self) -> BorrowedFd<'_> {
        self.inside.last().map_or(self.root, AsFd::as_fd)
    }

    /// Puts the components of `path` before the waiting ones.
    fn queue(&mut self, path: &[u8]) {
        let parts = path.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".");
        let parts: Vec<CString> = parts.filter_map(|part| CString::new(part).ok()).collect();
        parts.into_iter().rev().for_each(|part| self.ahead.push_front(part));
        if path.starts_with(b"/") {
            self.inside.clear();
        }
    }

    /// Enters a component that is not the last one.
    fn enter(&mut self, name: &CStr) -> Result<()> {
        if name == c".." {
            self.inside.pop();
            return Ok(());
        }
        let found = self.look(name)?;
        match fstat(&found)?.st_mode & libc::S_IFMT {
            libc::S_IFLNK => self.follow(&found),
            libc::S_IFDIR => {
                self.inside.push(found);
                Ok(())
            }
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Opens the last component. Returns `None` if it is a symlink, whose target is then queued.
    fn open_last(&mut self, name: &CStr, flags: OFlag, mode: Mode) -> Result<Option<OwnedFd>> {
        if name == c".." {
            self.inside.pop();
            return Ok(None);
        }
        let exclusive = flags.contains(OFlag::O_CREAT | OFlag::O_EXCL);
        if !flags.contains(OFlag::O_NOFOLLOW) && !exclusive {
            match self.look(name) {
                Ok(found) if fstat(&found)?.st_mode & libc::S_IFMT == libc::S_IFLNK => {
                    self.follow(&found)?;
                    return Ok(None);
                }
                Err(Errno::ENOENT) if flags.contains(OFlag::O_CREAT) => {}
                found => drop(found?),
            }
        }
        openat(self.here(), name, flags | OFlag::O_NOFOLLOW, mode).map(Some)
    }

    fn look(&self, name: &CStr) -> Result<OwnedFd> {
        openat(self.here(), name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
    }

    fn follow(&mut self, link: &OwnedFd) -> Result<()> {
        self.links += 1;
        if self.links > MAX_SYMLINKS {
            return Err(Errno::ELOOP);
        }
        let target = readlinkat(link, c"")?.into_vec();
        self.queue(&target);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inroot::Root;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    fn tree(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("tare-walk-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("root/a/b")).unwrap();
        fs::write(dir.join("root/a/file"), "").unwrap();
        fs::write(dir.join("secret"), "").unwrap();
        for (target, link) in [
            ("/a", "abs"),
            ("a/b", "rel"),
            ("../../../..", "up"),
            ("../../secret", "out"),
            ("/secret", "out-abs"),
            ("loop", "loop"),
            ("missing", "dangling"),
            ("rel/../file", "dots"),
            ("a/file", "to-file"),
            ("a/", "slash"),
        ] {
            symlink(target, dir.join("root").join(link)).unwrap();
        }
        dir
    }

    fn outcome(result: Result<OwnedFd>) -> Result<u64> {
        result.and_then(|fd| Ok(fstat(&fd)?.st_ino))
    }

    #[test]
    fn the_walk_ends_where_the_kernel_ends() {
        let dir = tree("same");
        let root = Root::open(&dir.join("root")).unwrap();
        let paths = [
            "",
            "/",
            ".",
            "..",
            "a",
            "/a/",
            "a/b/..",
            "a/../../..",
            "abs/b",
            "abs/b/",
            "rel",
            "rel/..",
            "up",
            "up/a",
            "out",
            "out-abs",
            "up/secret",
            "loop",
            "loop/x",
            "dangling",
            "dangling/x",
            "dots",
            "to-file",
            "to-file/",
            "to-file/x",
            "a/file/..",
            "slash",
            "slash/b",
            "missing",
            "missing/x",
            "a//./b",
            "abs/../rel/../../a/file",
        ];
        for path in paths {
            for flags in [
                OFlag::O_PATH,
                OFlag::O_PATH | OFlag::O_NOFOLLOW,
                OFlag::O_PATH | OFlag::O_DIRECTORY,
                OFlag::O_RDONLY,
                OFlag::O_RDONLY | OFlag::O_NOFOLLOW,
                OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW,
            ] {
                let path = CString::new(path).unwrap();
                let spelled = if path.is_empty() { c"." } else { path.as_c_str() };
                let kernel = outcome(root.resolve(&path, flags));
                let walked = outcome(open(root.as_fd(), spelled, flags, Mode::empty()));
                assert_eq!(walked, kernel, "{path:?} {flags:?}");
            }
        }
        // And no further: one byte is for the NUL.
        for length in [4093, 4094, 4095, 4096, 4097, 6000] {
            for path in [format!("{}a", "/".repeat(length - 1)), format!("{}a", "./".repeat(length / 2))] {
                let path = CString::new(path).unwrap();
                let kernel = outcome(root.resolve(&path, OFlag::O_PATH));
                let walked = outcome(open(root.as_fd(), &path, OFlag::O_PATH, Mode::empty()));
                assert_eq!(walked, kernel, "{length}");
            }
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_is_made_is_made_inside() {
        let dir = tree("make");
        let root = Root::open(&dir.join("root")).unwrap();
        let make = |path: &CStr, extra: OFlag| {
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | extra;
            open(root.as_fd(), path, flags, Mode::S_IRUSR).map(drop)
        };
        assert_eq!(make(c"up/new", OFlag::empty()), Ok(()));
        assert_eq!(make(c"out-abs", OFlag::empty()), Ok(()));
        assert_eq!(make(c"dangling", OFlag::O_EXCL), Err(Errno::EEXIST));
        assert_eq!(make(c"a/file/x", OFlag::empty()), Err(Errno::ENOTDIR));
        for name in ["new", "secret"] {
            assert!(dir.join("root").join(name).exists(), "{name}");
        }
        assert!(!Path::new("/new").exists() && !dir.join("new").exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
