//! Adds mounts to a running container, and takes mounts out of it. A process enters the container for this
//! alone.

use std::convert::Infallible;
use std::ffi::{CStr, CString};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{Mode, fstat, umask};
use nix::unistd::fchdir;

use super::args::InitArgs;
use super::place::Place;
use super::{confine, mounts};
use crate::handshake::{InStep, Message, Report, Step, SyncSocket};
use crate::inroot::Root;
use crate::plan::mounts::{Mount, MountOperation};
use crate::sys::process;

/// Makes all mounts or none. `users`: the container has a user namespace.
pub(crate) fn add(
    mounts: &[Mount],
    users: bool,
    args: &InitArgs,
    socket: &SyncSocket,
) -> Result<Infallible, Report> {
    let root = enter(users, args)?;
    let made = |report: &Report| match report.step {
        Step::Mount(index) => index,
        _ => mounts.len(),
    };
    let late = mounts::mount_all(mounts, &mut Place::new(&root, true), &args.fds.sources, socket);
    let late = late.inspect_err(|report| take_back(&mounts[..made(report)], &root))?;
    mounts::make_read_only(late).inspect_err(|_| take_back(mounts, &root))?;
    done(socket)
}

/// Unmounts the topmost mount at each of `targets`, even if it is in use.
pub(crate) fn remove(
    targets: &[CString],
    users: bool,
    args: &InitArgs,
    socket: &SyncSocket,
) -> Result<Infallible, Report> {
    let root = enter(users, args)?;
    for (index, target) in targets.iter().enumerate() {
        unmount(&root, target).in_step(Step::Unmount(index), "umount2")?;
    }
    done(socket)
}

/// Becomes root of the container's user namespace, if it has one of its own, and opens the container's root.
fn enter(users: bool, args: &InitArgs) -> Result<Root, Report> {
    process::parent_death_signal(libc::SIGKILL).in_step(Step::NewProcess, "prctl(PR_SET_PDEATHSIG)")?;
    if users {
        confine::become_root(args.keep_groups)?;
    }
    umask(Mode::empty());
    Root::open("/".as_ref()).in_step(Step::Rootfs, "open /")
}

/// Says that the work is done, and ends: this process has no program.
fn done(socket: &SyncSocket) -> Result<Infallible, Report> {
    socket.send(&Message::Ready).in_step(Step::Handshake, "send")?;
    process::exit_now(0)
}

/// Unmounts the mounts that were made, after a later one has failed.
fn take_back(made: &[Mount], root: &Root) {
    let is_mount =
        |mount: &&Mount| !matches!(mount.operation, MountOperation::Remount | MountOperation::Symlink { .. });
    for mount in made.iter().rev().filter(is_mount) {
        let _ = unmount(root, &mount.target);
    }
}

/// umount2 takes a path and no descriptor: the path is our working directory, or a name in it that is not
/// followed.
fn unmount(root: &Root, target: &CStr) -> Result<(), Errno> {
    let found = root.resolve(target, OFlag::O_PATH)?;
    // A symlink or `..` may lead to the root: without it nothing in the container could go on.
    if root.is(&found)? {
        return Err(Errno::EBUSY);
    }
    if fstat(&found)?.st_mode & libc::S_IFMT == libc::S_IFDIR {
        fchdir(&found)?;
        return umount2(c".", MntFlags::MNT_DETACH);
    }
    let (parent, name) = root.open_or_make_followed_parent(target, 0o755)?;
    fchdir(&parent)?;
    umount2(name.as_c_str(), MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
}
