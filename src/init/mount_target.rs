//! Finds the target of a mount, by descriptor and inside the rootfs. Refuses a target that would redirect
//! writes to procfs.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat};

use super::mount_error::{InCall, MountError};
use super::place::Place;
use crate::handshake::{InStep, Report, Step};
use crate::inroot::{Root, is_same};
use crate::plan::mounts::{Mount, MountOperation, TargetLookup};
use crate::sys::mount::mount_id;
use crate::weak::{Defence, stands};

/// What a mount goes onto.
pub(super) struct Target {
    pub fd: OwnedFd,
    /// Whether the target was made for this mount.
    pub made: bool,
    /// Whether programs find this target at /proc.
    pub is_proc: bool,
    /// The index in `Place` of an earlier mount with the same root, reached by another path. The new mount
    /// hides it.
    pub covers: Option<usize>,
}

/// Opens the target of a mount. Refuses the root, and a place on procfs that the plan does not name.
pub(super) fn open(place: &Place<'_>, mount: &Mount, flags: OFlag) -> Result<Target, MountError> {
    let (found, no_links) = find(place, mount, flags);
    check_target(place, mount, found?, no_links)
}

/// Finds the target. Also returns whether the way to it had neither a symlink nor `..`.
fn find(place: &Place<'_>, mount: &Mount, flags: OFlag) -> (Result<OwnedFd, MountError>, bool) {
    let flags = flags | OFlag::O_PATH;
    let (found, no_links) = match mount.lookup {
        TargetLookup::Follow => place.find(&mount.target, flags),
        TargetLookup::NoFollow => place.find(&mount.target, flags | OFlag::O_NOFOLLOW),
        TargetLookup::NoSymlinks if !stands(Defence::ProcTarget) => place.find(&mount.target, flags),
        TargetLookup::NoSymlinks => {
            let found = place.resolve_without_symlinks(&mount.target, flags | OFlag::O_DIRECTORY);
            if let Err(errno @ (Errno::ELOOP | Errno::ENOTDIR)) = found {
                let call = "must be mounted on ordinary directory";
                return (Err(MountError { errno, call, words: Vec::new() }), false);
            }
            // There may have been a `..` on the way.
            (found, false)
        }
    };
    (found.call("open the target"), no_links)
}

/// Judges a target by its opened descriptor. Uses the path only if no symlink and no `..` was on the way:
/// those of the image lead elsewhere than they seem to.
fn check_target(
    place: &Place<'_>,
    mount: &Mount,
    found: OwnedFd,
    no_links: bool,
) -> Result<Target, MountError> {
    guard_procfs(&found, mount, no_links)?;
    let named_proc = mount.target.to_bytes() == b"/proc";
    if no_links && !place.shared {
        return Ok(Target { fd: found, made: false, is_proc: named_proc, covers: None });
    }
    if stands(Defence::RootTarget) && place.root.is(&found).call("fstat")? {
        return Err(refused("leads to the root of the container, which a mount cannot cover"));
    }
    let is_proc = named_proc || leads_to(place, c"/proc", &found)?;
    let covers = if no_links { None } else { place.covered_by(&found).call("fstat")? };
    Ok(Target { fd: found, made: false, is_proc, covers })
}

/// Whether `path` leads programs to the opened file.
fn leads_to(place: &Place<'_>, path: &CStr, found: &OwnedFd) -> Result<bool, MountError> {
    match place.find(path, OFlag::O_PATH).0 {
        Ok(there) => is_same(&there, found).call("fstat"),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(false),
        Err(errno) => Err(errno).call("open /proc"),
    }
}

fn refused(call: &'static str) -> MountError {
    MountError { errno: Errno::from_raw(0), call, words: Vec::new() }
}

/// Refuses a target on procfs. A mount over a file of procfs could redirect later writes to it
/// (CVE-2025-52881 and its family). Only the few files that people do cover are allowed.
fn guard_procfs(target: &OwnedFd, mount: &Mount, no_links: bool) -> Result<(), MountError> {
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
    // The filesystem is checked and not the path: a symlink of the image may have led here.
    let statfs = nix::sys::statfs::fstatfs(target).call("fstatfs")?;
    let on_procfs = statfs.filesystem_type() == nix::sys::statfs::PROC_SUPER_MAGIC;
    if !on_procfs || !stands(Defence::ProcTarget) || no_links && COVERED.contains(&mount.target.to_bytes()) {
        return Ok(());
    }
    Err(in_procfs())
}

fn in_procfs() -> MountError {
    refused("the target is inside /proc, where only a few files may be covered")
}

const ONLY_PROC: &str = "only a proc filesystem can be mounted on /proc";

impl Target {
    /// Refuses a bind of anything but a procfs over /proc itself: labels and sysctls are written there
    /// (CVE-2019-16884).
    pub(super) fn takes_bind(&self, tree: &OwnedFd) -> Result<(), MountError> {
        if stands(Defence::ProcTarget) && self.is_proc && !is_whole_procfs(tree).call("fstatfs")? {
            return Err(refused(ONLY_PROC));
        }
        Ok(())
    }

    /// Refuses a new filesystem other than a procfs over /proc itself, for the same reason as `takes_bind`.
    pub(super) fn takes_filesystem(&self, kind: &CStr) -> Result<(), MountError> {
        if stands(Defence::ProcTarget) && self.is_proc && kind != c"proc" {
            Err(refused(ONLY_PROC))
        } else {
            Ok(())
        }
    }
}

fn is_whole_procfs(tree: &OwnedFd) -> Result<bool, Errno> {
    const PROC_ROOT_INODE: u64 = 1;
    let kind = nix::sys::statfs::fstatfs(tree)?.filesystem_type();
    Ok(kind == nix::sys::statfs::PROC_SUPER_MAGIC && fstat(tree)?.st_ino == PROC_ROOT_INODE)
}

/// Checks, after all mounts, what programs find at /proc: it must be a procfs or a directory of the rootfs.
/// An image may have made /proc a symlink to a mount of the plan. Nothing needs checking if the plan has
/// mounted a procfs there.
pub(super) fn check_proc(root: &Root, mounts: &[Mount]) -> Result<(), Report> {
    let is_proc = |mount: &Mount| {
        let proc =
            matches!(&mount.operation, MountOperation::Filesystem { kind, .. } if kind.as_c_str() == c"proc");
        proc && mount.target.as_c_str() == c"/proc"
    };
    if mounts.is_empty() || mounts.iter().any(is_proc) || !stands(Defence::ProcTarget) {
        return Ok(());
    }
    let found = match root.resolve(c"/proc", OFlag::O_PATH) {
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
        other => other.in_step(Step::Rootfs, "open /proc")?,
    };
    if is_whole_procfs(&found).in_step(Step::Rootfs, "fstatfs /proc")? {
        return Ok(());
    }
    let (there, own) = (mount_id(found.as_fd()), mount_id(root.as_fd()));
    if there.in_step(Step::Rootfs, "statx /proc")? == own.in_step(Step::Rootfs, "statx")? {
        return Ok(());
    }
    Err(Report::from_text(Step::Rootfs, "what is mounted where /proc leads to is no proc filesystem"))
}

/// Opens the target. If it is missing, makes it first: a directory for a directory, otherwise an empty file.
pub(super) fn create_target(place: &Place<'_>, mount: &Mount, kind: SFlag) -> Result<Target, MountError> {
    let (found, no_links) = find(place, mount, OFlag::empty());
    match found {
        Err(MountError { errno: Errno::ENOENT, .. }) => {}
        other => return check_target(place, mount, other?, no_links),
    }
    let made = match kind {
        SFlag::S_IFDIR => place.make_dir(&mount.target, 0o755),
        _ => place.make_file(&mount.target, 0o644),
    };
    let made = match made {
        // procfs lets nobody make a file. ENOENT must not be the answer: engines would take the program for
        // missing.
        Err(Errno::ENOENT) if mount.target.to_bytes().starts_with(b"/proc/") => return Err(in_procfs()),
        made => made.call("create the target")?,
    };
    Ok(Target { made: true, ..check_target(place, mount, made, no_links)? })
}

/// Returns the file type of `fd`, an S_IF* constant.
pub(super) fn kind_of(fd: &OwnedFd) -> Result<SFlag, MountError> {
    let stat = fstat(fd).call("fstat")?;
    Ok(SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT))
}
