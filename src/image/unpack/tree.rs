//! `Tree` is the root filesystem that layers are unpacked to: it opens and makes directories, removes what is
//! in the way and applies whiteouts, and knows what the current layer made and which times directories get at
//! the end.
//!
//! Every path is resolved inside the root by descriptor; the last component is never followed. Nobody else
//! can change the tree meanwhile (the bundle is 0700), so a cached descriptor stays right until this process
//! removes a directory or a symlink; the cache is cleared then.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString, OsString};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, readlink, readlinkat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, fstatat, futimens, mkdirat, umask};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, getegid, geteuid};

use super::entry_adapter::EntryAdapter;
use super::single_layer::SingleLayer;
use super::whiteout::PSEUDOLINKS;
use crate::image::archive::path::{clean, ends, first_missing, is_within, split};
use crate::image::filesystem::dir::{open_dir, proc_path};
use crate::image::filesystem::remove;
use crate::image::filesystem::xattrs::drop_inherited_acl;
use crate::image::limits::MAX_DIRECTORY_TIMES;
use crate::inroot::{MAX_SYMLINKS, Result, Root, c_string};

/// How many directories are kept open: archives go through a tree in order, so few serve well.
const CACHED_DIRS: usize = 128;

/// An open directory of the tree.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    pub(crate) inode: u64,
    /// Whether the kernel gives new files in it the directory's group.
    pub(super) has_setgid: bool,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Access and modification time.
pub(crate) type Times = (TimeSpec, TimeSpec);

/// The root filesystem that layers are applied to: of a whole image, or of one layer alone.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Root,
    /// The path of the root on the host, as /proc/self/fd shows it.
    root_path: Option<Vec<u8>>,
    /// Set for the tree of a single layer; None for a merged tree.
    pub(super) single_layer: Option<SingleLayer>,
    /// Changes entries that this host cannot make unchanged.
    pub(super) adapter: EntryAdapter,
    /// Open directories by the path they were asked for.
    dir_cache: HashMap<Vec<u8>, Rc<Dir>>,
    /// Files of the current layer, as hashes of (directory's inode, name): whiteouts do not remove them.
    created_by_layer: HashSet<u64>,
    /// What whiteouts of the current layer have removed, in the same form: another one of the same name finds
    /// nothing of lower layers, and need not look at all that this layer has put there.
    pub(super) whiteouts_of_layer: HashSet<u64>,
    /// Keyed anew in each process, so that no image can aim for equal hashes.
    hash: RandomState,
    /// Directories by inode: their path and the times they get when all is in place.
    dir_times: HashMap<u64, (Vec<u8>, Times)>,
    /// Bytes of the paths in `dir_times`.
    dir_times_bytes: usize,
    /// How many extended attributes could not be set for want of privileges.
    pub(super) attributes_left_out: u64,
    /// How many directories were made that had no entry.
    pub(super) implied_dirs: u64,
    /// The user and group that the kernel gives new files to.
    pub(super) process_ids: (u32, u32),
    /// Set once a layer gave some directory a default ACL, which may change the mode of new files.
    pub(super) has_default_acl: bool,
    pub(super) has_root_entry: bool,
    /// Whether the current layer has files in AUFS' directory of pseudo-links.
    pub(super) has_pseudolinks: bool,
    /// The directory without an entry that this entry has made last, by its inode, and whether it is covered.
    made_last: Option<(u64, bool)>,
    /// A layer is unpacked over others: a hard link to a file of theirs copies it.
    pub(super) copies_up: bool,
    /// Bytes of such files.
    pub(crate) copied_bytes: u64,
    /// Set if directories keep their times: the tree was not made here, or the times were set earlier.
    preserves_times: bool,
}

impl Tree {
    /// Takes the empty directory `root` for a merged tree: every layer of the image is applied over those
    /// before it.
    ///
    /// Clears the umask of the process, because modes come from the image alone.
    pub(crate) fn merged(root: Root, adapter: EntryAdapter) -> Result<Self> {
        Self::open_empty(root, None, adapter)
    }

    /// Opens the empty directory `path` for the tree of a single layer, which an overlay mounts over others.
    /// Whiteouts are kept as the kernel's own marks; `userxattr`: with the prefix `user.overlay.`.
    pub(crate) fn single_layer(path: &Path, userxattr: bool, adapter: EntryAdapter) -> Result<Self> {
        Self::open_empty(Root::open(path)?, Some(SingleLayer::new(userxattr)), adapter)
    }

    /// Opens the directory and removes an inherited default ACL, because all files would inherit it too.
    fn open_empty(root: Root, single_layer: Option<SingleLayer>, adapter: EntryAdapter) -> Result<Self> {
        let tree = Self::open(root, single_layer, adapter)?;
        let root = tree.root.resolve(c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        drop_inherited_acl(root.as_fd())?;
        fchmod(&root, Mode::from_bits_truncate(0o755))?;
        Ok(tree)
    }

    /// Takes a tree that is complete, for small changes, or that of lower layers, which a layer is unpacked
    /// over: its directories keep the times they have.
    pub(crate) fn over(root: Root, adapter: EntryAdapter) -> Result<Self> {
        let mut tree = Self::open(root, None, adapter)?;
        tree.dir_times.clear();
        tree.preserves_times = true;
        tree.copies_up = true;
        // The existing tree may have default ACLs.
        tree.has_default_acl = true;
        tree.open_existing_dir(b"")?;
        Ok(tree)
    }

    fn open(root: Root, single_layer: Option<SingleLayer>, adapter: EntryAdapter) -> Result<Self> {
        umask(Mode::empty());
        // The root gets time 0, like any directory without an entry of its own, unless an entry follows.
        let zero = TimeSpec::new(0, 0);
        let dir_times = [(fstat(&root)?.st_ino, (Vec::new(), (zero, zero)))].into();
        Ok(Self {
            root_path: path_by_procfs(root.as_fd()),
            root,
            single_layer,
            adapter,
            dir_cache: HashMap::new(),
            created_by_layer: HashSet::new(),
            whiteouts_of_layer: HashSet::new(),
            hash: RandomState::new(),
            dir_times,
            dir_times_bytes: 0,
            attributes_left_out: 0,
            implied_dirs: 0,
            process_ids: (geteuid().as_raw(), getegid().as_raw()),
            has_default_acl: false,
            has_root_entry: false,
            has_pseudolinks: false,
            made_last: None,
            copies_up: false,
            copied_bytes: 0,
            preserves_times: false,
        })
    }

    /// Gives the root directory to the owner that the image's root is mapped to.
    pub(crate) fn chown_root(&mut self) -> Result<()> {
        let (uid, gid) = self.adapter.root_ids();
        if self.process_ids != (uid, gid) {
            let fd = self.root.resolve(c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
            fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        Ok(())
    }

    /// Whether a layer had an entry for the root directory itself.
    pub(crate) fn has_root_entry(&self) -> bool {
        self.has_root_entry
    }

    /// Returns what the single layer needs of the layers below it; nothing for a merged tree.
    pub(crate) fn into_single_layer(self) -> SingleLayer {
        self.single_layer.unwrap_or_default()
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// Goes on in another directory, for the test of what nothing else does.
    pub(super) fn replace_root(&mut self, root: OwnedFd) {
        self.root = root.into();
    }

    /// Begins the next layer: its whiteouts remove what was made so far.
    pub(crate) fn begin_layer(&mut self) {
        self.created_by_layer.clear();
        self.whiteouts_of_layer.clear();
    }

    /// Ends a layer: removes the pseudo-links that only its own hard links needed.
    pub(super) fn end_layer(&mut self) -> Result<()> {
        if std::mem::take(&mut self.has_pseudolinks) {
            self.clear_dir_cache();
            remove::tree(self.root.as_fd(), &c_string(PSEUDOLINKS)?)?;
            if let Some(single) = &mut self.single_layer {
                single.record_dir_entry(PSEUDOLINKS);
            }
        }
        Ok(())
    }

    /// Whether the current layer has made `name` in the directory with this inode.
    pub(super) fn is_of_current_layer(&self, directory: u64, name: &CStr) -> bool {
        self.created_by_layer.contains(&self.creation_key(directory, name))
    }

    pub(super) fn creation_key(&self, dir: u64, name: &CStr) -> u64 {
        self.hash.hash_one((dir, name.to_bytes()))
    }

    /// Remembers that the current layer has an entry for `name`.
    pub(super) fn record_created(&mut self, dir: &Dir, name: &CStr) {
        let key = self.creation_key(dir.inode, name);
        self.created_by_layer.insert(key);
    }

    /// Opens or makes the parent directory of a clean, not empty path. Returns it with the name.
    pub(crate) fn open_parent(&mut self, path: &[u8]) -> Result<(Rc<Dir>, CString)> {
        let (above, name) = split(path);
        self.made_last = None;
        let dir = self.open_or_create_dir(above)?;
        if let Some(single) = &mut self.single_layer {
            single.record_entry(path);
        }
        Ok((dir, c_string(name)?))
    }

    /// Opens the directory that contains a whiteout; None if the directory is missing and the whiteout has
    /// nothing to remove.
    pub(super) fn whiteout_dir(&mut self, path: &[u8]) -> Result<Option<Rc<Dir>>> {
        self.made_last = None;
        match self.single_layer {
            // The layers below are not known here: the whiteout must be kept for the overlay.
            Some(_) => self.open_or_imply_dir(path),
            None => self.find_dir(path),
        }
    }

    /// Opens a directory without making any; None if it is missing.
    pub(super) fn find_dir(&mut self, path: &[u8]) -> Result<Option<Rc<Dir>>> {
        match self.open_existing_dir(path) {
            Ok(dir) => Ok(Some(dir)),
            // The last: a symlink has such a name for its target.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Opens or makes the directory of a clean path. Symlinks are followed inside the root.
    pub(crate) fn open_or_create_dir(&mut self, path: &[u8]) -> Result<Rc<Dir>> {
        self.open_or_create_dir_after(path, 0)
    }

    fn open_or_create_dir_after(&mut self, path: &[u8], links: u32) -> Result<Rc<Dir>> {
        match self.open_existing_dir(path) {
            Err(Errno::ENOENT | Errno::ENOTDIR) if !path.is_empty() => {}
            other => return other,
        }
        let mut missing = Errno::ENOENT;
        let first = first_missing(path, |prefix| match self.open_existing_dir(prefix) {
            Err(errno @ (Errno::ENOENT | Errno::ENOTDIR)) => {
                // The last one that is looked at and not there is the first.
                missing = errno;
                Ok(false)
            }
            found => found.map(|_| true),
        })?;
        let first = first.unwrap_or(path.len());
        let mut dir = self.open_existing_dir(split(&path[..first]).0)?;
        for end in ends(path).filter(|&end| end >= first) {
            dir = self.create_dir(&dir, &path[..end], missing, links)?;
            // Nothing is in a directory that was just made.
            missing = Errno::ENOENT;
        }
        Ok(dir)
    }

    /// Makes the directory `path` in `parent`, after opening it failed with `missing`.
    pub(super) fn create_dir(
        &mut self,
        parent: &Rc<Dir>,
        path: &[u8],
        missing: Errno,
        links: u32,
    ) -> Result<Rc<Dir>> {
        let (above, name) = split(path);
        let name = c_string(name)?;
        let mode = Mode::from_bits_truncate(0o755);
        match mkdirat(parent.as_fd(), name.as_c_str(), mode) {
            Ok(()) => {}
            Err(Errno::EEXIST) if missing == Errno::ENOENT => {
                // A dangling symlink: its target is the directory to make.
                if links == MAX_SYMLINKS {
                    return Err(Errno::ELOOP);
                }
                let target = readlinkat(parent.as_fd(), name.as_c_str())?.into_vec();
                let from = if target.starts_with(b"/") { b"" } else { above };
                self.require_order();
                return self.open_or_create_dir_after(&clean(&[from, &target].join(&b'/')), links + 1);
            }
            Err(Errno::EEXIST) => {
                // Something that is no directory, or a symlink to no directory, is replaced.
                if self.is_symlink(parent, split(path).1)? {
                    self.require_order();
                }
                self.remove_existing(parent, &name)?;
                mkdirat(parent.as_fd(), name.as_c_str(), mode)?;
                self.hide_lower(parent, &name)?;
                return self.init_implied_dir(parent, &name, path);
            }
            Err(errno) => return Err(errno),
        }
        // In an opaque directory this is a new directory, whatever the layers below have. One that was just made is
        // covered if the one that it is in is.
        let is_new = match self.made_last {
            Some((inode, is_covered)) if inode == parent.inode => is_covered,
            _ => self.is_covered(parent)?,
        };
        if let Some(single) = self.single_layer.as_mut().filter(|_| !is_new) {
            single.record_implied_dir(path);
        }
        let made = self.init_implied_dir(parent, &name, path)?;
        self.made_last = Some((made.inode, is_new));
        Ok(made)
    }

    /// Sets the attributes of a directory without an entry of its own: owner root, mode 0755, time 0.
    fn init_implied_dir(&mut self, parent: &Rc<Dir>, name: &CStr, path: &[u8]) -> Result<Rc<Dir>> {
        let fd = open_dir(parent.as_fd(), name)?;
        let (uid, gid) = self.adapter.root_ids();
        if self.process_ids != (uid, gid) || parent.has_setgid || self.has_default_acl {
            match fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
                Err(Errno::EPERM) if self.process_ids.0 != 0 => {}
                other => other?,
            }
            if self.has_default_acl {
                drop_inherited_acl(fd.as_fd())?;
            }
            fchmod(&fd, Mode::from_bits_truncate(0o755))?;
        }
        self.implied_dirs += 1;
        let dir = self.cache_dir(path, fd)?;
        let zero = TimeSpec::new(0, 0);
        self.defer_times(&dir, path, (zero, zero));
        self.record_created(parent, name);
        Ok(dir)
    }

    pub(super) fn open_existing_dir(&mut self, path: &[u8]) -> Result<Rc<Dir>> {
        if let Some(dir) = self.dir_cache.get(path) {
            return Ok(Rc::clone(dir));
        }
        let fd = self.root.resolve(&c_string(path)?, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        self.cache_dir(path, fd)
    }

    /// Adds an open directory to the cache under its path.
    pub(super) fn cache_dir(&mut self, path: &[u8], fd: OwnedFd) -> Result<Rc<Dir>> {
        let stat = fstat(&fd)?;
        let has_setgid = stat.st_mode & libc::S_ISGID != 0;
        let dir = Rc::new(Dir { fd, inode: stat.st_ino, has_setgid });
        if self.preserves_times && !self.dir_times.contains_key(&stat.st_ino) {
            let atime = TimeSpec::new(stat.st_atime, stat.st_atime_nsec);
            let mtime = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
            self.defer_times(&dir, path, (atime, mtime));
        }
        if self.dir_cache.len() == CACHED_DIRS {
            self.dir_cache.clear();
        }
        self.dir_cache.insert(path.to_vec(), Rc::clone(&dir));
        Ok(dir)
    }

    /// Closes all cached directories, because a path may lead elsewhere now.
    pub(super) fn clear_dir_cache(&mut self) {
        self.dir_cache.clear();
    }

    /// Removes the file or tree `name`, so that another file can be made there.
    pub(super) fn remove_existing(&mut self, dir: &Dir, name: &CStr) -> Result<()> {
        let kind = stat(dir, name)?.st_mode & libc::S_IFMT;
        match kind {
            libc::S_IFDIR => self.forget_dirs(),
            libc::S_IFLNK => self.clear_dir_cache(),
            _ => {}
        }
        remove::tree(dir.as_fd(), name)
    }

    /// Makes a directory that replaced another file opaque: in an overlay it must hide the lower layers.
    pub(super) fn hide_lower(&mut self, dir: &Dir, name: &CStr) -> Result<()> {
        match &mut self.single_layer {
            Some(single) => single.make_opaque(open_dir(dir.as_fd(), name)?.as_fd()),
            None => Ok(()),
        }
    }

    /// Stores the times of a directory until the end, because each new file in it would change them again.
    pub(super) fn defer_times(&mut self, dir: &Dir, path: &[u8], times: Times) {
        // Stored without symlinks, because a symlink may be removed later.
        let path = self.real_path(dir).unwrap_or_else(|| path.to_vec());
        self.dir_times_bytes += path.len();
        self.dir_times.insert(dir.inode, (path, times));
    }

    /// Returns the path of a directory inside the root, without symlinks. Returns `None` if procfs does not
    /// show it.
    fn real_path(&self, dir: &Dir) -> Option<Vec<u8>> {
        let path = path_by_procfs(dir.as_fd())?;
        let root = self.root_path.as_ref()?;
        // A mount that is not in the tree of mounts has `/` at its own root.
        is_within(&path, if root == b"/" { b"" } else { root }).then(|| clean(&path[root.len()..]))
    }

    /// Sets the times of directories now if those stored take too much memory. Called between two entries.
    pub(super) fn flush_times_if_many(&mut self) -> Result<()> {
        if self.dir_times_bytes > MAX_DIRECTORY_TIMES {
            self.finish()?;
            self.preserves_times = true;
        }
        Ok(())
    }

    /// Sets the times of all directories.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.clear_dir_cache();
        self.dir_times_bytes = 0;
        for (inode, (path, times)) in std::mem::take(&mut self.dir_times) {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
            let dir = match self.root.resolve(&c_string(&path)?, flags) {
                Ok(dir) => dir,
                // A later entry removed the directory, or put something else in its place.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG) => continue,
                Err(errno) => return Err(errno),
            };
            if fstat(&dir)?.st_ino == inode {
                futimens(&dir, &times.0, &times.1)?;
            }
        }
        Ok(())
    }
}

/// The path of an open directory, without symlinks.
fn path_by_procfs(dir: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let link = proc_path(dir, c"");
    readlink(link.to_bytes().strip_suffix(b"/")?).ok().map(OsString::into_vec)
}

/// Returns the stat of `name` itself, not of a symlink's target.
pub(crate) fn stat(dir: &Dir, name: &CStr) -> Result<FileStat> {
    fstatat(dir.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW)
}
