//! Opens pseudo-terminal pairs by descriptor and sets size and mode of terminals (pty(7), ioctl_tty(2),
//! termios(3)).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat, major, minor};
use nix::sys::statfs::{FsType, fstatfs};
use nix::sys::termios::{
    LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices, Termios, cfmakeraw, tcsetattr,
};

use super::{Result, check};

/// Standard input, unbuffered.
pub const STDIN: BorrowedFd<'static> = standard(libc::STDIN_FILENO);
/// Standard output, unbuffered.
pub const STDOUT: BorrowedFd<'static> = standard(libc::STDOUT_FILENO);
/// Standard error, unbuffered.
pub const STDERR: BorrowedFd<'static> = standard(libc::STDERR_FILENO);

const fn standard(fd: libc::c_int) -> BorrowedFd<'static> {
    // SAFETY: one of the three above. `sys::entry` sees to it that they are open, and nobody closes them.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub rows: u16,
    pub columns: u16,
}

/// Whether the descriptor is in a real devpts; O_PATH is enough.
pub fn is_devpts(fd: BorrowedFd<'_>) -> Result<bool> {
    Ok(fstatfs(fd)?.filesystem_type() == FsType(libc::DEVPTS_SUPER_MAGIC as _))
}

/// Whether the descriptor is the device 5:2 of a real devpts, which makes pairs; O_PATH is enough.
pub fn is_ptmx(fd: BorrowedFd<'_>) -> Result<bool> {
    Ok(is_ptmx_device(fd)? && is_devpts(fd)?)
}

fn is_ptmx_device(fd: BorrowedFd<'_>) -> Result<bool> {
    let stat = fstat(fd)?;
    let device = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    Ok(device == SFlag::S_IFCHR && (major(stat.st_rdev), minor(stat.st_rdev)) == (5, 2))
}

/// Unlocks the peer of `master`, so that it can be opened: TIOCSPTLCK.
pub fn unlock(master: BorrowedFd<'_>) -> Result<()> {
    let unlocked: libc::c_int = 0;
    // SAFETY: the kernel reads one int, which outlives the call.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) }.into()).map(drop)
}

/// Opens the peer of `master` without looking up a path: TIOCGPTPEER, KERNEL(4.13). It is close-on-exec, and
/// does not become a controlling terminal.
pub fn peer(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = (OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).bits();
    // SAFETY: the argument is a number.
    let fd = check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }.into())?;
    // SAFETY: a descriptor that the kernel has just made for us, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// Returns the N of /dev/pts/N: TIOCGPTN.
pub fn number(master: BorrowedFd<'_>) -> Result<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: the kernel writes one unsigned int, which outlives the call.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number) }.into())?;
    Ok(number)
}

/// Sets the size of a terminal: TIOCSWINSZ.
pub fn set_size(terminal: BorrowedFd<'_>, size: Size) -> Result<()> {
    let size = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel reads one winsize, which outlives the call.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }.into()).map(drop)
}

/// Reads the size of a terminal: TIOCGWINSZ. It is zero if nobody has set it.
///
/// # Errors
/// ENOTTY if the descriptor is no terminal.
pub fn size(terminal: BorrowedFd<'_>) -> Result<Size> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one winsize, which outlives the call.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) }.into())?;
    Ok(Size { rows: size.ws_row, columns: size.ws_col })
}

/// Makes a terminal the controlling terminal of this process, which is a session leader without one:
/// TIOCSCTTY.
pub fn make_controlling(terminal: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the argument is a number: 0 takes it from no other session.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }.into()).map(drop)
}

/// Reads the mode of a terminal: tcgetattr(3).
///
/// # Errors
/// ENOTTY if the descriptor is no terminal.
pub fn mode(terminal: BorrowedFd<'_>) -> Result<Termios> {
    // nix is not used: the kernel fills in less than musl's struct has, and modes are compared.
    // SAFETY: termios is plain data for which zero is valid.
    let mut mode: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: a live struct, to be written within.
    check(unsafe { libc::tcgetattr(terminal.as_raw_fd(), &raw mut mode) }.into())?;
    Ok(mode.into())
}

/// Sets the mode of a terminal at once: tcsetattr(3).
pub fn set_mode(terminal: BorrowedFd<'_>, mode: &Termios) -> Result<()> {
    // TCSANOW: waiting for output to be read could wait for ever.
    tcsetattr(terminal, SetArg::TCSANOW, mode)
}

/// Returns `mode` changed to raw mode, in which every byte passes unchanged: cfmakeraw(3).
pub fn raw(mode: &Termios) -> Termios {
    let mut raw = mode.clone();
    cfmakeraw(&mut raw);
    raw
}

/// Returns `mode` changed so that each key can be read at once, and none is shown. ^C and ^Z still send their
/// signals.
pub fn key_by_key(mode: &Termios) -> Termios {
    let mut changed = mode.clone();
    changed.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
    changed.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
    changed.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
    changed
}

/// Clears ONLCR, so that no carriage return is put before the line feeds that programs print. Either end of
/// the pair can be given.
pub fn keep_line_feeds(terminal: BorrowedFd<'_>) -> Result<()> {
    let mut mode = mode(terminal)?;
    mode.output_flags.remove(OutputFlags::ONLCR);
    set_mode(terminal, &mode)
}

/// Returns the end-of-file character (VEOF, usually ^D); `None` if the terminal is not read by lines. Either
/// end of the pair can be given.
pub fn end_of_file(terminal: BorrowedFd<'_>) -> Result<Option<u8>> {
    let mode = mode(terminal)?;
    let by_lines = mode.local_flags.contains(LocalFlags::ICANON);
    Ok(by_lines.then(|| mode.control_chars[SpecialCharacterIndices::VEOF as usize]))
}

/// Returns the end-of-file character of a terminal that is read by lines, or whose program edits lines itself and
/// prints what is typed: a shell at its prompt. `None` where the kernel would print the character.
pub fn end_of_file_at_a_prompt(terminal: BorrowedFd<'_>) -> Result<Option<u8>> {
    let mode = mode(terminal)?;
    let is_quiet =
        mode.local_flags.contains(LocalFlags::ICANON) || !mode.local_flags.contains(LocalFlags::ECHO);
    let end = mode.control_chars[SpecialCharacterIndices::VEOF as usize];
    Ok((is_quiet && end != 0).then_some(end))
}

/// Opens the terminal or pipe of `fd` again, as a file that never blocks. Returns `None` for every other kind
/// of file.
///
/// O_NONBLOCK belongs to the open file, which an inherited descriptor shares with the caller: setting it
/// there would change the caller's shell.
pub fn without_blocking(fd: BorrowedFd<'_>, access: OFlag) -> Option<OwnedFd> {
    let kind = SFlag::from_bits_truncate(fstat(fd).ok()?.st_mode) & SFlag::S_IFMT;
    // Opening a ptmx again would make a new pair, and a regular file would be at offset 0.
    let again = kind == SFlag::S_IFIFO || (mode(fd).is_ok() && !is_ptmx_device(fd).ok()?);
    let path = again.then(|| format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    let flags = access | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path.as_str(), flags, nix::sys::stat::Mode::empty()).ok()
}

/// Opens a new pair from /dev/ptmx of this mount namespace: (master, peer).
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = nix::fcntl::open(c"/dev/ptmx", flags, nix::sys::stat::Mode::empty())?;
    unlock(master.as_fd())?;
    let peer = peer(master.as_fd())?;
    Ok((master, peer))
}
