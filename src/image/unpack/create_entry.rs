//! Applies one entry of a layer: makes a new file by its name in an open directory and sets its metadata
//! through its own descriptor. The owner is set first, because chown(2) clears setuid bits and file
//! capabilities; then mode, extended attributes, and last the times, because the other calls change them.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, fchmod, futimens, makedev, mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::sys::uio::pwrite;
use nix::unistd::{Gid, Uid, fchown, fchownat, ftruncate, linkat, symlinkat};

use super::layers_below::LinkTarget;
use super::tree::{Dir, Times, Tree, stat};
use super::zero_blocks;
use crate::error::{Context, Kind, Result};
use crate::image::archive::path::{clean, split};
use crate::image::archive::{Archive, Entry, EntryKind, Input, SparseMap};
use crate::image::filesystem::dir::{open_dir, proc_path};
use crate::image::filesystem::xattrs::{SELINUX, drop_inherited_acl, drop_inherited_acl_by_name};
use crate::sys::xattr::{flistxattr, fremovexattr, fsetxattr, lsetxattr};
use crate::weak::{Defence, stands};
use crate::{fail, log};

/// Applies `entry`, whose clean path is `path`. Its data is read from `archive`.
pub(crate) fn apply<R: Input>(
    tree: &mut Tree,
    archive: &mut Archive<R>,
    entry: &Entry,
    path: &[u8],
) -> Result<()> {
    if path.is_empty() {
        return apply_root(tree, entry);
    }
    let (dir, name) = tree.open_parent(path).context("open its directory")?;
    // A hard link to itself replaces nothing.
    if !matches!(entry.kind, EntryKind::Directory | EntryKind::HardLink) {
        record_replaced(tree, path);
    }
    match entry.kind {
        EntryKind::Regular => create_file(tree, archive, entry, &dir, &name)?,
        EntryKind::Directory => create_directory(tree, entry, path, &dir, &name)?,
        EntryKind::Symlink => create_symlink(tree, entry, &dir, &name)?,
        EntryKind::HardLink => create_hard_link(tree, entry, path, &dir, &name)?,
        EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Fifo => {
            create_node(tree, entry, &dir, &name)?;
        }
    }
    tree.record_created(&dir, &name);
    Ok(())
}

/// Applies an entry for the root itself, which sets attributes but cannot replace the root (CVE-2021-29136).
fn apply_root(tree: &mut Tree, entry: &Entry) -> Result<()> {
    if !stands(Defence::RootEntry) && entry.kind == EntryKind::Symlink {
        return replace_root(tree, entry);
    }
    if entry.kind != EntryKind::Directory {
        return Err(fail!(Kind::Spec, "the root can only be a directory"));
    }
    let fd = tree.root().resolve(c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY).context("open the root")?;
    replace_metadata(tree, entry, fd.as_fd())?;
    tree.has_root_entry = true;
    tree.clear_dir_cache();
    let dir = tree.cache_dir(b"", fd).context("look at the root")?;
    tree.defer_times(&dir, b"", times(entry));
    Ok(())
}

/// What CVE-2021-29136 was: the root becomes what the entry says.
fn replace_root(tree: &mut Tree, entry: &Entry) -> Result<()> {
    // From the directory that the root is in.
    let target = c_string(&[b"../", &entry.link[..]].concat())?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let root = openat(tree.root(), target.as_c_str(), flags, Mode::empty());
    tree.clear_dir_cache();
    tree.replace_root(root.context("follow the root")?);
    Ok(())
}

/// Calls `make`; if a file of that name exists, removes it and calls `make` again. `call` names it in errors.
fn replacing<T>(
    tree: &mut Tree,
    dir: &Dir,
    name: &CStr,
    call: &'static str,
    mut make: impl FnMut() -> nix::Result<T>,
) -> Result<T> {
    match make() {
        Err(Errno::EEXIST) => {
            tree.remove_existing(dir, name).context("remove what was there")?;
            make().context(call)
        }
        other => other.context(call),
    }
}

fn create_file<R: Input>(
    tree: &mut Tree,
    archive: &mut Archive<R>,
    entry: &Entry,
    dir: &Rc<Dir>,
    name: &CStr,
) -> Result<()> {
    // The mode given to open is final where nothing can change it afterwards: one call less for nearly every
    // file.
    let owned_by_process = (entry.uid, entry.gid) == tree.process_ids && !dir.has_setgid;
    let open_mode_is_final = owned_by_process && entry.mode & 0o7000 == 0 && !tree.has_default_acl;
    let mode = Mode::from_bits_truncate(if open_mode_is_final { entry.mode } else { 0o600 });
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = replacing(tree, dir, name, "open", || openat(dir.as_fd(), name, flags, mode))?;
    match &entry.sparse {
        Some(map) => write_sparse(archive, map, fd.as_fd())?,
        None => write_contents(archive, fd.as_fd())?,
    }
    if tree.has_default_acl {
        drop_inherited_acl(fd.as_fd()).context("remove the inherited access list")?;
    }
    if !owned_by_process {
        fchown(&fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid))).context("fchown")?;
    }
    if !open_mode_is_final {
        fchmod(&fd, Mode::from_bits_truncate(entry.mode)).context("fchmod")?;
    }
    set_xattrs(tree, entry, |name, value| fsetxattr(fd.as_fd(), name, value))?;
    let (atime, mtime) = times(entry);
    futimens(&fd, &atime, &mtime).context("futimens")
}

/// Writes a file's data; blocks of zeros become holes, so that a large empty file takes no disk space.
fn write_contents<R: Input>(archive: &mut Archive<R>, fd: BorrowedFd<'_>) -> Result<()> {
    let (mut at, mut ends_in_zeros) = (0, false);
    loop {
        let chunk = archive.data()?;
        if chunk.is_empty() {
            break;
        }
        let (mut count, is_zero) = zero_blocks::leading_run(chunk, at);
        if !is_zero {
            count = pwrite(fd, &chunk[..count], at.cast_signed()).context("write")?;
        }
        archive.consume(count);
        at += count as u64;
        ends_in_zeros = is_zero;
    }
    if ends_in_zeros { ftruncate(fd, at.cast_signed()).context("ftruncate") } else { Ok(()) }
}

/// Writes the data ranges of a sparse file; the rest stays holes.
fn write_sparse<R: Input>(archive: &mut Archive<R>, map: &SparseMap, fd: BorrowedFd<'_>) -> Result<()> {
    for &(start, length) in &map.ranges {
        let mut at = start;
        while at < start + length {
            let chunk = archive.data()?;
            let most = usize::try_from(start + length - at).unwrap_or(usize::MAX);
            let count = pwrite(fd, &chunk[..chunk.len().min(most)], at.cast_signed()).context("write")?;
            archive.consume(count);
            at += count as u64;
        }
    }
    ftruncate(fd, map.size.cast_signed()).context("ftruncate")
}

/// Applies a directory entry. An existing directory keeps its children and gets the attributes of this layer.
fn create_directory(tree: &mut Tree, entry: &Entry, path: &[u8], dir: &Rc<Dir>, name: &CStr) -> Result<()> {
    let mode = Mode::from_bits_truncate(0o700);
    let mut replaced = false;
    let existed = match mkdirat(dir.as_fd(), name, mode) {
        Ok(()) => false,
        Err(Errno::EEXIST) => {
            let found = stat(dir, name).context("look at what was there")?.st_mode & libc::S_IFMT;
            if found != libc::S_IFDIR {
                tree.remove_existing(dir, name).context("remove what was there")?;
                mkdirat(dir.as_fd(), name, mode).context("mkdir")?;
                replaced = true;
            }
            found == libc::S_IFDIR
        }
        Err(errno) => return Err(errno).context("mkdir"),
    };
    let fd = open_dir(dir.as_fd(), name).context("open")?;
    if existed {
        replace_metadata(tree, entry, fd.as_fd())?;
        // Kept descriptors of the same directory remember its old mode.
        tree.clear_dir_cache();
    } else {
        set_metadata(tree, entry, fd.as_fd(), !dir.has_setgid)?;
    }
    if let Some(single) = &mut tree.single_layer {
        single.record_dir_entry(path);
    }
    if replaced {
        tree.hide_lower(dir, name).context("make it opaque")?;
    }
    let made = tree.cache_dir(path, fd).context("look at it")?;
    tree.defer_times(&made, path, times(entry));
    Ok(())
}

/// Removes the extended attributes that an earlier layer gave the directory.
fn replace_metadata(tree: &mut Tree, entry: &Entry, fd: BorrowedFd<'_>) -> Result<()> {
    let names = match flistxattr(fd) {
        Err(Errno::ENOTSUP) => Vec::new(),
        names => names.context("list extended attributes")?,
    };
    for name in names.split_inclusive(|&byte| byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        let kept = name.to_bytes() == SELINUX
            || tree.single_layer.as_ref().is_some_and(|single| single.is_opaque_xattr(name));
        if !kept {
            fremovexattr(fd, name).with_context(|| format!("remove extended attribute {name:?}"))?;
        }
    }
    set_metadata(tree, entry, fd, false)
}

fn set_metadata(tree: &mut Tree, entry: &Entry, fd: BorrowedFd<'_>, is_ours: bool) -> Result<()> {
    if tree.has_default_acl {
        drop_inherited_acl(fd).context("remove the inherited access list")?;
    }
    if !is_ours || (entry.uid, entry.gid) != tree.process_ids {
        fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid))).context("fchown")?;
    }
    fchmod(fd, Mode::from_bits_truncate(entry.mode)).context("fchmod")?;
    set_xattrs(tree, entry, |name, value| fsetxattr(fd, name, value))
}

/// Makes a symlink with its target unchanged: this program never follows it outside the root.
fn create_symlink(tree: &mut Tree, entry: &Entry, dir: &Rc<Dir>, name: &CStr) -> Result<()> {
    let target = c_string(&entry.link)?;
    replacing(tree, dir, name, "symlink", || symlinkat(target.as_c_str(), dir.as_fd(), name))?;
    set_owner_by_name(tree, entry, dir, name)?;
    set_attributes_by_name(tree, entry, dir, name)
}

fn create_node(tree: &mut Tree, entry: &Entry, dir: &Rc<Dir>, name: &CStr) -> Result<()> {
    let kind = match entry.kind {
        EntryKind::CharDevice => SFlag::S_IFCHR,
        EntryKind::BlockDevice => SFlag::S_IFBLK,
        _ => SFlag::S_IFIFO,
    };
    let device = makedev(u64::from(entry.device.0), u64::from(entry.device.1));
    let mode = Mode::from_bits_truncate(entry.mode);
    let has_default_acl = tree.has_default_acl;
    replacing(tree, dir, name, "mknod", || mknodat(dir.as_fd(), name, kind, mode, device))?;
    if has_default_acl {
        drop_inherited_acl_by_name(dir.as_fd(), name).context("remove the inherited access list")?;
    }
    let changed = (entry.uid, entry.gid) != tree.process_ids || dir.has_setgid || has_default_acl;
    set_owner_by_name(tree, entry, dir, name)?;
    if changed {
        // This process has just made the file, so it is no symlink.
        let flags = nix::sys::stat::FchmodatFlags::FollowSymlink;
        nix::sys::stat::fchmodat(dir.as_fd(), name, mode, flags).context("fchmod")?;
    }
    set_attributes_by_name(tree, entry, dir, name)
}

/// Sets attributes and times of a file that must not be opened.
fn set_attributes_by_name(tree: &mut Tree, entry: &Entry, dir: &Rc<Dir>, name: &CStr) -> Result<()> {
    set_xattrs(tree, entry, |attribute, value| lsetxattr(&proc_path(dir.as_fd(), name), attribute, value))?;
    let (atime, mtime) = times(entry);
    utimensat(dir.as_fd(), name, &atime, &mtime, UtimensatFlags::NoFollowSymlink).context("utimens")
}

fn set_owner_by_name(tree: &Tree, entry: &Entry, dir: &Rc<Dir>, name: &CStr) -> Result<()> {
    if (entry.uid, entry.gid) != tree.process_ids || dir.has_setgid {
        let (uid, gid) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
        fchownat(dir.as_fd(), name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW).context("chown")?;
    }
    Ok(())
}

/// Makes a hard link to the file that is at the target's path now, without following symlinks. The metadata
/// is the target's.
fn create_hard_link(tree: &mut Tree, entry: &Entry, path: &[u8], dir: &Rc<Dir>, name: &CStr) -> Result<()> {
    let target = clean(&entry.link);
    let shown = || format!("link to \"{}\"", entry.link.escape_ascii());
    if target.is_empty() {
        return Err(fail!(Kind::Spec, "the root cannot be linked to")).with_context(shown);
    }
    let (above, last) = split(&target);
    let from = tree.find_dir(above).with_context(shown)?;
    let last = c_string(last)?;
    let place = tree.find_link_target(&target).with_context(shown)?;
    if let (LinkTarget::Below, Some(single)) = (place, &mut tree.single_layer) {
        single.needs_order |= stat(dir, name).is_ok();
        single.defer_link(path, target);
        return Ok(());
    }
    let from = from.filter(|_| place == LinkTarget::Here);
    let missing = || fail!(Kind::Spec, "there is no such file yet");
    let from = from.ok_or_else(missing).with_context(shown)?;
    if from.inode == dir.inode && last.as_c_str() == name {
        // A link to itself changes nothing, if the file exists.
        return match stat(dir, name) {
            Err(Errno::ENOENT) => Err(missing()).with_context(shown),
            found => found.map(drop).with_context(shown),
        };
    }
    record_replaced(tree, path);
    tree.count_copy(&from, &last);
    let link = || linkat(from.as_fd(), last.as_c_str(), dir.as_fd(), name, AtFlags::empty());
    let linked = match link() {
        Err(Errno::EEXIST) => {
            tree.remove_existing(dir, name).context("remove what was there")?;
            link()
        }
        linked => linked,
    };
    match linked {
        Err(Errno::ENOENT) => Err(missing()).with_context(shown),
        // A directory cannot be linked to. Over the layers below it may be none: it has no entry, and is a symlink
        // there.
        Err(Errno::EPERM) if tree.single_layer.is_some() && tree.find_dir(&target)?.is_some() => {
            tree.require_order();
            Ok(())
        }
        other => other.with_context(shown),
    }
}

/// Notes that something that is no directory takes a path.
fn record_replaced(tree: &mut Tree, path: &[u8]) {
    if let Some(single) = &mut tree.single_layer {
        single.record_replaced(path);
    }
}

fn set_xattrs(
    tree: &mut Tree,
    entry: &Entry,
    mut set: impl FnMut(&CStr, &[u8]) -> nix::Result<()>,
) -> Result<()> {
    for (name, value) in &entry.xattrs {
        if name == SELINUX {
            continue;
        }
        let c_name = match &tree.single_layer {
            Some(single) => c_string(&single.escape_xattr(name))?,
            None => c_string(name)?,
        };
        match set(&c_name, value) {
            Ok(()) => tree.has_default_acl |= name.starts_with(b"system.posix_acl"),
            // The filesystem has no extended attributes, or not this kind on such a file (user.* on a
            // symlink).
            Err(errno @ (Errno::ENOTSUP | Errno::EPERM))
                if errno == Errno::ENOTSUP || name.starts_with(b"user.") =>
            {
                let path = entry.name.escape_ascii();
                log::debug(format_args!("{path}: extended attribute {c_name:?} not set: {}", errno.desc()));
            }
            // This user namespace may not set the attribute: it belongs to a security module, or names ids
            // outside.
            Err(errno @ (Errno::EPERM | Errno::EACCES | Errno::EINVAL | Errno::EOVERFLOW))
                if tree.adapter.is_confined =>
            {
                let path = entry.name.escape_ascii();
                log::debug(format_args!("{path}: extended attribute {c_name:?} not set: {}", errno.desc()));
                tree.attributes_left_out += 1;
            }
            Err(errno) => return Err(errno).with_context(|| format!("set extended attribute {c_name:?}")),
        }
    }
    Ok(())
}

/// Converts times for the kernel; a missing access time becomes the modification time, so that each unpack
/// gives the same tree.
fn times(entry: &Entry) -> Times {
    let spec = |(seconds, nanos): (i64, u32)| TimeSpec::new(seconds, i64::from(nanos));
    (spec(entry.atime.unwrap_or(entry.mtime)), spec(entry.mtime))
}

fn c_string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| fail!(Kind::Spec, "\"{}\" has a NUL in it", bytes.escape_ascii()))
}
