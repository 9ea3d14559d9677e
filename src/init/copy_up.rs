//! Copies a directory's content into a new tmpfs, for the mount option `tmpcopyup`: by descriptor, symlinks kept as they are.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstatat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};

/// Copies all below `from` to `to`: types, modes, owners; not times.
pub(super) fn copy_tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let directory =
        openat(from, c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut listing = Dir::from_fd(directory)?;
    for entry in listing.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        copy_entry(from, to, name)?;
    }
    Ok(())
}

/// Copies what `from` has of this name, and all below it.
fn copy_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<(), Errno> {
    let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
    let kind = SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT);
    let owner = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    match kind {
        SFlag::S_IFLNK => symlinkat(&*readlinkat(from, name)?, to, name)?,
        SFlag::S_IFDIR => mkdirat(to, name, mode)?,
        SFlag::S_IFREG => copy_file(from, to, name, mode)?,
        _ => mknodat(to, name, kind, mode, stat.st_rdev)?,
    }
    fchownat(to, name, owner.0, owner.1, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if kind != SFlag::S_IFLNK {
        // Again: a change of owner takes the setuid bits away.
        fchmodat(to, name, mode, FchmodatFlags::FollowSymlink)?;
    }
    if kind == SFlag::S_IFDIR {
        let open = |at| {
            openat(
                at,
                name,
                OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
                Mode::empty(),
            )
        };
        let (from, to): (OwnedFd, OwnedFd) = (open(from)?, open(to)?);
        copy_tree(from.as_fd(), to.as_fd())?;
    }
    Ok(())
}

fn copy_file(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &std::ffi::CStr,
    mode: Mode,
) -> Result<(), Errno> {
    let source = openat(from, name, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let (mut source, mut copy) =
        (std::fs::File::from(source), std::fs::File::from(openat(to, name, flags, mode)?));
    std::io::copy(&mut source, &mut copy).map(drop).map_err(|error| crate::sys::errno_of(&error))
}
