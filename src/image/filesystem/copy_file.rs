//! Copies single files with their metadata.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstat, futimens, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, symlinkat};

use super::xattrs::{SELINUX, drop_inherited_acl, drop_inherited_acl_by_name, is_overlay_mark};
use crate::error::{Kind, Result};
use crate::fail;
use crate::sys::xattr::{fgetxattr, flistxattr, fsetxattr};

/// Copies `name` in the directory `from` to `to` in `into`: a file, symlink, device, FIFO or socket with its
/// owner, mode and times; a regular file with its extended attributes too.
///
/// # Errors
///
/// `Kind::Spec` for a directory; `Kind::System` if a system call fails.
pub(crate) fn copy_file(
    from: BorrowedFd<'_>,
    name: &CStr,
    stat: &FileStat,
    into: BorrowedFd<'_>,
    to: &CStr,
) -> Result<()> {
    let kind = stat.st_mode & libc::S_IFMT;
    match kind {
        libc::S_IFREG => return copy_regular_file(from, name, into, to),
        libc::S_IFDIR => return Err(fail!(Kind::Spec, "it is a directory")),
        libc::S_IFLNK => symlinkat(readlinkat(from, name)?.as_os_str(), into, to)?,
        _ => {
            let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
            mknodat(into, to, SFlag::from_bits_truncate(kind), mode, stat.st_rdev)?;
        }
    }
    let (uid, gid) = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    if kind != libc::S_IFLNK {
        drop_inherited_acl_by_name(into, to)?;
        // An inherited ACL has changed the mode.
        let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
        fchmodat(into, to, mode, FchmodatFlags::NoFollowSymlink)?;
    }
    fchownat(into, to, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let (atime, mtime) = times(stat);
    Ok(utimensat(into, to, &atime, &mtime, UtimensatFlags::NoFollowSymlink)?)
}

fn copy_regular_file(from: BorrowedFd<'_>, name: &CStr, into: BorrowedFd<'_>, to: &CStr) -> Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut from = File::from(openat(from, name, flags, Mode::empty())?);
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut to = File::from(openat(into, to, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
    copy_bytes(&mut from, &mut to)?;
    Ok(copy_attributes(from.as_fd(), to.as_fd())?)
}

fn copy_bytes(from: &mut File, to: &mut File) -> Result<()> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => to.write_all(&buffer[..count])?,
        }
    }
}

/// Copies owner, mode, extended attributes and times of an open file or directory. The overlay's own
/// attributes say nothing of the file, and `security.selinux` belongs to the host's policy: they are left
/// out.
pub(crate) fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> nix::Result<()> {
    let stat = fstat(from)?;
    drop_inherited_acl(to)?;
    set_owner_and_mode(to, &stat)?;
    let names = match flistxattr(from) {
        Err(Errno::ENOTSUP) => Vec::new(),
        names => names?,
    };
    for name in names.split_inclusive(|&byte| byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if name.to_bytes() != SELINUX && !is_overlay_mark(name.to_bytes()) {
            fsetxattr(to, name, &fgetxattr(from, name)?)?;
        }
    }
    set_times(to, &stat)
}

/// Sets the owner first: chown(2) clears the setuid and setgid bits.
pub(crate) fn set_owner_and_mode(fd: BorrowedFd<'_>, stat: &FileStat) -> nix::Result<()> {
    fchown(fd, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(fd, Mode::from_bits_truncate(stat.st_mode & 0o7777))
}

/// Sets access and modification time.
pub(crate) fn set_times(fd: BorrowedFd<'_>, stat: &FileStat) -> nix::Result<()> {
    let (atime, mtime) = times(stat);
    futimens(fd, &atime, &mtime)
}

fn times(stat: &FileStat) -> (TimeSpec, TimeSpec) {
    (TimeSpec::new(stat.st_atime, stat.st_atime_nsec), TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec))
}
