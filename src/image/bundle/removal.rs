//! Removing a bundle of either form, in a directory that others may change meanwhile.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, fstatat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};

use super::BundleInfo;
use super::opened::Bundle;
use super::overlay::existing_store;
use super::staging::{leads_to, lock, lock_ours, mark_in_the_making, rename_dir, rename_to_free};
use super::traces::Traces;
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::filesystem::dir::{open_dir, proc_path};
use crate::image::filesystem::directory::Directory;
use crate::image::filesystem::{overlay, remove};
use crate::image::store::Store;
use crate::inroot::c_string;

/// Removes a bundle: unmounts it first, and removes its record from the store.
///
/// # Errors
///
/// `Kind::State` if a container runs in the bundle, or something else is mounted there.
pub(crate) fn remove(bundle: &Bundle) -> Result<()> {
    remove_opened(bundle).with_context(|| format!("remove {}", bundle.shown().display()))
}

/// Removes the bundle at `path`, complete or half made, and its record in the store. It is not looked whether
/// somebody uses it: the caller owns the directory that it is in, and has ended what ran there.
pub(crate) fn discard(store: &Store, path: &Path) -> Result<()> {
    let removing = || format!("remove {}", path.display());
    let parent = Directory::open(path.parent().unwrap_or(path))?;
    let name = path.file_name().unwrap_or_default().as_bytes();
    for name in [name.to_vec(), [b".", name, b".partial"].concat()] {
        let name = c_string(&name)?;
        match open_dir(parent.as_fd(), &name) {
            Err(Errno::ENOENT) => continue,
            dir => overlay::detach(&proc_path(dir.with_context(removing)?.as_fd(), c"rootfs"))?,
        }
        remove::tree(parent.as_fd(), &name).with_context(removing)?;
    }
    store.forget_bundle(path)
}

fn remove_opened(bundle: &Bundle) -> Result<()> {
    let (dir, path) = (bundle.dir(), bundle.path()?);
    // By the descriptor: the path leads to the bundle's own directory now, and may lead elsewhere soon.
    let parent = openat(dir, c"..", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let name = c_string(path.file_name().unwrap_or_default().as_bytes())?;
    if !leads_to(&parent, &name, dir)? {
        return Err(fail!(Kind::State, "another directory took its place"));
    }
    let _lock = lock(dir.try_clone()?)?;
    let mut traces = Traces::of(bundle)?;
    traces.refuse_if_in_use()?;
    // A bundle is removed without the store that it names, if that is gone or not ours any more.
    let store = bundle.info().overlay.as_ref().and_then(|overlay| existing_store(overlay).ok());
    unmount(dir, bundle.info())?;
    traces.forget_device();
    let before = fstat(dir)?;
    let partial = withdraw(&parent, &name, dir)?;
    // Nobody finds the bundle by its name any more; somebody may have done so a moment before.
    if let Err(error) = traces.follow(bundle).and_then(|()| traces.refuse_if_in_use()) {
        let rename = |from: &CStr, to: &CStr| rename_to_free(&parent, from, to);
        let _ = rename_dir(&parent, &partial, &name, dir, rename);
        restore(dir, &before);
        return Err(error);
    }
    // Before the files are removed, which may take long: a new bundle made here meanwhile has its own record.
    store.map_or(Ok(()), |store| store.forget_bundle(&path))?;
    remove::empty(dir).map_err(|errno| explain_busy(errno.into()))?;
    Ok(unlinkat(&parent, partial.as_c_str(), UnlinkatFlags::RemoveDir)?)
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

/// Renames the bundle `dir`, which is `name` in `parent`, to the name of a staging directory, and returns the
/// new name. If this process is killed afterwards, a staging directory remains, which the next bundle made
/// here removes.
fn withdraw(parent: &OwnedFd, name: &CStr, dir: &OwnedFd) -> Result<CString> {
    let partial = c_string(&[b".", name.to_bytes(), b".partial"].concat())?;
    if let Some(old) = lock_ours(parent, &partial).with_context(|| partial.to_string_lossy().into_owned())? {
        remove::empty(&old).map_err(|errno| explain_busy(errno.into()))?;
        unlinkat(parent, partial.as_c_str(), UnlinkatFlags::RemoveDir)?;
    }
    let before = fstat(dir)?;
    mark_in_the_making(dir)?;
    let rename = |from: &CStr, to: &CStr| rename_to_free(parent, from, to);
    let moved = rename_dir(parent, name, &partial, dir, rename).map_err(explain_busy);
    moved.map(|()| partial).inspect_err(|_| restore(dir, &before))
}

/// Gives the bundle its owner and mode back.
fn restore(dir: &OwnedFd, stat: &FileStat) {
    let _ = fchown(dir, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    let _ = fchmod(dir, Mode::from_bits_truncate(stat.st_mode & 0o7777));
}

fn explain_busy(error: Error) -> Error {
    match error.errno() {
        Some(Errno::EBUSY) => error.with_hint("something is mounted inside the bundle"),
        _ => error,
    }
}
