//! Copies a directory's content into a new tmpfs, for the mount option `tmpcopyup`: by descriptor, with
//! symlinks kept as they are.
//!
//! Others who see the source may change it meanwhile. Nobody can change the new tmpfs, because it is attached
//! nowhere yet. So each entry is judged by its opened descriptor, and only a judged entry is opened for
//! reading: a FIFO in a file's place would block for ever, and opening a device could have side effects.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::{Dir, OwningIter};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchown, fchownat, symlinkat};

use crate::weak::{Defence, stands};

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A directory that is being copied. The directories on the way down are kept in a list, without recursion:
/// an image may nest deeper than the stack.
struct Level {
    from: OwnedFd,
    to: OwnedFd,
    listing: OwningIter,
}

/// Copies everything below `from` to `to`: types, modes and owners, but not times.
pub(super) fn copy_tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut levels = vec![level(from, to, c".")?];
    while let Some(current) = levels.last_mut() {
        let Some(entry) = current.listing.next() else {
            levels.pop();
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if copy_entry(current.from.as_fd(), current.to.as_fd(), name)? == SFlag::S_IFDIR {
            let subdirectory = level(current.from.as_fd(), current.to.as_fd(), name)?;
            levels.push(subdirectory);
        }
    }
    Ok(())
}

fn level(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<Level, Errno> {
    let from = openat(from, name, DIRECTORY, Mode::empty())?;
    let to = openat(to, name, DIRECTORY, Mode::empty())?;
    // The list gets a descriptor of its own, because it takes that over.
    let listing = Dir::from_fd(openat(&from, c".", DIRECTORY, Mode::empty())?)?.into_iter();
    Ok(Level { from, to, listing })
}

/// Copies the entry `name` of `from`, without what is below it. Returns its type.
fn copy_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<SFlag, Errno> {
    let path = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let source = openat(from, name, path, Mode::empty())?;
    let stat = fstat(&source)?;
    let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
    let kind = SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT);
    let (uid, gid) = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    match kind {
        SFlag::S_IFDIR => {
            mkdirat(to, name, mode)?;
            set_owner_and_mode(&openat(to, name, DIRECTORY, Mode::empty())?, uid, gid, mode)?;
        }
        SFlag::S_IFREG => set_owner_and_mode(&copy_file(from, to, name, &stat)?, uid, gid, mode)?,
        _ => {
            match kind {
                SFlag::S_IFLNK => symlinkat(&*readlinkat(&source, c"")?, to, name)?,
                _ => mknodat(to, name, kind, mode, stat.st_rdev)?,
            }
            fchownat(to, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(kind)
}

/// Sets the owner, then the mode: a change of owner clears the setuid bits.
fn set_owner_and_mode(made: &impl AsFd, uid: Option<Uid>, gid: Option<Gid>, mode: Mode) -> Result<(), Errno> {
    fchown(made, uid, gid)?;
    fchmod(made, mode)
}

/// Copies a file that has been judged. Fails with ESTALE if the name belongs to another file by now.
fn copy_file(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    judged: &libc::stat,
) -> Result<File, Errno> {
    let mut flags =
        OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    if !stands(Defence::JudgedCopy) {
        flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    }
    let mut source = File::from(openat(from, name, flags, Mode::empty())?);
    let opened = fstat(&source)?;
    if stands(Defence::JudgedCopy)
        && (opened.st_dev, opened.st_ino, opened.st_mode & libc::S_IFMT)
            != (judged.st_dev, judged.st_ino, libc::S_IFREG)
    {
        return Err(Errno::ESTALE);
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut copy = File::from(openat(to, name, flags, Mode::from_bits_truncate(0o600))?);
    std::io::copy(&mut source, &mut copy).map_err(|error| crate::sys::errno_of(&error))?;
    Ok(copy)
}
