//! Removing a bundle of either form, in a directory that others may change meanwhile.

use std::ffi::{CStr, CString};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, renameat};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, fstatat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, geteuid, unlinkat};

use super::staging::{leads_to, lock, lock_ours, mark_in_the_making};
use super::{BundleInfo, OverlayLayers, in_use};
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::filesystem::dir::{open_dir, proc_path};
use crate::image::filesystem::remove;
use crate::image::store::Store;
use crate::inroot::c_string;
use crate::sys::file::rename_new;

/// Removes a bundle: unmounts it first, and removes its record from the store.
///
/// # Errors
///
/// `Kind::State` if a container runs in the bundle, or something else is mounted there.
pub(crate) fn remove(bundle: &Path) -> Result<()> {
    let removing = || format!("remove {}", bundle.display());
    let path = bundle.canonicalize().with_context(|| format!("open {}", bundle.display()))?;
    let (parent, name) = (path.parent().unwrap_or(&path), path.file_name().unwrap_or_default());
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let parent = open(parent, flags, Mode::empty()).with_context(removing)?;
    let name = c_string(name.as_bytes())?;
    let dir = open_dir(parent.as_fd(), &name).with_context(removing)?;
    let info = BundleInfo::read_at(&dir, bundle)?;
    let _lock = lock(dir.try_clone()?).with_context(removing)?;
    in_use::check(&dir, &path, &info).with_context(removing)?;
    let overlay = info.overlay.as_ref().filter(|overlay| is_our_store(overlay));
    let store = overlay.map(|overlay| Store::open(&overlay.store)).transpose().with_context(removing)?;
    unmount(&dir, &info).with_context(removing)?;
    let before = fstat(&dir).with_context(removing)?;
    let partial = withdraw(&parent, &name, &dir).with_context(removing)?;
    // Nobody finds the bundle by its name any more; somebody may have done so a moment before.
    let in_use = in_use::check(&dir, &path, &info);
    if let Err(error) = in_use {
        let _ = rename_new(parent.as_fd(), &partial, parent.as_fd(), &name);
        restore(&dir, &before);
        return Err(error).with_context(removing);
    }
    // Before the files are removed, which may take long: a new bundle made here meanwhile has its own record.
    store.map_or(Ok(()), |store| store.forget_bundle(&path))?;
    remove::empty(&dir).map_err(explain_busy).with_context(removing)?;
    unlinkat(&parent, partial.as_c_str(), UnlinkatFlags::RemoveDir).with_context(removing)
}

/// Whether the bundle's store belongs to this user. The bundle names its store and may be somebody else's, so a store
/// of another owner is neither made nor changed.
fn is_our_store(overlay: &OverlayLayers) -> bool {
    fs::symlink_metadata(&overlay.store)
        .is_ok_and(|store| store.is_dir() && store.uid() == geteuid().as_raw())
}

/// Unmounts the layers of an overlay bundle.
fn unmount(dir: &OwnedFd, info: &BundleInfo) -> Result<()> {
    let device = |stat: FileStat| stat.st_dev;
    let rootfs = match fstatat(dir, c"rootfs", AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => return Ok(()),
        stat => device(stat?),
    };
    if rootfs == device(fstat(dir)?) {
        return Ok(());
    }
    if info.overlay.is_none() {
        return Err(fail!(Kind::State, "something is mounted on its rootfs"));
    }
    let rootfs = proc_path(dir.as_fd(), c"rootfs");
    umount2(rootfs.as_c_str(), MntFlags::UMOUNT_NOFOLLOW).context("unmount its rootfs")
}

/// Renames the bundle `dir`, which is `name` in `parent`, to the name of a staging directory, and returns the new name.
/// If this process is killed afterwards, a staging directory remains, which the next bundle made here removes.
fn withdraw(parent: &OwnedFd, name: &CStr, dir: &OwnedFd) -> Result<CString> {
    let partial = c_string(&[b".", name.to_bytes(), b".partial"].concat())?;
    if let Some(old) = lock_ours(parent, &partial).with_context(|| partial.to_string_lossy().into_owned())? {
        remove::empty(&old).map_err(explain_busy)?;
        unlinkat(parent, partial.as_c_str(), UnlinkatFlags::RemoveDir)?;
    }
    let before = fstat(dir)?;
    mark_in_the_making(dir)?;
    let moved = match rename_new(parent.as_fd(), name, parent.as_fd(), &partial) {
        // The filesystem has no such rename.
        Err(Errno::EINVAL) => renameat(parent, name, parent, partial.as_c_str()),
        moved => moved,
    };
    let taken = moved.map_err(explain_busy).and_then(|()| match leads_to(parent, &partial, dir)? {
        true => Ok(()),
        false => {
            rename_new(parent.as_fd(), &partial, parent.as_fd(), name)?;
            Err(fail!(Kind::State, "another directory took its place"))
        }
    });
    taken.map(|()| partial).inspect_err(|_| restore(dir, &before))
}

/// Gives the bundle its owner and mode back.
fn restore(dir: &OwnedFd, stat: &FileStat) {
    let _ = fchown(dir, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    let _ = fchmod(dir, Mode::from_bits_truncate(stat.st_mode & 0o7777));
}

fn explain_busy(errno: Errno) -> Error {
    let error = Error::from(errno);
    if errno == Errno::EBUSY { error.with_hint("something is mounted inside the bundle") } else { error }
}
