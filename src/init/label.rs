//! Sets the labels of the security modules. Those of the process take effect at execve.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::sysctl;
use crate::handshake::{InStep, Lsm, Report, Step};
use crate::plan::process::ProcessPlan;
use crate::sys::xattr::fsetxattr;

/// Tells AppArmor and SELinux which label the program gets.
pub(super) fn set_on_exec(plan: &ProcessPlan) -> Result<(), Report> {
    if plan.apparmor.is_none() && plan.selinux.is_none() {
        return Ok(());
    }
    let first = if plan.apparmor.is_some() { Lsm::AppArmor } else { Lsm::Selinux };
    let procfs = sysctl::detached().in_step(Step::Label(first), "mount a private procfs")?;
    if let Some(profile) = &plan.apparmor {
        let text = [b"exec ".as_slice(), profile.to_bytes()].concat();
        // KERNEL(5.8): the module's own directory, which stacked modules need. Older kernels have only the
        // shared file.
        let files = [c"thread-self/attr/apparmor/exec", c"thread-self/attr/exec"];
        let written = match write(&procfs, files[0], &text) {
            Err(Errno::ENOENT) => write(&procfs, files[1], &text),
            other => other,
        };
        written.in_step(Step::Label(Lsm::AppArmor), "apparmor: write /proc/thread-self/attr/exec")?;
    }
    if let Some(label) = &plan.selinux {
        let written = write(&procfs, c"thread-self/attr/exec", label.to_bytes());
        written.in_step(Step::Label(Lsm::Selinux), "selinux: write /proc/thread-self/attr/exec")?;
    }
    Ok(())
}

/// Labels the root of a filesystem that takes no `context` option.
pub(super) fn set_on_filesystem(mount: &OwnedFd, label: &CStr) -> Result<(), Errno> {
    // The descriptor of a mount is O_PATH; setting an attribute needs an open directory.
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = nix::fcntl::openat(mount, c".", flags, Mode::empty())?;
    fsetxattr(root.as_fd(), c"security.selinux", label.to_bytes_with_nul())
}

/// Sets the SELinux label of keys that are created from now on. An empty one leaves the label to SELinux.
pub(super) fn set_on_keys(label: &CStr) -> Result<(), Errno> {
    match write(&sysctl::detached()?, c"thread-self/attr/keycreate", label.to_bytes()) {
        // A kernel whose keys have no labels.
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}

fn write(procfs: &impl AsFd, file: &CStr, text: &[u8]) -> Result<(), Errno> {
    // thread-self is a link that procfs resolves within itself: it is allowed, unlike magic links.
    let file = sysctl::open(procfs.as_fd(), file, OFlag::O_WRONLY)?;
    sysctl::write(&file, text)
}
