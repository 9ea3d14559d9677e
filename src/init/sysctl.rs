//! Writes files of /proc through a procfs of our own that is mounted nowhere: mounts of the container over
//! its /proc cannot redirect the writes (CVE-2025-52881).

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::handshake::{InStep, Report, Step};
use crate::plan::Plan;
use crate::plan::sysctl::Sysctl;
use crate::sys::file::{RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV, openat2};
use crate::sys::mount::{fsconfig_create, fsmount, fsopen};
use crate::weak::{Defence, stands};

/// Mounts a private procfs of our pid namespace, if the plan writes to it.
pub(super) fn procfs(plan: &Plan) -> Result<Option<OwnedFd>, Report> {
    if plan.sysctls.is_empty() {
        return Ok(None);
    }
    detached().map(Some).in_step(Step::SysctlProcfs, "mount a private procfs")
}

/// Mounts a procfs that is attached nowhere.
pub(super) fn detached() -> Result<OwnedFd, Errno> {
    if !stands(Defence::PrivateProc) {
        return nix::fcntl::open(c"/proc", OFlag::O_PATH, nix::sys::stat::Mode::empty());
    }
    let context = fsopen(c"proc")?;
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), 0)
}

/// Writes all of them.
pub(super) fn write_sysctls(sysctls: &[Sysctl], procfs: Option<&OwnedFd>) -> Result<(), Report> {
    let Some(procfs) = procfs else { return Ok(()) };
    let sys = open(procfs.as_fd(), c"sys", OFlag::O_PATH | OFlag::O_DIRECTORY)
        .in_step(Step::SysctlProcfs, "open /proc/sys")?;
    for (index, sysctl) in sysctls.iter().enumerate() {
        let file = open(sys.as_fd(), &sysctl.file, OFlag::O_WRONLY).in_step(Step::Sysctl(index), "open")?;
        write(&file, &sysctl.value).in_step(Step::Sysctl(index), "write")?;
    }
    Ok(())
}

/// Opens a file below a directory of procfs, and never outside of it.
pub(super) fn open(directory: BorrowedFd<'_>, path: &CStr, flags: OFlag) -> Result<OwnedFd, Errno> {
    if !stands(Defence::PrivateProc) {
        return nix::fcntl::openat(directory, path, flags, nix::sys::stat::Mode::empty());
    }
    openat2(directory, path, flags.bits(), 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)
}

/// Writes the value in one call: the kernel takes each write to such a file as a whole value.
pub(super) fn write(file: &OwnedFd, value: &[u8]) -> Result<(), Errno> {
    match nix::unistd::write(file, value)? {
        written if written == value.len() => Ok(()),
        _ => Err(Errno::EIO),
    }
}
