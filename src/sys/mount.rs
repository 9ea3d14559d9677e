//! Mounts by descriptor: fsopen(2), fsconfig(2), fsmount(2), open_tree(2), move_mount(2), KERNEL(5.2), and
//! mount_setattr(2), KERNEL(5.12).

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::null;

use super::{Result, check};
use crate::kernel::mount::Attributes;

const FSOPEN_CLOEXEC: c_uint = 1;
const FSMOUNT_CLOEXEC: c_uint = 1;
const FSCONFIG_SET_FLAG: c_uint = 0;
const FSCONFIG_SET_STRING: c_uint = 1;
const FSCONFIG_CMD_CREATE: c_uint = 6;
const OPEN_TREE_CLONE: c_uint = 1;
const OPEN_TREE_NAMESPACE: c_uint = 2;
const OPEN_TREE_CLOEXEC: c_uint = libc::O_CLOEXEC as c_uint;
const MOVE_MOUNT_F_EMPTY_PATH: c_uint = 4;
const MOVE_MOUNT_T_EMPTY_PATH: c_uint = 0x40;

fn owned(result: libc::c_long) -> Result<OwnedFd> {
    // SAFETY: on success the kernel has just made this descriptor for us; nobody else owns it.
    check(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// Opens a filesystem context for `fstype`.
pub fn fsopen(fstype: &CStr) -> Result<OwnedFd> {
    // SAFETY: a NUL-terminated string that the kernel only reads.
    owned(unsafe { libc::syscall(libc::SYS_fsopen, fstype.as_ptr(), FSOPEN_CLOEXEC) })
}

fn fsconfig(
    context: BorrowedFd<'_>,
    command: c_uint,
    key: *const c_char,
    value: *const c_char,
) -> Result<()> {
    // SAFETY: key and value are null or NUL-terminated strings of the callers below; the kernel only reads
    // them.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key, value, 0) }).map(drop)
}

/// Sets one option: `key=value`, or the bare flag `key`.
pub fn fsconfig_set(context: BorrowedFd<'_>, key: &CStr, value: Option<&CStr>) -> Result<()> {
    match value {
        Some(value) => fsconfig(context, FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr()),
        None => fsconfig(context, FSCONFIG_SET_FLAG, key.as_ptr(), null()),
    }
}

/// Makes the superblock.
pub fn fsconfig_create(context: BorrowedFd<'_>) -> Result<()> {
    fsconfig(context, FSCONFIG_CMD_CREATE, null(), null())
}

/// Makes a detached mount of the context's superblock, with `attributes` (MOUNT_ATTR_*).
pub fn fsmount(context: BorrowedFd<'_>, attributes: u64) -> Result<OwnedFd> {
    // SAFETY: numbers only.
    owned(unsafe {
        libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes as c_uint)
    })
}

/// Makes a detached copy of the mount at `path`, including the mounts below it if `recursive`.
pub fn open_tree_clone(
    dir: BorrowedFd<'_>,
    path: &CStr,
    recursive: bool,
    at_flags: c_int,
) -> Result<OwnedFd> {
    let mut flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | at_flags as c_uint;
    if recursive {
        flags |= libc::AT_RECURSIVE as c_uint;
    }
    if path.is_empty() {
        flags |= libc::AT_EMPTY_PATH as c_uint;
    }
    // SAFETY: a NUL-terminated string that the kernel only reads.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) })
}

/// Makes a mount namespace that has a copy of the tree at `path` alone, KERNEL(7.0): setns(2) enters it.
///
/// # Errors
/// EINVAL if the kernel does not know the flag.
pub fn open_tree_namespace(path: &CStr) -> Result<OwnedFd> {
    let flags = OPEN_TREE_NAMESPACE | OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as c_uint;
    // SAFETY: a NUL-terminated string that the kernel only reads.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

/// Makes a tree of detached mounts a slave, as the kernel does with the mounts that a new mount namespace of another user
/// namespace gets from ours: what is mounted inside must not travel back.
pub fn enslave(tree: BorrowedFd<'_>) -> Result<()> {
    let slave = Attributes { propagation: libc::MS_SLAVE, ..Attributes::default() };
    mount_setattr(tree, slave, None, true)
}

/// Attaches the mount `from` at the directory or file `to`. Both are descriptors: nothing is looked up.
pub fn move_mount(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are the empty literal.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from.as_raw_fd(),
            c"".as_ptr(),
            to.as_raw_fd(),
            c"".as_ptr(),
            flags,
        )
    })
    .map(drop)
}

/// Reads all ST_* flags of a mount; libraries leave out the newer ones.
pub fn mount_flags(mount: BorrowedFd<'_>) -> Result<u64> {
    // SAFETY: plain data for which zero is valid; the kernel writes one struct into it.
    unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        check(libc::fstatvfs(mount.as_raw_fd(), &raw mut stat).into())?;
        Ok(stat.f_flag)
    }
}

/// Returns the number of the mount that `fd` is on: statx(2) with STATX_MNT_ID, KERNEL(5.8); 0 on older
/// kernels.
pub fn mount_id(fd: BorrowedFd<'_>) -> Result<u64> {
    Ok(statx_mount(fd)?.stx_mnt_id)
}

/// Whether `fd` is the root of the mount that it is on: STATX_ATTR_MOUNT_ROOT, KERNEL(5.8). False before it.
pub fn is_mount_root(fd: BorrowedFd<'_>) -> Result<bool> {
    let attribute = libc::STATX_ATTR_MOUNT_ROOT as u64;
    Ok(statx_mount(fd)?.stx_attributes & attribute != 0)
}

fn statx_mount(fd: BorrowedFd<'_>) -> Result<libc::statx> {
    // SAFETY: statx is plain data for which zero is valid.
    let mut statx: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: an empty literal and a struct of the kernel's size, which both outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_statx,
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_MNT_ID,
            &raw mut statx,
        )
    })?;
    Ok(statx)
}

/// Changes attributes of the mount whose root is `mount`: mount_setattr(2). `userns` is the descriptor for
/// MOUNT_ATTR_IDMAP.
pub fn mount_setattr(
    mount: BorrowedFd<'_>,
    change: Attributes,
    userns: Option<BorrowedFd<'_>>,
    recursive: bool,
) -> Result<()> {
    let attr = libc::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: userns.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: attr is a live struct of the size given, the path is the empty literal; the kernel only reads
    // them.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            (&raw const attr).cast::<c_void>(),
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// Calls pivot_root(".", put_old): the working directory becomes the root, and the old root is mounted on its
/// directory `put_old`.
pub fn pivot_onto(put_old: &CStr) -> Result<()> {
    // SAFETY: a literal and a NUL-terminated string, which the kernel only reads.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), put_old.as_ptr()) }).map(drop)
}

/// Calls pivot_root(".", "."): the working directory becomes the root, and the old root is mounted over it.
pub fn pivot_here() -> Result<()> {
    // SAFETY: two literals.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) }).map(drop)
}
