//! A root filesystem being made: finding and making directories inside it, clearing what is in the way, and the
//! memory of a layer (what it made, which times directories get at the end).
//!
//! Every path is resolved inside the root by descriptor; the last component is never followed. What is between look
//! and use belongs to this process alone (the bundle is 0700), so a kept descriptor stays true until we ourselves
//! take a directory or a symlink away; then all are forgotten.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, fstatat, futimens, mkdirat, umask};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, getegid, geteuid};

use super::entry_adapter::EntryAdapter;
use super::single_layer::Alone;
use super::whiteout::PSEUDOLINKS;
use crate::image::archive::path::{clean, split};
use crate::image::filesystem::dir::{c_string, open_dir};
use crate::image::filesystem::remove;
use crate::image::limits::TIMES;
use crate::inroot::{Result, Root};

/// How many directories are kept open: archives go through a tree in order, so few serve well.
const KEPT: usize = 128;
/// As many symlinks as the kernel follows in one path.
const LINKS: u32 = 40;

/// An open directory of the tree.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    pub inode: u64,
    /// Whether what is made in it gets another group than ours.
    pub gives_group: bool,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Access and modification time.
pub type Times = (TimeSpec, TimeSpec);

#[derive(Debug)]
pub struct Tree {
    root: Root,
    kept: HashMap<Vec<u8>, Rc<Dir>>,
    /// What the current layer made, as hashes of (directory's inode, name): whiteouts spare it.
    made: HashSet<u64>,
    /// Keyed anew in each process, so that no image can aim for equal hashes.
    hash: RandomState,
    /// Directories by inode: their last known path and the times they get when all is in place.
    times: HashMap<u64, (Vec<u8>, Times)>,
    /// Bytes of these paths.
    times_held: usize,
    /// How many directories were made that had no entry.
    pub implied: u64,
    /// Who the kernel makes files for.
    pub own: (u32, u32),
    /// Set once a layer gave some directory a default ACL: from then on no mode is what we asked for.
    pub default_acl: bool,
    /// Set where the tree is one layer of an overlay; None where layers are applied one over the other.
    pub alone: Option<Alone>,
    /// Whether a layer had an entry for the root itself.
    pub has_root_entry: bool,
    /// Whether the current layer has files in AUFS' directory of pseudo-links.
    pub pseudolinks: bool,
    /// How entries are made that cannot be made as they are.
    pub(crate) adapter: EntryAdapter,
    /// Set where directories have their times already and keep those they are found with: the tree was not made
    /// here, or is so large that the times were set in between.
    keeps_times: bool,
}

impl Tree {
    /// Starts on an empty directory. Clears the process's umask: modes come from the image alone.
    pub fn open(path: &Path) -> Result<Self> {
        umask(Mode::empty());
        let root = Root::open(path)?;
        // Like any directory without an entry of its own, unless one comes.
        let zero = TimeSpec::new(0, 0);
        let times = [(fstat(&root)?.st_ino, (Vec::new(), (zero, zero)))].into();
        Ok(Self {
            root,
            kept: HashMap::new(),
            made: HashSet::new(),
            hash: RandomState::new(),
            times,
            times_held: 0,
            implied: 0,
            own: (geteuid().as_raw(), getegid().as_raw()),
            default_acl: false,
            alone: None,
            has_root_entry: false,
            pseudolinks: false,
            adapter: EntryAdapter::default(),
            keeps_times: false,
        })
    }

    /// Begins with entries as `adapt` says, also for the root itself.
    pub(crate) fn set_adapter(&mut self, adapter: EntryAdapter) -> Result<()> {
        let (uid, gid) = adapter.root_ids();
        if self.own != (uid, gid) {
            let fd = self.root.resolve(c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
            fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        self.adapter = adapter;
        Ok(())
    }

    /// Opens a tree that is complete, for small changes.
    pub fn open_kept(path: &Path) -> Result<Self> {
        let mut tree = Self::open(path)?;
        tree.times.clear();
        tree.keeps_times = true;
        tree.look(b"")?;
        Ok(tree)
    }

    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Forgets what the last layer made: from now on it is what is below.
    pub fn begin_layer(&mut self) {
        self.made.clear();
    }

    /// Takes away what only this layer's own links needed.
    pub fn end_layer(&mut self) -> Result<()> {
        if std::mem::take(&mut self.pseudolinks) {
            self.forget();
            remove::tree(self.root.as_fd(), &c_string(PSEUDOLINKS)?)?;
            if let Some(alone) = &mut self.alone {
                alone.explicit(PSEUDOLINKS);
            }
        }
        Ok(())
    }

    fn key(&self, dir: u64, name: &CStr) -> u64 {
        self.hash.hash_one((dir, name.to_bytes()))
    }

    /// Remembers that the current layer has an entry for `name`.
    pub fn mark(&mut self, dir: &Dir, name: &CStr) {
        let key = self.key(dir.inode, name);
        self.made.insert(key);
    }

    /// The directory and the name of a clean, not empty path; missing directories are made.
    pub fn place(&mut self, path: &[u8]) -> Result<(Rc<Dir>, CString)> {
        let (above, name) = split(path);
        let dir = self.dir(above)?;
        if let Some(alone) = &mut self.alone {
            alone.placed(path);
        }
        Ok((dir, c_string(name)?))
    }

    /// The directory that a whiteout takes something away from; None where it has nothing to take away.
    pub fn marked(&mut self, path: &[u8]) -> Result<Option<Rc<Dir>>> {
        match self.alone {
            // What is below is not known here: the mark must stand.
            Some(_) => self.dir(path).map(Some),
            None => self.find(path),
        }
    }

    /// As `place`, where nothing may be made; None where there is no such directory.
    pub fn find(&mut self, path: &[u8]) -> Result<Option<Rc<Dir>>> {
        match self.look(path) {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// The directory that a clean path leads to, symlinks followed inside the root; made where it is missing.
    pub fn dir(&mut self, path: &[u8]) -> Result<Rc<Dir>> {
        self.dir_after(path, 0)
    }

    fn dir_after(&mut self, path: &[u8], links: u32) -> Result<Rc<Dir>> {
        match self.look(path) {
            Err(Errno::ENOENT | Errno::ENOTDIR) if !path.is_empty() => {}
            other => return other,
        }
        let ends = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at);
        let mut dir = self.look(b"")?;
        for end in ends.chain([path.len()]).collect::<Vec<_>>() {
            dir = match self.look(&path[..end]) {
                Err(missing @ (Errno::ENOENT | Errno::ENOTDIR)) => {
                    self.make(&dir, &path[..end], missing, links)?
                }
                other => other?,
            };
        }
        Ok(dir)
    }

    /// Makes the directory `path` in `parent`, where looking for it gave `missing`.
    fn make(&mut self, parent: &Rc<Dir>, path: &[u8], missing: Errno, links: u32) -> Result<Rc<Dir>> {
        let (above, name) = split(path);
        let name = c_string(name)?;
        let mode = Mode::from_bits_truncate(0o755);
        match mkdirat(parent.as_fd(), name.as_c_str(), mode) {
            Ok(()) => {}
            Err(Errno::EEXIST) if missing == Errno::ENOENT => {
                // A symlink that leads nowhere: what it points at is what is missing.
                if links == LINKS {
                    return Err(Errno::ELOOP);
                }
                let target = readlinkat(parent.as_fd(), name.as_c_str())?.into_vec();
                let from = if target.starts_with(b"/") { b"" } else { above };
                return self.dir_after(&clean(&[from, &target].join(&b'/')), links + 1);
            }
            Err(Errno::EEXIST) => {
                // Something that is no directory, or leads to none: it gives way.
                self.clear(parent, &name)?;
                mkdirat(parent.as_fd(), name.as_c_str(), mode)?;
                self.hide_below(parent, &name)?;
                return self.adopt_implied(parent, &name, path);
            }
            Err(errno) => return Err(errno),
        }
        if let Some(alone) = &mut self.alone {
            alone.implied(path);
        }
        self.adopt_implied(parent, &name, path)
    }

    /// A directory without an entry of its own belongs to root, 0755, of no particular time.
    fn adopt_implied(&mut self, parent: &Rc<Dir>, name: &CStr, path: &[u8]) -> Result<Rc<Dir>> {
        let fd = open_dir(parent.as_fd(), name)?;
        let (uid, gid) = self.adapter.root_ids();
        if self.own != (uid, gid) || parent.gives_group || self.default_acl {
            match fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
                Err(Errno::EPERM) if self.own.0 != 0 => {}
                other => other?,
            }
            fchmod(&fd, Mode::from_bits_truncate(0o755))?;
        }
        self.implied += 1;
        let dir = self.keep(path, fd)?;
        let zero = TimeSpec::new(0, 0);
        self.set_times_later(&dir, path, (zero, zero));
        self.mark(parent, name);
        Ok(dir)
    }

    fn look(&mut self, path: &[u8]) -> Result<Rc<Dir>> {
        if let Some(dir) = self.kept.get(path) {
            return Ok(Rc::clone(dir));
        }
        let fd = self.root.resolve(&c_string(path)?, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        self.keep(path, fd)
    }

    /// Keeps an open directory under the path it was asked for by.
    pub fn keep(&mut self, path: &[u8], fd: OwnedFd) -> Result<Rc<Dir>> {
        let stat = fstat(&fd)?;
        let gives_group = stat.st_mode & libc::S_ISGID != 0;
        if self.keeps_times {
            let atime = TimeSpec::new(stat.st_atime, stat.st_atime_nsec);
            let mtime = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
            let held = &mut self.times_held;
            self.times.entry(stat.st_ino).or_insert_with(|| {
                *held += path.len();
                (path.to_vec(), (atime, mtime))
            });
        }
        let dir = Rc::new(Dir { fd, inode: stat.st_ino, gives_group });
        if self.kept.len() == KEPT {
            self.kept.clear();
        }
        self.kept.insert(path.to_vec(), Rc::clone(&dir));
        Ok(dir)
    }

    /// Forgets kept directories: some path may mean something else now.
    pub fn forget(&mut self) {
        self.kept.clear();
    }

    /// Takes away whatever `name` is, so that something else can stand there.
    pub fn clear(&mut self, dir: &Dir, name: &CStr) -> Result<()> {
        let kind = stat(dir, name)?.st_mode & libc::S_IFMT;
        if kind == libc::S_IFDIR || kind == libc::S_IFLNK {
            self.forget();
        }
        remove::tree(dir.as_fd(), name)
    }

    /// A directory that took the place of something else hides what is below, also in an overlay.
    pub fn hide_below(&self, dir: &Dir, name: &CStr) -> Result<()> {
        match &self.alone {
            Some(alone) => alone.make_opaque(open_dir(dir.as_fd(), name)?.as_fd()),
            None => Ok(()),
        }
    }

    /// A whiteout: takes `name` away as far as lower layers made it.
    pub fn white_out(&mut self, dir: &Dir, name: &CStr) -> Result<()> {
        if let Some(alone) = &self.alone {
            return alone.white_out(dir.as_fd(), name);
        }
        let kind = match stat(dir, name) {
            Ok(stat) => stat.st_mode & libc::S_IFMT,
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        if kind == libc::S_IFDIR || kind == libc::S_IFLNK {
            self.forget();
        }
        remove::tree_except(dir.as_fd(), name, &|inode, name| self.made.contains(&self.key(inode, name)))
    }

    /// An opaque marker: takes away all that lower layers have in `dir`.
    pub fn make_opaque(&mut self, dir: &Dir) -> Result<()> {
        self.forget();
        let own = openat(
            dir.as_fd(),
            c".",
            OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        if let Some(alone) = &self.alone {
            return alone.make_opaque(own.as_fd());
        }
        remove::contents(own, &|inode, name| self.made.contains(&self.key(inode, name)))
    }

    /// Directories get their times last: each file made in them would change the time again.
    pub fn set_times_later(&mut self, dir: &Dir, path: &[u8], times: Times) {
        self.times_held += path.len();
        self.times.insert(dir.inode, (path.to_vec(), times));
    }

    /// Between two entries: sets the times of directories where so many are waiting that they take much memory.
    pub fn relieve(&mut self) -> Result<()> {
        if self.times_held > TIMES {
            self.finish()?;
            self.keeps_times = true;
        }
        Ok(())
    }

    /// Sets the times of all directories.
    pub fn finish(&mut self) -> Result<()> {
        self.forget();
        self.times_held = 0;
        for (inode, (path, times)) in std::mem::take(&mut self.times) {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
            let dir = match self.root.resolve(&c_string(&path)?, flags) {
                Ok(dir) => dir,
                // A later entry took it away.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
                Err(errno) => return Err(errno),
            };
            if fstat(&dir)?.st_ino == inode {
                futimens(&dir, &times.0, &times.1)?;
            }
        }
        Ok(())
    }
}

/// Looks at `name` itself, not at what it points at.
pub fn stat(dir: &Dir, name: &CStr) -> Result<FileStat> {
    fstatat(dir.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW)
}
