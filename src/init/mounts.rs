//! The mounts of the plan, one by one, each on a target found by descriptor inside the rootfs.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::args::InitFds;
use super::filesystem;
use super::mount_error::{InCall, MountError};
use super::sync::ask_for;
use crate::handshake::{Acknowledgement, InStep, Message, Report, Step, SyncSocket};
use crate::inroot::Root;
use crate::kernel::mount::{Attributes, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY, MS_NOSYMFOLLOW};
use crate::plan::mount_options::NamedFlags;
use crate::plan::mounts::{Find, Mount, Source};
use crate::sys::errno_of;
use crate::sys::file::{RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2};
use crate::sys::mount::{self, mount_setattr, move_mount, open_tree_clone};

/// The index of a mount that becomes read-only when all is done, and the mount.
pub type LateReadOnly = (usize, OwnedFd);

/// Makes all the mounts, in their order: a later one may lie within an earlier one.
pub fn mount_all(
    mounts: &[Mount],
    root: &Root,
    fds: &InitFds,
    socket: &SyncSocket,
) -> Result<Vec<LateReadOnly>, Report> {
    let mut late = Vec::new();
    for (index, mount) in mounts.iter().enumerate() {
        let source = fds.sources.get(index).and_then(Option::as_ref);
        let own = mapped_inside(index, mount, root, socket)?;
        if let Some(fd) =
            make_mount(mount, root, source.or(own.as_ref())).map_err(|fail| fail.report(index))?
        {
            late.push((index, fd));
        }
    }
    Ok(late)
}

/// Makes the mounts read-only that were left writable while mount points were made within.
pub fn make_read_only(late: Vec<LateReadOnly>) -> Result<(), Report> {
    let change = Attributes { set: MOUNT_ATTR_RDONLY, ..Attributes::default() };
    for (item, mount) in late {
        mount_setattr(mount.as_fd(), change, None, false).in_step(Step::Mount(item), "mount_setattr")?;
    }
    Ok(())
}

/// Makes one mount; returns it where it becomes read-only at the end.
fn make_mount(mount: &Mount, root: &Root, source: Option<&OwnedFd>) -> Result<Option<OwnedFd>, MountError> {
    match &mount.source {
        Source::Symlink { to } => symlink(root, &mount.target, to).map(|()| None),
        Source::Remount => {
            let target = find(root, mount, OFlag::O_PATH)?;
            attributes(&target, mount).map(|()| None)
        }
        Source::Bind { path, recursive, no_follow, copy_symlink, named, locked, inside, .. } => {
            let at_flags = if *no_follow { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
            let tree = match source {
                Some(fd) => fd.try_clone().map_err(|error| errno_of(&error)).call("dup")?,
                None if *inside => clone_inside(root, path, *recursive, *no_follow)?,
                None => open_tree_clone(AT_FDCWD.as_fd(), path, *recursive, at_flags).call("open_tree")?,
            };
            let kind = kind_of(&tree)?;
            guard_proc_source(&tree, mount)?;
            if *copy_symlink && kind == SFlag::S_IFLNK {
                return copy_link(root, &mount.target, path).map(|()| None);
            }
            let (target, _) = target_like(root, mount, kind)?;
            // Attributes first: nobody ever sees the mount without them.
            bind_attributes(&tree, mount, *named, *locked)?;
            attach(&tree, &target)?;
            Ok(mount.late_read_only.then_some(tree))
        }
        Source::Filesystem { kind, source, parameters, inherit_mode, relabel, copy_up } => {
            let (target, made) = target_like(root, mount, SFlag::S_IFDIR)?;
            let plain = !*inherit_mode && relabel.is_none() && !*copy_up;
            if plain && parameters.iter().any(filesystem::too_long) {
                filesystem::mount_here(&target, kind, source, parameters)?;
                let new = find(root, mount, OFlag::empty())?;
                attributes(&new, mount)?;
                return Ok(mount.late_read_only.then_some(new));
            }
            let mode = if *inherit_mode && !made { Some(mode_of(&target)?) } else { None };
            let new = filesystem::make(kind, source, parameters, mode, mount)?;
            if let Some(label) = relabel {
                super::label::filesystem(&new, label).call("set the SELinux label")?;
            }
            if *copy_up {
                copy_up_into(&new, root, &mount.target)?;
            }
            move_mount(new.as_fd(), target.as_fd()).call("move_mount")?;
            if !mount.recursive.is_empty()
                || mount.attributes.propagation != 0
                || !mount.propagation.is_empty()
            {
                attributes(&new, mount)?;
            }
            Ok(mount.late_read_only.then_some(new))
        }
    }
}

/// A clone of what is inside the rootfs by now, with its ids mapped: that takes rights to the filesystem that the parent
/// has.
fn mapped_inside(
    index: usize,
    mount: &Mount,
    root: &Root,
    socket: &SyncSocket,
) -> Result<Option<OwnedFd>, Report> {
    let Source::Bind { path, recursive, no_follow, .. } = &mount.source else { return Ok(None) };
    if !mount.is_mapped_by_runtime() {
        return Ok(None);
    }
    let tree = clone_inside(root, path, *recursive, *no_follow).map_err(|fail| fail.report(index))?;
    ask_for(Acknowledgement::MountMapped, &Message::MapMount(index, tree.as_fd()), socket)?;
    Ok(Some(tree))
}

/// What the rootfs has at `path` by now, with what was mounted there before.
fn clone_inside(root: &Root, path: &CStr, recursive: bool, no_follow: bool) -> Result<OwnedFd, MountError> {
    let flags = if no_follow { OFlag::O_PATH | OFlag::O_NOFOLLOW } else { OFlag::O_PATH };
    let source = root.resolve(path, flags).call("open the source")?;
    open_tree_clone(source.as_fd(), c"", recursive, libc::AT_EMPTY_PATH).call("open_tree")
}

/// With mount(2)'s answer where a directory and something else meet: EINVAL says too little.
fn attach(tree: &OwnedFd, target: &OwnedFd) -> Result<(), MountError> {
    let directory = |fd| kind_of(fd).map(|kind| kind == SFlag::S_IFDIR);
    match move_mount(tree.as_fd(), target.as_fd()) {
        Err(Errno::EINVAL) if directory(tree)? != directory(target)? => Err(Errno::ENOTDIR),
        other => other,
    }
    .call("move_mount")
}

/// The flags that are named and no others; but those that the kernel has locked stay beside them.
fn bind_attributes(tree: &OwnedFd, mount: &Mount, named: NamedFlags, locked: bool) -> Result<(), MountError> {
    if named == NamedFlags::default() {
        return attributes(tree, mount);
    }
    let existing = flags_of(tree)?;
    let change = |wanted: Option<Attributes>| {
        let mut wanted = wanted.ok_or(Errno::EPERM).call("mount_setattr")?;
        wanted.propagation = mount.attributes.propagation;
        if existing & MS_NOSYMFOLLOW == 0 {
            // KERNEL(5.14): one that does not know the flag refuses to clear it, too.
            wanted.clear &= !MOUNT_ATTR_NOSYMFOLLOW;
        }
        attributes(tree, &Mount { attributes: wanted, ..mount.clone() })
    };
    if locked {
        // It was cloned from outside, where nothing is locked; still it is the container that asks.
        return change(named.beside_locked(existing));
    }
    match change(Some(named.as_attributes())) {
        Err(MountError { errno: Errno::EPERM, .. }) => change(named.beside_locked(existing)),
        other => other,
    }
}

/// The MS_* flags of a mount. statfs tells them by the same numbers, but for two.
fn flags_of(tree: &OwnedFd) -> Result<u64, MountError> {
    const MOVED: [(u64, u64); 2] = [(0x1000, libc::MS_RELATIME), (0x2000, MS_NOSYMFOLLOW)];
    const SAME: u64 = libc::MS_RDONLY
        | libc::MS_NOSUID
        | libc::MS_NODEV
        | libc::MS_NOEXEC
        | libc::MS_NOATIME
        | libc::MS_NODIRATIME;
    let told = mount::flags(tree.as_fd()).call("fstatfs")?;
    let moved = MOVED.iter().filter(|(st, _)| told & st != 0).fold(0, |all, (_, ms)| all | ms);
    Ok(told & SAME | moved)
}

fn attributes(mount: &OwnedFd, plan: &Mount) -> Result<(), MountError> {
    if !plan.attributes.is_empty() {
        mount_setattr(mount.as_fd(), plan.attributes, None, false).call("mount_setattr")?;
    }
    if !plan.recursive.is_empty() {
        mount_setattr(mount.as_fd(), plan.recursive, None, true).call("mount_setattr(AT_RECURSIVE)")?;
    }
    for &(propagation, recursive) in &plan.propagation {
        let change = Attributes { propagation, ..Attributes::default() };
        mount_setattr(mount.as_fd(), change, None, recursive).call("mount_setattr")?;
    }
    Ok(())
}

/// The target as a descriptor, refused where it lies on a procfs that the plan does not mean.
fn find(root: &Root, mount: &Mount, flags: OFlag) -> Result<OwnedFd, MountError> {
    let flags = flags | OFlag::O_PATH;
    let found = match mount.find {
        Find::Follow => root.resolve(&mount.target, flags).call("open the target"),
        Find::NoFollow => root.resolve(&mount.target, flags | OFlag::O_NOFOLLOW).call("open the target"),
        Find::Ordinary => {
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

/// CVE-2025-52881 and its family: a mount over a file of procfs could redirect what is written there later. Only the
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

/// Over /proc itself only a procfs: labels and sysctls are written there (CVE-2019-16884).
fn guard_proc_source(tree: &OwnedFd, mount: &Mount) -> Result<(), MountError> {
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
fn target_like(root: &Root, mount: &Mount, kind: SFlag) -> Result<(OwnedFd, bool), MountError> {
    match find(root, mount, OFlag::empty()) {
        Err(MountError { errno: Errno::ENOENT, .. }) => {}
        other => return other.map(|found| (found, false)),
    }
    let made = match make_target(root, &mount.target, kind == SFlag::S_IFDIR) {
        // procfs makes none. That it is not there is not why: engines would take the program for missing.
        Err(Errno::ENOENT) if mount.target.to_bytes().starts_with(b"/proc/") => return Err(in_procfs()),
        made => made.call("create the target")?,
    };
    guard_procfs(&made, mount)?;
    Ok((made, true))
}

/// By its parent's descriptor, and opened without following: what comes back is what was made here, or what stood
/// there just now and is no symlink.
fn make_target(root: &Root, path: &CStr, directory: bool) -> Result<OwnedFd, Errno> {
    let (parent, name) = root.parent(path, 0o755)?;
    let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    if directory {
        match nix::sys::stat::mkdirat(&parent, name.as_c_str(), Mode::from_bits_truncate(0o755)) {
            Ok(()) => {}
            // A dangling symlink stands there: the directory is made where it leads, inside the root.
            Err(Errno::EEXIST) => return root.mkdir_all(path, 0o755),
            Err(errno) => return Err(errno),
        }
        let flags = flags | OFlag::O_PATH | OFlag::O_DIRECTORY;
        return nix::fcntl::openat(&parent, name.as_c_str(), flags, Mode::empty());
    }
    let mode = Mode::from_bits_truncate(0o644);
    match nix::fcntl::openat(&parent, name.as_c_str(), flags | OFlag::O_CREAT, mode) {
        // Likewise for a file.
        Err(Errno::ELOOP) => match root.create(path, OFlag::O_CREAT, 0o644) {
            // The directories on the way are missing too.
            Err(Errno::ENOENT) => make_linked(root, path, &parent, &name),
            other => other,
        },
        other => other,
    }
}

/// The file that the symlink `name` leads to, with the directories on the way, all inside the root.
fn make_linked(root: &Root, path: &CStr, parent: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let to = nix::fcntl::readlinkat(parent, name)?;
    let of = Path::new(OsStr::from_bytes(path.to_bytes())).parent().unwrap_or_else(|| Path::new("/"));
    let to = std::ffi::CString::new(of.join(to).into_os_string().into_vec()).map_err(|_| Errno::EINVAL)?;
    // One link less each time; the kernel has found that they come to an end.
    drop(root.parent(&to, 0o755)?);
    make_target(root, &to, false)
}

fn kind_of(fd: &OwnedFd) -> Result<SFlag, MountError> {
    let stat = fstat(fd).call("fstat")?;
    Ok(SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT))
}

fn mode_of(fd: &OwnedFd) -> Result<u32, MountError> {
    Ok(fstat(fd).call("fstat")?.st_mode & 0o7777)
}

fn relative(path: &CStr) -> &CStr {
    let slashes = path.to_bytes().iter().take_while(|&&b| b == b'/').count();
    CStr::from_bytes_with_nul(&path.to_bytes_with_nul()[slashes..]).unwrap_or(c".")
}

fn symlink(root: &Root, path: &CStr, to: &CStr) -> Result<(), MountError> {
    let (parent, name) = root.parent(path, 0o755).call("open the link's directory")?;
    match nix::unistd::symlinkat(to, &parent, name.as_c_str()) {
        Err(Errno::EEXIST) => Ok(()),
        other => other.call("symlinkat"),
    }
}

/// The link at the host's `from`, again at `path`.
fn copy_link(root: &Root, path: &CStr, from: &CStr) -> Result<(), MountError> {
    let to = nix::fcntl::readlink(from).call("readlink")?;
    let to = std::ffi::CString::new(std::os::unix::ffi::OsStringExt::into_vec(to)).unwrap_or_default();
    symlink(root, path, &to)
}

/// `tmpcopyup`: what the image has there, copied into the new tmpfs before it covers it.
fn copy_up_into(new: &OwnedFd, root: &Root, path: &CStr) -> Result<(), MountError> {
    let from = root.resolve(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY).call("open the directory to copy")?;
    super::copy_up::tree(from.as_fd(), new.as_fd()).call("copy up")
}
