//! The staging directory of a bundle: `.NAME.partial` beside its destination. It is locked while the bundle
//! is made, and renamed to the destination when the bundle is complete.
//!
//! The directory above may belong to somebody else, who can put anything there under that name. A leftover of
//! an earlier run is recognized by its owner and by its mode, which no finished bundle has; no other
//! directory is ever emptied. It is held by its descriptor from the moment it is made. So even if its name
//! later belongs to something else, everything is done in the directory that was made here, and nothing else
//! is put at the destination (CVE-2024-45310 is of this kind).

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, geteuid, unlinkat};

use super::opened;
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::changes;
use crate::image::filesystem::dir::{open_dir, proc_path};
use crate::image::filesystem::lock::Lock;
use crate::image::filesystem::xattrs::drop_inherited_acl;
use crate::image::filesystem::{overlay, remove};
use crate::inroot::c_string;
use crate::sys::file::rename_new;
use crate::weak::{Defence, stands};

/// The staging directory of a bundle, locked against other processes.
#[derive(Debug)]
pub(super) struct StagingDir {
    /// The directory that the bundle will be in.
    parent: OwnedFd,
    lock: Lock<OwnedFd>,
    /// `.NAME.partial`, beside the destination.
    path: PathBuf,
    name: CString,
    destination: PathBuf,
}

impl StagingDir {
    /// Makes and locks the staging directory for a bundle at `destination`. Leftovers of an earlier run are
    /// removed, both in the staging directory and an incomplete bundle at `destination`.
    ///
    /// # Errors
    ///
    /// `Kind::Exists` if something else is at `destination`, or another process makes a bundle there.
    pub(super) fn create(destination: &Path) -> Result<Self> {
        let making = || format!("make bundle {}", destination.display());
        let file_name =
            destination.file_name().ok_or_else(|| fail!(Kind::Usage, "the path names no directory"));
        let file_name = file_name.with_context(making)?;
        let parent = destination.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("."));
        // Absolute from here on: overlay mounts and the store's records name the bundle's path.
        let parent_path = parent.canonicalize().with_context(|| format!("open {}", parent.display()))?;
        let parent =
            open(&parent_path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
                .with_context(|| format!("open {}", parent_path.display()))?;
        let name = [b".", file_name.as_bytes(), b".partial"].concat();
        let path = parent_path.join(std::ffi::OsStr::from_bytes(&name));
        let name = c_string(&name)?;
        let stale =
            find_unfinished(&parent, &c_string(file_name.as_bytes())?, destination).with_context(making)?;
        let lock = make_locked_dir(&parent, &name).with_context(|| format!("make {}", path.display()))?;
        let staging = Self { parent, lock, path, name, destination: parent_path.join(file_name) };
        match stale.map_or(Ok(()), |stale| staging.remove_unfinished(&stale)).with_context(making) {
            Ok(()) => Ok(staging),
            Err(error) => {
                staging.discard();
                Err(error)
            }
        }
    }

    /// The bundle's own name, without its directory.
    fn bundle_name(&self) -> Result<CString> {
        Ok(c_string(self.destination.file_name().unwrap_or_default().as_bytes())?)
    }

    /// Removes a bundle that was put in its place and not completed: by descriptor, because the name may now
    /// belong to another directory.
    fn remove_unfinished(&self, stale: &OwnedFd) -> Result<()> {
        let _lock = lock(stale.try_clone()?)?;
        // First of all, so that no part of it is ever at the destination without a mark.
        mark_in_the_making(stale)?;
        overlay::detach(&proc_path(stale.as_fd(), c"rootfs"))?;
        remove::empty(stale)?;
        let name = self.bundle_name()?;
        if !leads_to(&self.parent, &name, stale)? {
            return Err(replaced());
        }
        Ok(unlinkat(&self.parent, name.as_c_str(), UnlinkatFlags::RemoveDir)?)
    }

    pub(super) fn dir(&self) -> &OwnedFd {
        &self.lock
    }

    /// The path that `name` in the staging directory was made at, for messages.
    pub(super) fn shown(&self, name: &CStr) -> PathBuf {
        self.path.join(std::ffi::OsStr::from_bytes(name.to_bytes()))
    }

    /// Opens a directory in the staging directory, or what is mounted there.
    pub(super) fn open_dir(&self, name: &CStr) -> Result<OwnedFd> {
        open_dir(self.dir().as_fd(), name).with_context(|| format!("open {}", self.shown(name).display()))
    }

    /// Where the bundle will be, absolute.
    pub(super) fn destination(&self) -> &Path {
        &self.destination
    }

    pub(super) fn mkdir(&self, name: &CStr, mode: u32) -> Result<()> {
        let made = mkdirat(self.dir(), name, Mode::from_bits_truncate(mode));
        made.with_context(|| format!("make {}", name.to_string_lossy()))
    }

    /// Writes a new file of the bundle.
    pub(super) fn write_file(&self, name: &CStr, content: &[u8]) -> Result<()> {
        let writing = || format!("write {}", name.to_string_lossy());
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(self.dir(), name, flags, Mode::from_bits_truncate(0o644)).with_context(writing)?;
        File::from(fd).write_all(content).with_context(writing)
    }

    /// Records the state of the tree `name`, so that `diff` and `repack` can compare it later.
    pub(super) fn record_tree(&self, name: &CStr) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let to = openat(self.dir(), changes::RECORD_FILE, flags, Mode::S_IRUSR | Mode::S_IWUSR);
        let to = to.with_context(|| format!("make {}", self.path.join(changes::RECORD_FILE).display()))?;
        changes::write_record(&self.open_dir(name)?, &self.shown(name), File::from(to))
    }

    /// Renames the staging directory to the destination; an empty directory there is replaced. Then gives the
    /// bundle its final mode, and the container's root as its owner, who must be able to enter it.
    ///
    /// # Errors
    ///
    /// `Kind::State` if something else was under the staging directory's name, which then has that name
    /// again.
    pub(super) fn publish(&self, (uid, gid): (u32, u32)) -> Result<()> {
        let place = || format!("put the bundle at {}", self.destination.display());
        let rename = |from: &CStr, to: &CStr| renameat(&self.parent, from, &self.parent, to);
        rename_dir(&self.parent, &self.name, &self.bundle_name()?, self.dir(), rename).with_context(place)?;
        let own = || match (uid, gid) {
            (0, 0) if !stands(Defence::ClosedBundle) => fchmod(self.dir(), Mode::from_bits_truncate(0o755)),
            (0, 0) => fchmod(self.dir(), Mode::S_IRWXU),
            _ => fchown(self.dir(), Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .and_then(|()| fchmod(self.dir(), Mode::S_IRWXU)),
        };
        own().inspect_err(|_| self.withdraw()).with_context(place)
    }

    /// Marks the bundle as incomplete until `clear_mounting_mark`.
    pub(super) fn set_mounting_mark(&self) -> Result<()> {
        self.write_file(MOUNTING, b"")
    }

    /// Marks the bundle as complete, when it is at its destination and mounted.
    pub(super) fn clear_mounting_mark(&self) -> Result<()> {
        unlinkat(self.dir(), MOUNTING, UnlinkatFlags::NoRemoveDir).context("complete the bundle")
    }

    /// Renames the bundle from the destination back to the staging directory, after a failure.
    pub(super) fn withdraw(&self) {
        let _ = mark_in_the_making(self.dir());
        if let Ok(name) = self.bundle_name()
            && leads_to(&self.parent, &name, self.dir()).unwrap_or(false)
        {
            let rename = |from: &CStr, to: &CStr| rename_to_free(&self.parent, from, to);
            let _ = rename_dir(&self.parent, &name, &self.name, self.dir(), rename);
        }
    }

    /// Removes the staging directory after a failure. Errors are ignored: the failure itself is reported.
    pub(super) fn discard(self) {
        let _ = overlay::detach(&proc_path(self.dir().as_fd(), c"rootfs"));
        let _ = remove::empty(self.dir());
        if leads_to(&self.parent, &self.name, self.dir()).unwrap_or(false) {
            let _ = unlinkat(&self.parent, self.name.as_c_str(), UnlinkatFlags::RemoveDir);
        }
    }
}

/// The file that marks an overlay bundle as incomplete: it exists from before the rename to the destination
/// until the overlay is mounted.
const MOUNTING: &CStr = c".tare-image-mounting";

/// The mode of a bundle that is being made or removed, whose content may be deleted. Other users have no
/// access, because users of the host must not reach setuid programs of an image (CVE-2021-41103).
const IN_THE_MAKING: Mode = Mode::S_IRWXU.union(Mode::S_ISVTX);

/// Gives a directory to this process, with the mode of one that is being made or removed.
pub(super) fn mark_in_the_making(dir: &OwnedFd) -> Result<()> {
    fchown(dir, Some(Uid::effective()), Some(Gid::effective()))?;
    Ok(fchmod(dir, IN_THE_MAKING)?)
}

/// Checks that the destination is free: missing, an empty directory, or a bundle whose maker was killed
/// before completion. Returns such an incomplete bundle.
fn find_unfinished(parent: &OwnedFd, name: &CStr, path: &Path) -> Result<Option<OwnedFd>> {
    let occupied = || {
        fail!(Kind::Exists, "it exists and is not empty").with_hint(
            "name a directory that is not there yet, or an empty one; `tare-image remove DIR` removes a bundle",
        )
    };
    let dir = match open_dir(parent.as_fd(), name) {
        Err(Errno::ENOENT) => return Ok(None),
        Err(Errno::ENOTDIR | Errno::ELOOP) => {
            return Err(fail!(Kind::Exists, "it exists and is no directory"));
        }
        dir => dir?,
    };
    if remove::is_empty(&dir)? {
        return Ok(None);
    }
    if is_in_the_making(&fstat(&dir)?) {
        return Ok(Some(dir));
    }
    match fstatat(&dir, MOUNTING, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(mark) if mark.st_uid == geteuid().as_raw() && opened::read_info(&dir, path).is_ok() => {
            Ok(Some(dir))
        }
        _ => Err(occupied()),
    }
}

fn is_in_the_making(stat: &FileStat) -> bool {
    // The setgid bit comes from the directory above.
    let mode = stat.st_mode & 0o7777 & !libc::S_ISGID;
    stat.st_uid == geteuid().as_raw() && mode == IN_THE_MAKING.bits()
}

/// Whether `name` in `parent` is the directory `dir`.
pub(super) fn leads_to(parent: &OwnedFd, name: &CStr, dir: &OwnedFd) -> Result<bool> {
    match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => Ok(false),
        stat => {
            let stat = stat?;
            Ok((stat.st_dev, stat.st_ino) == remove::id(dir)?)
        }
    }
}

/// Renames the directory `dir` from `name` to `new`, both in `parent`, with `rename`. If something else was
/// under its name by then, that gets its name back.
///
/// # Errors
///
/// `Kind::State` if something else was under its name.
pub(super) fn rename_dir(
    parent: &OwnedFd,
    name: &CStr,
    new: &CStr,
    dir: &OwnedFd,
    rename: impl Fn(&CStr, &CStr) -> nix::Result<()>,
) -> Result<()> {
    rename(name, new)?;
    let is_ours = leads_to(parent, new, dir);
    if matches!(is_ours, Ok(true)) {
        return Ok(());
    }
    let _ = rename_to_free(parent, new, name);
    is_ours.and_then(|_| Err(replaced()))
}

/// Renames `name` to `new`, both in `parent`, where nothing has the new name.
pub(super) fn rename_to_free(parent: &OwnedFd, name: &CStr, new: &CStr) -> nix::Result<()> {
    match rename_new(parent.as_fd(), name, parent.as_fd(), new) {
        // The filesystem has no such rename.
        Err(Errno::EINVAL) => renameat(parent, name, parent, new),
        moved => moved,
    }
}

fn replaced() -> Error {
    let error = fail!(Kind::State, "another directory took its place");
    error.with_hint("somebody who may write to the directory above has moved it: choose another place")
}

pub(super) fn lock(dir: OwnedFd) -> Result<Lock<OwnedFd>> {
    Lock::try_now(dir).map_err(|errno| match errno {
        Errno::EWOULDBLOCK => fail!(Kind::Exists, "another process is at work there"),
        errno => errno.into(),
    })
}

/// Locks a bundle as `lock` does, and waits for the process that is at work there.
pub(super) fn wait_for_lock(dir: &OwnedFd) -> Result<Lock<OwnedFd>> {
    let own = dir.try_clone().context("lock the bundle")?;
    Lock::wait(own).context("lock the bundle")
}

/// Makes and locks the staging directory, empty.
fn make_locked_dir(parent: &OwnedFd, name: &CStr) -> Result<Lock<OwnedFd>> {
    let lock = loop {
        match mkdirat(parent, name, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        match lock_ours(parent, name)? {
            Some(lock) if leads_to(parent, name, &lock)? => break lock,
            // Another process has just put it in its place, or removed it.
            _ => {}
        }
    };
    // Inherited from a parent with a default ACL or the setgid bit, they would change the modes and groups of
    // new files.
    drop_inherited_acl(lock.as_fd())?;
    // Before it is emptied: from here on nobody else can put anything there.
    mark_in_the_making(&lock)?;
    overlay::detach(&proc_path(lock.as_fd(), c"rootfs"))?;
    remove::empty(&lock)?;
    Ok(lock)
}

/// Opens and locks an existing staging directory of this name; None if there is none.
///
/// # Errors
///
/// `Kind::Exists` if another process has locked it, or if it is not the leftover of a run by this user.
pub(super) fn lock_ours(parent: &OwnedFd, name: &CStr) -> Result<Option<Lock<OwnedFd>>> {
    let foreign = || {
        let error = fail!(Kind::Exists, "it is there already, and not what an earlier run of this user left");
        error.with_hint("look at it, and remove it by hand if nobody needs it")
    };
    let dir = match open_dir(parent.as_fd(), name) {
        Err(Errno::ENOENT) => return Ok(None),
        Err(Errno::ENOTDIR | Errno::ELOOP) => return Err(foreign()),
        dir => dir?,
    };
    let lock = lock(dir)?;
    let stat = fstat(&*lock)?;
    let is_new = stat.st_uid == geteuid().as_raw() && remove::is_empty(&lock)?;
    if is_new || is_in_the_making(&stat) { Ok(Some(lock)) } else { Err(foreign()) }
}
