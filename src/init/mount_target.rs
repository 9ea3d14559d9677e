//! Finds where a mount goes, by descriptor and inside the rootfs; and refuses what would redirect writes to procfs.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat};

use super::mount_error::{InCall, MountError};
use crate::inroot::Root;
use crate::plan::mounts::{Mount, TargetLookup};
use crate::sys::file::{RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2};

/// Opens the target of a mount, refused where it lies on a procfs that the plan does not mean.
pub(super) fn open(root: &Root, mount: &Mount, flags: OFlag) -> Result<OwnedFd, MountError> {
    let flags = flags | OFlag::O_PATH;
    let found = match mount.lookup {
        TargetLookup::Follow => root.resolve(&mount.target, flags).call("open the target"),
        TargetLookup::NoFollow => {
            root.resolve(&mount.target, flags | OFlag::O_NOFOLLOW).call("open the target")
        }
        TargetLookup::NoSymlinks => {
            let path = relative(&mount.target);
            let resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
            let found = openat2(root.as_fd(), path, (flags | OFlag::O_DIRECTORY).bits(), 0, resolve);
            match found {
                Err(errno @ (Errno::ELOOP | Errno::ENOTDIR)) => {
                    return Err(MountError {
                        errno,
                        call: "must be mounted on ordinary directory",
                        words: Vec::new(),
                    });
                }
                other => other.call("open the target"),
            }
        }
    }?;
    guard_procfs(&found, mount)?;
    Ok(found)
}

/// Refuses a target on a procfs. CVE-2025-52881 and its family: a mount over a file of procfs could redirect what is written there later. Only the
/// few that people do cover are let through.
fn guard_procfs(target: &OwnedFd, mount: &Mount) -> Result<(), MountError> {
    const COVERED: [&[u8]; 11] = [
        b"/proc/cpuinfo",
        b"/proc/diskstats",
        b"/proc/meminfo",
        b"/proc/stat",
        b"/proc/swaps",
        b"/proc/uptime",
        b"/proc/loadavg",
        b"/proc/slabinfo",
        b"/proc/sys/kernel/ns_last_pid",
        b"/proc/sys/crypto/fips_enabled",
        b"/proc/sys/kernel/random/boot_id",
    ];
    // The filesystem is asked, not the path: a symlink of the image may have led here.
    let statfs = nix::sys::statfs::fstatfs(target).call("fstatfs")?;
    let on_procfs = statfs.filesystem_type() == nix::sys::statfs::PROC_SUPER_MAGIC;
    if !on_procfs || COVERED.contains(&mount.target.to_bytes()) {
        return Ok(());
    }
    Err(in_procfs())
}

fn in_procfs() -> MountError {
    let call = "the target is inside /proc, where only a few files may be covered";
    MountError { errno: Errno::from_raw(0), call, words: Vec::new() }
}

/// Refuses a bind over /proc itself of anything but a procfs: labels and sysctls are written there (CVE-2019-16884).
pub(super) fn guard_proc_source(tree: &OwnedFd, mount: &Mount) -> Result<(), MountError> {
    const PROC_ROOT_INODE: u64 = 1;
    if mount.target.to_bytes() != b"/proc" {
        return Ok(());
    }
    let is_procfs = nix::sys::statfs::fstatfs(tree).call("fstatfs")?.filesystem_type()
        == nix::sys::statfs::PROC_SUPER_MAGIC;
    if is_procfs && fstat(tree).call("fstat")?.st_ino == PROC_ROOT_INODE {
        return Ok(());
    }
    let call = "only a proc filesystem can be mounted on /proc";
    Err(MountError { errno: Errno::from_raw(0), call, words: Vec::new() })
}

/// Opens the target, made first where it is missing: a directory for a directory, else an empty file. Says whether it
/// was made.
pub(super) fn open_or_make(root: &Root, mount: &Mount, kind: SFlag) -> Result<(OwnedFd, bool), MountError> {
    match open(root, mount, OFlag::empty()) {
        Err(MountError { errno: Errno::ENOENT, .. }) => {}
        other => return other.map(|found| (found, false)),
    }
    let made = match kind {
        SFlag::S_IFDIR => root.make_dir(&mount.target, 0o755),
        _ => root.make_file(&mount.target, 0o644),
    };
    let made = match made {
        // procfs makes none. That it is not there is not why: engines would take the program for missing.
        Err(Errno::ENOENT) if mount.target.to_bytes().starts_with(b"/proc/") => return Err(in_procfs()),
        made => made.call("create the target")?,
    };
    guard_procfs(&made, mount)?;
    Ok((made, true))
}

/// The file type of what `fd` stands for, an S_IF* constant.
pub(super) fn kind_of(fd: &OwnedFd) -> Result<SFlag, MountError> {
    let stat = fstat(fd).call("fstat")?;
    Ok(SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT))
}

/// The path without its leading slashes, which openat2(2) with RESOLVE_IN_ROOT does not need.
fn relative(path: &CStr) -> &CStr {
    let slashes = path.to_bytes().iter().take_while(|&&b| b == b'/').count();
    CStr::from_bytes_with_nul(&path.to_bytes_with_nul()[slashes..]).unwrap_or(c".")
}
