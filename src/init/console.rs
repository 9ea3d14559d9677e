//! Sets up the container's own terminal: makes a pair in the container's devpts, sends the master out, and
//! makes the peer the standard streams.
//!
//! The rootfs is not trusted. Nothing is reached by a path that could lead elsewhere: the pair comes from a
//! directory that is checked to be a devpts, the peer comes from the master, and both ends of the mount are
//! descriptors (CVE-2025-52565).

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchown};

use crate::inroot::Root;
use crate::sys::file::{RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2};
use crate::sys::mount::{move_mount, open_tree_clone};
use crate::sys::socket::send_fd;
use crate::sys::tty::{self, Size};
use crate::weak::{Defence, stands};

/// The failed call and its object, and the kernel's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsoleError {
    pub call: &'static str,
    pub errno: Errno,
}

/// Adds the name of the call to an errno.
trait During<T> {
    fn during(self, call: &'static str) -> Result<T, ConsoleError>;
}

impl<T> During<T> for Result<T, Errno> {
    fn during(self, call: &'static str) -> Result<T, ConsoleError> {
        self.map_err(|errno| ConsoleError { call, errno })
    }
}

/// Makes the terminal of the process whose `/` is `root`, and attaches the process to it.
///
/// The caller must be a session leader without a controlling terminal. `size` is rows and columns. `uid`, a
/// number of the container's, becomes the owner of the terminal. `socket` is a connected stream socket: it
/// gets one message with the master attached and the terminal's name as text. `mount_console` mounts the
/// terminal on /dev/console, which needs a mount namespace of the container's own.
pub fn set_up(
    root: &Root,
    size: Option<(u16, u16)>,
    uid: u32,
    socket: BorrowedFd<'_>,
    mount_console: bool,
) -> Result<(), ConsoleError> {
    let master = new_pair(root)?;
    tty::unlock(master.as_fd()).during("unlock terminal")?;
    let peer = tty::peer(master.as_fd()).during("open other end of /dev/pts/ptmx")?;
    if let Some((rows, columns)) = size {
        tty::set_size(master.as_fd(), Size { rows, columns }).during("set size of terminal")?;
    }
    if mount_console {
        mount_on_console(root, peer.as_fd())?;
    }
    give_to(uid, &peer)?;
    // The master is sent before the terminal becomes our controlling one: if sending fails, the master is
    // closed, which would kill the terminal's session.
    send(master.as_fd(), socket)?;
    tty::make_controlling(peer.as_fd()).during("make controlling terminal")?;
    dup2_stdin(&peer)
        .and_then(|()| dup2_stdout(&peer))
        .and_then(|()| dup2_stderr(&peer))
        .during("dup2 terminal")
}

/// Opens the master of a new pair in the container's devpts.
fn new_pair(root: &Root) -> Result<OwnedFd, ConsoleError> {
    let pts = root.resolve(c"/dev/pts", OFlag::O_PATH | OFlag::O_DIRECTORY).during("open /dev/pts")?;
    // The directory is checked before anything in it is opened. Only the kernel puts entries into a devpts;
    // in any other directory there could be a device whose opening has an effect.
    if !tty::is_devpts(pts.as_fd()).during("statfs /dev/pts")? {
        return Err(ConsoleError { call: "/dev/pts is not a devpts", errno: Errno::ENODEV });
    }
    let beneath = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW;
    let master = openat2(pts.as_fd(), c"ptmx", flags.bits(), 0, beneath).during("open /dev/pts/ptmx")?;
    match tty::is_ptmx(master.as_fd()).during("stat /dev/pts/ptmx")? {
        true => Ok(master),
        false => Err(ConsoleError { call: "/dev/pts/ptmx is not a ptmx device", errno: Errno::ENODEV }),
    }
}

/// Binds the terminal over /dev/console, so that both names open the same terminal.
fn mount_on_console(root: &Root, peer: BorrowedFd<'_>) -> Result<(), ConsoleError> {
    let target = console(root).during("open /dev/console")?;
    let mount = open_tree_clone(peer, c"", false, 0).during("open_tree terminal")?;
    move_mount(mount.as_fd(), target.as_fd()).during("mount terminal on /dev/console")
}

/// Opens /dev/console itself, and makes it if it is missing. Fails with ELOOP if it is a symlink: it would be
/// the image's, and could lead the mount over any file of the container, even one of procfs.
fn console(root: &Root) -> Result<OwnedFd, Errno> {
    if !stands(Defence::ConsoleLink) {
        return root.open_or_make_file(c"/dev/console", 0o666);
    }
    let dev = root.resolve(c"/dev", OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    let beneath = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
    let open = |flags: OFlag| openat2(dev.as_fd(), c"console", flags.bits(), mode_of(flags), beneath);
    // With O_PATH a FIFO does not block and a device has no effect. O_NOFOLLOW is left out: with O_PATH it
    // would open the symlink itself.
    let console = match open(OFlag::O_PATH) {
        Err(Errno::ENOENT) => open(OFlag::O_RDONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW)?,
        other => other?,
    };
    match SFlag::from_bits_truncate(fstat(&console)?.st_mode) & SFlag::S_IFMT {
        // move_mount would fail with EINVAL, which says too little.
        SFlag::S_IFDIR => Err(Errno::EISDIR),
        _ => Ok(console),
    }
}

/// openat2 takes a mode only with O_CREAT.
fn mode_of(flags: OFlag) -> u32 {
    if flags.contains(OFlag::O_CREAT) { 0o666 } else { 0 }
}

/// The process may read, write and chmod its terminal. The group stays the one that the devpts was mounted
/// with.
fn give_to(uid: u32, peer: &OwnedFd) -> Result<(), ConsoleError> {
    match fchown(peer, Some(Uid::from_raw(uid)), None) {
        // EPERM: the devpts belongs to another user namespace and was bound in. EROFS: it is read-only. The
        // streams work nonetheless.
        Ok(()) | Err(Errno::EPERM | Errno::EROFS) => Ok(()),
        Err(errno) => Err(ConsoleError { call: "chown terminal", errno }),
    }
}

fn send(master: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> Result<(), ConsoleError> {
    let number = tty::number(master).during("number of terminal")?;
    let mut name = [0_u8; 32];
    let mut rest = &mut name[..];
    let written = write!(rest, "/dev/pts/{number}").map_err(|_| Errno::ENAMETOOLONG);
    let left = rest.len();
    written.during("name of terminal")?;
    send_fd(socket, &name[..32 - left], master).map(drop).during("send terminal to console socket")
}
