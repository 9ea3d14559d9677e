//! Seals the runtime's own binary against writes from a container (CVE-2019-5736).
//!
//! The process that waits in the container, or joins it, runs our binary. Through `/proc/PID/exe` the
//! container's root reaches the binary and could overwrite it on the host. So the commands that put a process
//! of ours into a container first execute themselves again from a read-only, detached clone of the binary's
//! mount. The pages stay the host's page cache, shared by all waiting processes. If mounts cannot be cloned,
//! a sealed copy in memory takes its place.
//!
//! A tuned build has usually done this already in its first instructions (`sys::tuning::early_seal`), which
//! is cheaper. These see only that somebody used execveat, so this file always checks that the mount is
//! read-only.

use std::ffi::CString;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, statvfs};

use crate::error::{Context, Error, Result};
use crate::kernel::mount::{Attributes, MOUNT_ATTR_RDONLY};
use crate::sys::mount::{mount_setattr, open_tree_clone};
use crate::sys::process::{Vector, execve_fd};
use crate::weak::{Defence, stands};

const OWN: &std::ffi::CStr = c"/proc/self/exe";
const DOING: &str = "protect the runtime's own binary";

/// Returns if the running binary cannot be written to through /proc. Otherwise executes it again, sealed.
pub(crate) fn own_binary() -> Result<()> {
    if !stands(Defence::Seal) || is_sealed().context(DOING)? {
        return Ok(());
    }
    let sealed = match read_only_clone() {
        // Without CAP_SYS_ADMIN, or in an outer container that forbids mounts.
        Err(Errno::EPERM | Errno::ENOSYS | Errno::EINVAL) => sealed_copy(),
        other => other.map_err(Error::from),
    }
    .context(DOING)?;
    let variable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).unwrap_or_default()
    };
    let args = own_arguments().context(DOING)?;
    let env: Vec<CString> = std::env::vars_os().map(variable).collect();
    let (args, env) =
        (Vector::new(args.iter().map(AsRef::as_ref)), Vector::new(env.iter().map(AsRef::as_ref)));
    Err(Error::from(execve_fd(sealed.as_fd(), &args, &env)).context("execveat").context(DOING))
}

/// Reads the arguments from the kernel: std::env::args is empty, because `main` is ours (`sys::entry`).
fn own_arguments() -> Result<Vec<CString>> {
    let bytes = std::fs::read("/proc/self/cmdline").context("read /proc/self/cmdline")?;
    let arguments = bytes.split_inclusive(|&byte| byte == 0);
    Ok(arguments.filter_map(|argument| CString::from_vec_with_nul(argument.to_vec()).ok()).collect())
}

/// Whether the binary is on a read-only mount, or is a memory file that refuses writes for ever.
fn is_sealed() -> std::result::Result<bool, Errno> {
    if statvfs(OWN)?.flags().contains(FsFlags::ST_RDONLY) {
        return Ok(true);
    }
    let binary = nix::fcntl::open(OWN, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    match fcntl(&binary, FcntlArg::F_GET_SEALS) {
        Ok(seals) => Ok(SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_WRITE)),
        // Not a memory file.
        Err(Errno::EINVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn read_only_clone() -> std::result::Result<OwnedFd, Errno> {
    let clone = open_tree_clone(AT_FDCWD.as_fd(), OWN, false, 0)?;
    let change = Attributes { set: MOUNT_ATTR_RDONLY, ..Attributes::default() };
    mount_setattr(clone.as_fd(), change, None, false)?;
    Ok(clone)
}

fn sealed_copy() -> Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let exec = flags | MFdFlags::from_bits_retain(libc::MFD_EXEC);
    let memory = match memfd_create(c"tare", exec) {
        // KERNEL(6.3) knows MFD_EXEC; before it, every memory file can be executed.
        Err(Errno::EINVAL) => memfd_create(c"tare", flags),
        other => other,
    }
    .context("memfd_create")?;
    let mut copy = std::fs::File::from(memory);
    copy.write_all(&std::fs::read("/proc/self/exe").context("read /proc/self/exe")?).context("write")?;
    let seals =
        SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(seals)).context("seal")?;
    Ok(copy.into())
}
