//! A network namespace with a name in the file system: it is there before the container, and is still there
//! when the container is gone, so that plugins can undo in it what they have done.

use std::ffi::CStr;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;

use crate::error::{Context, Result};
use crate::image::filesystem::dir::proc_path;
use crate::image::filesystem::directory::Directory;
use crate::image::parallel::in_thread;
use crate::sys::process::bring_loopback_up;

/// The name of the mount in the container's directory.
pub(super) const NAME: &str = "netns";
const C_NAME: &CStr = c"netns";

/// Makes a namespace whose loopback device is up, and mounts it in the directory.
pub(super) fn make(dir: &Directory) -> Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(dir, C_NAME, flags, Mode::empty()).context("make the file of the network namespace")?;
    let target = proc_path(dir.as_fd(), C_NAME);
    // In a thread of its own: this one stays in the host's namespace.
    let make = || {
        unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace")?;
        bring_loopback_up().context("bring the loopback device up")?;
        let none = None::<&CStr>;
        mount(Some(c"/proc/thread-self/ns/net"), target.as_c_str(), none, MsFlags::MS_BIND, none)
            .context("keep the network namespace")
    };
    in_thread(make)
}

/// Unmounts the namespace, which ends when nothing else is in it. Does nothing if there is none.
pub(super) fn remove(dir: &Directory) -> Result<()> {
    match umount2(proc_path(dir.as_fd(), C_NAME).as_c_str(), MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
    {
        // Not mounted, for example since a reboot, or not made.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno).context("let go of the network namespace"),
    }
}
