//! Opens, reads, renames and clones files with calls that `nix` has no wrapper for, above all openat2(2).

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FchmodatFlags, Mode};
use nix::unistd::{Gid, Uid};

use super::{Result, check, uninterrupted};

/// Flags of openat2(2) that restrict path resolution.
pub use libc::{
    RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV,
};

/// Returns when a file was made, in seconds and nanoseconds since 1970: statx(2) with STATX_BTIME. `None` if
/// its filesystem does not store that. (The standard library asks for it only with glibc.)
pub fn creation_time(path: &CStr) -> Result<Option<(i64, u32)>> {
    // SAFETY: statx is plain data for which zero is valid.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: a NUL-terminated string and a struct of the kernel's size, which both outlive the call.
    check(unsafe {
        libc::syscall(libc::SYS_statx, libc::AT_FDCWD, path.as_ptr(), 0, libc::STATX_BTIME, &raw mut stat)
    })?;
    let is_kept = stat.stx_mask & libc::STATX_BTIME != 0;
    Ok(is_kept.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)))
}

/// Reads one byte from `fd`.
///
/// # Errors
/// Those of read(2), except EINTR, after which it reads again.
pub(crate) fn read_byte(fd: BorrowedFd<'_>) -> Result<()> {
    uninterrupted(|| nix::unistd::read(fd, &mut [0])).map(drop)
}

/// Renames a file to an unused name: renameat2(2) with RENAME_NOREPLACE. (nix has it only with glibc.)
///
/// # Errors
/// EEXIST if the new name is in use.
pub fn rename_new(from: BorrowedFd<'_>, name: &CStr, to: BorrowedFd<'_>, new: &CStr) -> Result<()> {
    // SAFETY: two NUL-terminated strings that live across the call, and numbers.
    check(unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            from.as_raw_fd(),
            name.as_ptr(),
            to.as_raw_fd(),
            new.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    })
    .map(drop)
}

/// Exchanges two names of a directory: renameat2(2) with RENAME_EXCHANGE. EINVAL if the filesystem does not
/// support that.
pub fn exchange(dir: BorrowedFd<'_>, one: &CStr, other: &CStr) -> Result<()> {
    exchange_between(dir, one, dir, other)
}

/// Exchanges like [`exchange`], a name in `dir` and one in `beside`.
pub fn exchange_between(dir: BorrowedFd<'_>, one: &CStr, beside: BorrowedFd<'_>, other: &CStr) -> Result<()> {
    // SAFETY: two NUL-terminated strings that live across the call, and numbers.
    check(unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            dir.as_raw_fd(),
            one.as_ptr(),
            beside.as_raw_fd(),
            other.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    })
    .map(drop)
}

/// The number of fchmodat2(2). It is the same on every architecture, but libc lacks it for some.
const SYS_FCHMODAT2: libc::c_long = 452;

/// Changes the mode of an opened file; O_PATH is enough. No name is looked up, because it could lead
/// elsewhere by now. KERNEL(6.6) has fchmodat2(2) for this; on older kernels it is done through the link in
/// /proc, which is the kernel's own.
pub fn chmod_opened(fd: BorrowedFd<'_>, mode: u32) -> Result<()> {
    // SAFETY: an empty literal and numbers.
    let changed = check(unsafe {
        libc::syscall(SYS_FCHMODAT2, fd.as_raw_fd(), c"".as_ptr(), mode, libc::AT_EMPTY_PATH)
    });
    match changed {
        Err(Errno::ENOSYS) => {
            let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let mode = Mode::from_bits_truncate(mode);
            nix::sys::stat::fchmodat(nix::fcntl::AT_FDCWD, &*link, mode, FchmodatFlags::FollowSymlink)
        }
        other => other.map(drop),
    }
}

/// Changes the owner of an opened file; O_PATH is enough.
pub fn chown_opened(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    nix::unistd::fchownat(fd, c"", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)
}

/// How often openat2(2) is asked again: some tens of milliseconds.
const MOST_REFUSED: u32 = 100_000;

/// Opens a file with openat2(2), KERNEL(5.6). Adds O_CLOEXEC to `flags`.
pub fn openat2(dir: BorrowedFd<'_>, path: &CStr, flags: i32, mode: u32, resolve: u64) -> Result<OwnedFd> {
    // SAFETY: open_how is plain data for which zero is valid; it may only be made this way (non_exhaustive).
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.mode = u64::from(mode);
    how.resolve = resolve;
    let mut refused = 0;
    loop {
        // SAFETY: path is NUL-terminated, how is a live struct of the size given; the kernel only reads them.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                dir.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                std::mem::size_of::<libc::open_how>(),
            )
        };
        match check(fd) {
            // EAGAIN: the kernel saw a rename during an IN_ROOT lookup and asks to try again (man openat2).
            // Not for ever: a seccomp filter may answer so, and others may rename without end.
            Err(Errno::EAGAIN | Errno::EINTR) if refused < MOST_REFUSED => refused += 1,
            // SAFETY: a descriptor that the kernel has just made for us, owned by nobody else.
            other => return other.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) }),
        }
    }
}

/// Whether our caller passed us the descriptor with this number: every descriptor that we open ourselves is
/// close-on-exec.
pub fn is_inherited(number: i32) -> bool {
    // SAFETY: reads a flag of a number, whatever it stands for.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC == 0
}

/// Takes a descriptor that this process was started with, once; it is closed by execve(2) from now on.
///
/// # Errors
/// EBADF if it is not there, or was taken already.
pub fn take_inherited(number: i32) -> Result<OwnedFd> {
    if !is_inherited(number) {
        return Err(Errno::EBADF);
    }
    // SAFETY: changes a flag of a number.
    super::check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) }.into())?;
    // SAFETY: it is open and was not opened by us, because everything that we open has FD_CLOEXEC; the flag that was set
    // above keeps it from being taken twice.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Reads a whole file that is small and has no size, as in /proc, /sys and the control groups. std first asks
/// for size and position, and then reads 32 bytes at a time.
pub fn read_small(file: impl AsFd) -> Result<Vec<u8>> {
    const STEP: usize = 4096;
    let (mut bytes, mut length) = (vec![0; STEP], 0);
    loop {
        match uninterrupted(|| nix::unistd::read(&file, &mut bytes[length..])) {
            Ok(0) => break,
            Ok(more) => {
                length += more;
                // The kernel writes such files page by page and line by line, so such a short piece is the
                // last.
                if more < STEP / 2 {
                    break;
                }
            }
            Err(errno) => return Err(errno),
        }
        if bytes.len() - length < STEP / 2 {
            bytes.resize(bytes.len() * 2, 0);
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Reads such a file by its path, like [`read_small`].
pub fn read_small_at<P: ?Sized + nix::NixPath>(path: &P) -> Result<Vec<u8>> {
    // openat and not open: musl's open makes a second call to set O_CLOEXEC, which very old kernels ignored.
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    read_small(nix::fcntl::openat(nix::fcntl::AT_FDCWD, path, flags, Mode::empty())?)
}

/// Clones a file with ioctl_ficlone(2): `to` shares all blocks of `from`.
pub fn clone_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: two descriptors, given as numbers.
    check(unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE, from.as_raw_fd()) }.into()).map(drop)
}

/// Returns descriptors 0, 1 and 2, whatever they are. The program's entry has made sure that they are open.
pub fn standard_streams() -> [BorrowedFd<'static>; 3] {
    // SAFETY: nothing in this program closes 0, 1 or 2, so they stay open for as long as it runs.
    [0, 1, 2].map(|fd| unsafe { BorrowedFd::borrow_raw(fd) })
}
