//! Makes the mounts of the plan one after the other. Each target is found by descriptor inside the rootfs.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::{SFlag, fstat};

use super::mount_error::{InCall, MountError};
use super::mount_target as target;
use super::place::Place;
use super::sync::{ask_for, ask_for_clone};
use super::{filesystem, mount_attributes as attributes};
use crate::handshake::{Acknowledgement, InStep, Message, Report, Step, SyncSocket};
use crate::inroot::Root;
use crate::kernel::mount::{Attributes, MOUNT_ATTR_RDONLY};
use crate::plan::mounts::{Mount, MountOperation};
use crate::sys::errno_of;
use crate::sys::mount::{mount_setattr, move_mount, open_tree_clone};
use crate::timeline::{NO_INDEX, Phase, begin_indexed};

/// The index of a mount that becomes read-only at the end, and the mount.
pub(super) type LateReadOnlyMount = (usize, OwnedFd);

/// Makes all mounts in their order: a later one may lie within an earlier one.
pub(super) fn mount_all(
    mounts: &[Mount],
    place: &mut Place<'_>,
    sources: &[Option<OwnedFd>],
    socket: &SyncSocket,
) -> Result<Vec<LateReadOnlyMount>, Report> {
    let mut late = Vec::new();
    for (index, mount) in mounts.iter().enumerate() {
        begin_indexed(Phase::Mount, mount.origin.index().unwrap_or(NO_INDEX));
        let source = sources.get(index).and_then(Option::as_ref);
        let mapped_source = mapped_inside(index, mount, place.root, socket)?;
        let mounted = match make_mount(mount, place, source.or(mapped_source.as_ref())) {
            Err(fail) if source.is_some() && pins_mount_namespace(&fail) => {
                make_mount(mount, place, Some(&ask_for_clone(index, socket)?))
            }
            other => other,
        };
        let mounted = mounted.map_err(|fail| fail.report(index))?;
        let Some(Made { mount: made, directory, covers }) = mounted else { continue };
        if mount.late_read_only {
            late.push((index, copy_of(&made).map_err(|fail| fail.report(index))?));
        }
        match covers {
            Some(covered) => place.cover(covered, made),
            None if directory => place.keep(mounts, index, made),
            None => {}
        }
    }
    target::check_proc(place.root, mounts)?;
    Ok(late)
}

/// Whether the kernel refuses a clone because a mount namespace is pinned in it that is older than ours, as snapd pins
/// some below /run: the two could keep each other alive. A clone of a copy of the host's mounts has none.
fn pins_mount_namespace(failed: &MountError) -> bool {
    failed.errno == Errno::ELOOP && failed.call == "move_mount"
}

/// Makes the mounts read-only that stayed writable while mount points were made below them.
pub(super) fn make_read_only(late: Vec<LateReadOnlyMount>) -> Result<(), Report> {
    let change = Attributes { set: MOUNT_ATTR_RDONLY, ..Attributes::default() };
    for (index, mount) in late {
        mount_setattr(mount.as_fd(), change, None, false).in_step(Step::Mount(index), "mount_setattr")?;
    }
    Ok(())
}

/// A mount, and the earlier mount that is now below it.
struct Made {
    mount: OwnedFd,
    directory: bool,
    covers: Option<usize>,
}

/// Makes one mount, or changes an existing one. `source` is a detached clone of a bind's source, if there is
/// one already.
fn make_mount(
    mount: &Mount,
    place: &Place<'_>,
    source: Option<&OwnedFd>,
) -> Result<Option<Made>, MountError> {
    match &mount.operation {
        MountOperation::Symlink { to } => symlink(place.root, &mount.target, to).map(|()| None),
        MountOperation::Remount => {
            let target = target::open(place, mount, OFlag::O_PATH)?;
            attributes::set_attributes(&target.fd, mount)?;
            Ok(Some(Made { mount: target.fd, directory: false, covers: None }))
        }
        MountOperation::Bind { .. } => bind(mount, place, source),
        MountOperation::Filesystem { .. } => mount_filesystem(mount, place),
    }
}

/// Binds a file or a directory. Returns the mount, or `None` if a symlink was copied instead.
fn bind(mount: &Mount, place: &Place<'_>, source: Option<&OwnedFd>) -> Result<Option<Made>, MountError> {
    let MountOperation::Bind {
        path,
        recursive,
        no_follow,
        copy_symlink,
        named,
        flags_locked: locked,
        source_in_rootfs: inside,
        ..
    } = &mount.operation
    else {
        return Ok(None);
    };
    let at_flags = if *no_follow { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
    let tree = match source {
        Some(fd) => copy_of(fd)?,
        None if *inside => clone_inside(place.root, path, *recursive, *no_follow)?,
        None => open_tree_clone(AT_FDCWD.as_fd(), path, *recursive, at_flags).call("open_tree")?,
    };
    let kind = target::kind_of(&tree)?;
    if *copy_symlink && kind == SFlag::S_IFLNK {
        return copy_link(place.root, &mount.target, path).map(|()| None);
    }
    let target = target::create_target(place, mount, kind)?;
    target.takes_bind(&tree)?;
    // The attributes come first, so that nobody ever sees the mount without them.
    attributes::set_named_attributes(&tree, mount, *named, *locked)?;
    attach(&tree, &target.fd)?;
    Ok(Some(Made { mount: tree, directory: kind == SFlag::S_IFDIR, covers: target.covers }))
}

/// Mounts a filesystem of the container's own. Returns the mount.
fn mount_filesystem(mount: &Mount, place: &Place<'_>) -> Result<Option<Made>, MountError> {
    let MountOperation::Filesystem { kind, source, parameters, inherit_mode, relabel, copy_up } =
        &mount.operation
    else {
        return Ok(None);
    };
    let target = target::create_target(place, mount, SFlag::S_IFDIR)?;
    target.takes_filesystem(kind)?;
    let mode = if *inherit_mode && !target.made { Some(mode_of(&target.fd)?) } else { None };
    let is_long = parameters.iter().any(filesystem::is_too_long);
    let new = match is_long {
        true => filesystem::make_by_mount(&target.fd, kind, source, parameters, mode)?,
        false => filesystem::make(kind, source, parameters, mode, mount)?,
    };
    if let Some(label) = relabel {
        super::label::set_on_filesystem(&new, label).call("set the SELinux label")?;
    }
    if *copy_up {
        super::copy_up::copy_tree(target.fd.as_fd(), new.as_fd()).call("copy up")?;
    }
    move_mount(new.as_fd(), target.fd.as_fd()).call("move_mount")?;
    // fsmount has already set the attributes of the mount alone.
    let more = !mount.recursive_attributes.is_empty() || !mount.propagation.is_empty();
    if is_long || more || mount.attributes.propagation != 0 {
        attributes::set_attributes(&new, mount)?;
    }
    Ok(Some(Made { mount: new, directory: true, covers: target.covers }))
}

/// Clones a source inside the rootfs, and lets the runtime map its ids: that needs rights to the filesystem
/// which only the runtime has.
fn mapped_inside(
    index: usize,
    mount: &Mount,
    root: &Root,
    socket: &SyncSocket,
) -> Result<Option<OwnedFd>, Report> {
    let MountOperation::Bind { path, recursive, no_follow, .. } = &mount.operation else { return Ok(None) };
    if !mount.is_mapped_by_runtime() {
        return Ok(None);
    }
    let tree = clone_inside(root, path, *recursive, *no_follow).map_err(|fail| fail.report(index))?;
    ask_for(Acknowledgement::MountMapped, &Message::MapMount(index, tree.as_fd()), socket)?;
    Ok(Some(tree))
}

/// Clones what the rootfs has at `path` now, with earlier mounts.
fn clone_inside(root: &Root, path: &CStr, recursive: bool, no_follow: bool) -> Result<OwnedFd, MountError> {
    let flags = if no_follow { OFlag::O_PATH | OFlag::O_NOFOLLOW } else { OFlag::O_PATH };
    let source = root.resolve(path, flags).call("open the source")?;
    open_tree_clone(source.as_fd(), c"", recursive, libc::AT_EMPTY_PATH).call("open_tree")
}

/// Attaches the mount. If one is a directory and the other is not, the error is mount(2)'s: EINVAL says too
/// little.
fn attach(tree: &OwnedFd, target: &OwnedFd) -> Result<(), MountError> {
    match move_mount(tree.as_fd(), target.as_fd()) {
        Err(Errno::EINVAL) if is_directory(tree)? != is_directory(target)? => Err(Errno::ENOTDIR),
        other => other,
    }
    .call("move_mount")
}

fn copy_of(fd: &OwnedFd) -> Result<OwnedFd, MountError> {
    fd.try_clone().map_err(|error| errno_of(&error)).call("dup")
}

fn is_directory(fd: &OwnedFd) -> Result<bool, MountError> {
    target::kind_of(fd).map(|kind| kind == SFlag::S_IFDIR)
}

fn mode_of(fd: &OwnedFd) -> Result<u32, MountError> {
    Ok(fstat(fd).call("fstat")?.st_mode & 0o7777)
}

fn symlink(root: &Root, path: &CStr, to: &CStr) -> Result<(), MountError> {
    let (parent, name) = root.open_or_make_parent(path, 0o755).call("open the link's directory")?;
    match nix::unistd::symlinkat(to, &parent, name.as_c_str()) {
        Err(Errno::EEXIST) => Ok(()),
        other => other.call("symlinkat"),
    }
}

/// Copies the symlink at the host's `from` to `path`.
fn copy_link(root: &Root, path: &CStr, from: &CStr) -> Result<(), MountError> {
    let to = nix::fcntl::readlink(from).call("readlink")?;
    let to = std::ffi::CString::new(std::os::unix::ffi::OsStringExt::into_vec(to)).unwrap_or_default();
    symlink(root, path, &to)
}
