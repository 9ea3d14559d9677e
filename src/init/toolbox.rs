//! Makes the root of a `debug` process: in a copy of the container's mounts that nobody else sees, a memory
//! file system becomes the root, with the tools on read-only mounts, and the container's root below
//! /container.
//!
//! It runs in the helper, outside of the container's pid namespace, so no process of the container sees it.
//! The container is an enemy: its paths are resolved in its root, and judged by descriptor. Nothing that is
//! taken of the host can be written to, is a device but a few harmless ones, or can be talked to.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, fstat, umask};
use nix::sys::statfs::{FsType, PROC_SUPER_MAGIC, SYSFS_MAGIC, fstatfs};
use nix::unistd::{chdir, fchdir, symlinkat};

use super::args::InitArgs;
use super::confine;
use crate::handshake::{InStep, Report, Step};
use crate::inroot::Root;
use crate::kernel::mount::{
    Attributes, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, MS_PRIVATE,
};
use crate::plan::namespaces::Namespace;
use crate::plan::toolbox::{CONTAINER, Toolbox};
use crate::sys::file::{RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2};
use crate::sys::mount::{
    fsconfig_create, fsconfig_set, fsmount, fsopen, mount_setattr, move_mount, open_tree_clone, pivot_onto,
};
use crate::sys::process;

/// The harmless devices, which the host lets everybody use.
const DEVICES: [&CStr; 6] =
    [c"dev/null", c"dev/zero", c"dev/full", c"dev/random", c"dev/urandom", c"dev/tty"];

const LINKS: [(&CStr, &CStr); 5] = [
    (c"dev/fd", c"/proc/self/fd"),
    (c"dev/stdin", c"/proc/self/fd/0"),
    (c"dev/stdout", c"/proc/self/fd/1"),
    (c"dev/stderr", c"/proc/self/fd/2"),
    (c"dev/ptmx", c"pts/ptmx"),
];

const DIRECTORIES: [(&CStr, u32); 10] = [
    (CONTAINER, 0o755),
    (c"dev/pts", 0o755),
    (c"dev/shm", 0o1777),
    (c"etc", 0o755),
    (c"proc", 0o555),
    (c"root", 0o700),
    (c"run", 0o755),
    (c"sys", 0o555),
    (c"tmp", 0o1777),
    (c"var/tmp", 0o1777),
];

/// The container's own view of names, which the tools use too.
const NAMES: [&CStr; 5] = [c"etc/group", c"etc/hostname", c"etc/hosts", c"etc/passwd", c"etc/resolv.conf"];

/// The size of everything that is written in the toolbox: it counts as memory of the container.
const SIZE: &CStr = c"64m";

/// Something taken from the host, for a path of the toolbox.
struct Part {
    path: CString,
    kind: PartKind,
}

enum PartKind {
    Directory(OwnedFd),
    File(OwnedFd),
    Link(CString),
}

/// Joins the container's namespaces `flags` through its process `target`, and makes the root.
pub(super) fn enter(toolbox: &Toolbox, args: &InitArgs, target: &OwnedFd, flags: i32) -> Result<(), Report> {
    umask(Mode::empty());
    let user = flags & Namespace::USER.0;
    let (parts, joined) = match take_parts(toolbox, args.fds.toolbox.as_ref()) {
        // Without privilege on the host, its mounts can be cloned only in a copy that the container's user
        // namespace owns.
        Err(report) if report.errno == libc::EPERM && user != 0 => {
            join(target, user)?;
            confine::become_root(args.keep_groups)?;
            unshare(CloneFlags::CLONE_NEWNS).in_step(Step::Toolbox, "unshare(CLONE_NEWNS)")?;
            (take_parts(toolbox, None)?, user)
        }
        parts => (parts?, 0),
    };
    join(target, flags & !joined)?;
    if user != joined {
        confine::become_root(args.keep_groups)?;
    }
    unshare(CloneFlags::CLONE_NEWNS).in_step(Step::Toolbox, "unshare(CLONE_NEWNS)")?;
    const NONE: Option<&CStr> = None;
    // What is mounted here is not mounted in the container, nor the other way round.
    mount(NONE, c"/", NONE, MsFlags::MS_PRIVATE | MsFlags::MS_REC, NONE)
        .in_step(Step::Toolbox, "make / private")?;
    build(&parts)
}

fn join(target: &OwnedFd, flags: i32) -> Result<(), Report> {
    process::setns(target.as_fd(), flags).in_step(Step::JoinContainer, "setns")
}

/// Takes all parts, by a clone of their mounts. `root` is the toolbox's tree, opened by the runtime; without
/// it, it is opened here.
fn take_parts(toolbox: &Toolbox, root: Option<&OwnedFd>) -> Result<Vec<Part>, Report> {
    let opened;
    let root = match root {
        Some(root) => root,
        None => {
            opened = open_directory(&toolbox.root).in_step(Step::Toolbox, &show("open", &toolbox.root))?;
            &opened
        }
    };
    let host = open_directory(c"/").in_step(Step::Toolbox, "open /")?;
    let mut parts = Vec::new();
    for path in &toolbox.entries {
        let part = take(root, path, MOUNT_ATTR_NODEV).in_step(Step::Toolbox, &show("take", path))?;
        parts.extend(part);
    }
    for path in DEVICES {
        let part = take(&host, path, 0).in_step(Step::Toolbox, &show("take", path))?;
        parts.extend(part);
    }
    Ok(parts)
}

fn open_directory(path: &CStr) -> Result<OwnedFd, Errno> {
    openat(AT_FDCWD, path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Takes what is at `path`, if it is there and not somebody's secret.
fn take(root: &OwnedFd, path: &CStr, attributes: u64) -> Result<Option<Part>, Errno> {
    const OTHERS_READ: u32 = 0o004;
    let flags = (OFlag::O_PATH | OFlag::O_NOFOLLOW).bits();
    let found = match openat2(root.as_fd(), path, flags, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS) {
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EACCES) => return Ok(None),
        other => other?,
    };
    let mode = fstat(&found)?.st_mode;
    let kind = match mode & libc::S_IFMT {
        libc::S_IFLNK => {
            PartKind::Link(CString::new(readlinkat(&found, c"")?.into_encoded_bytes()).unwrap_or_default())
        }
        libc::S_IFDIR => PartKind::Directory(clone(&found, true, attributes)?),
        libc::S_IFREG if mode & OTHERS_READ != 0 => PartKind::File(clone(&found, false, attributes)?),
        libc::S_IFCHR if attributes & MOUNT_ATTR_NODEV == 0 => {
            PartKind::File(clone(&found, false, attributes)?)
        }
        _ => return Ok(None),
    };
    Ok(Some(Part { path: path.to_owned(), kind }))
}

/// Clones a mount as one that nobody can write through, and that no later mount travels over.
fn clone(found: &OwnedFd, recursive: bool, attributes: u64) -> Result<OwnedFd, Errno> {
    let tree = open_tree_clone(found.as_fd(), c"", recursive, 0)?;
    let change = Attributes {
        set: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | attributes,
        clear: 0,
        propagation: MS_PRIVATE,
    };
    mount_setattr(tree.as_fd(), change, None, recursive)?;
    Ok(tree)
}

/// Makes the root of the parts, and changes to it.
fn build(parts: &[Part]) -> Result<(), Report> {
    let container = Root::open(Path::new("/")).in_step(Step::Toolbox, "open /")?;
    let root = mount_memory().in_step(Step::Toolbox, "mount tmpfs")?;
    for (path, mode) in DIRECTORIES {
        root.mkdir_all(path, mode).in_step(Step::Toolbox, &show("mkdir", path))?;
    }
    for (path, magic) in [(c"proc", PROC_SUPER_MAGIC), (c"sys", SYSFS_MAGIC)] {
        bind_kernels(&container, &root, path, magic).in_step(Step::Toolbox, &show("bind", path))?;
    }
    let mut taken = Vec::new();
    for path in NAMES {
        if bind_names(&container, &root, path).in_step(Step::Toolbox, &show("bind", path))? {
            taken.push(path);
        }
    }
    for part in parts.iter().filter(|part| !taken.contains(&part.path.as_c_str())) {
        place(&root, part).in_step(Step::Toolbox, &show("place", &part.path))?;
    }
    for (path, to) in LINKS {
        link(&root, path, to).in_step(Step::Toolbox, &show("link", path))?;
    }
    mount_terminals(&root).in_step(Step::Toolbox, "mount devpts")?;
    change_root(&root).in_step(Step::Toolbox, "pivot_root")
}

/// Mounts a memory file system over our root: only a mount of this namespace gets mounts below it.
fn mount_memory() -> Result<Root, Errno> {
    let context = fsopen(c"tmpfs")?;
    fsconfig_set(context.as_fd(), c"source", Some(c"toolbox"))?;
    fsconfig_set(context.as_fd(), c"mode", Some(c"0755"))?;
    fsconfig_set(context.as_fd(), c"size", Some(SIZE))?;
    fsconfig_create(context.as_fd())?;
    let memory = fsmount(context.as_fd(), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)?;
    let over = open_directory(c"/")?;
    move_mount(memory.as_fd(), over.as_fd())?;
    Ok(Root::from(memory))
}

/// Shows the container's own procfs or sysfs, with all that hides parts of it: a process that can take over
/// ours sees no more of the kernel than before.
fn bind_kernels(container: &Root, root: &Root, path: &CStr, magic: FsType) -> Result<(), Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let found = match container.resolve_without_symlinks(path, flags) {
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
        other => other?,
    };
    if fstatfs(&found)?.filesystem_type() != magic {
        return Ok(());
    }
    let tree = open_tree_clone(found.as_fd(), c"", true, 0)?;
    move_mount(tree.as_fd(), root.mkdir_all(path, 0o555)?.as_fd())
}

/// Shows a file of the container, if it is one. Returns whether it is.
fn bind_names(container: &Root, root: &Root, path: &CStr) -> Result<bool, Errno> {
    let found = match container.resolve(path, OFlag::O_PATH) {
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EACCES) => return Ok(false),
        other => other?,
    };
    if fstat(&found)?.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Ok(false);
    }
    let tree = match clone(&found, false, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC) {
        // A link of procfs has led to a file of another mount namespace.
        Err(Errno::EINVAL) => return Ok(false),
        other => other?,
    };
    move_mount(tree.as_fd(), root.open_or_make_file(path, 0o644)?.as_fd())?;
    Ok(true)
}

fn place(root: &Root, part: &Part) -> Result<(), Errno> {
    match &part.kind {
        PartKind::Link(to) => link(root, &part.path, to),
        PartKind::Directory(tree) => {
            move_mount(tree.as_fd(), root.open_or_make_dir(&part.path, 0o755)?.as_fd())
        }
        PartKind::File(tree) => move_mount(tree.as_fd(), root.open_or_make_file(&part.path, 0o644)?.as_fd()),
    }
}

fn link(root: &Root, path: &CStr, to: &CStr) -> Result<(), Errno> {
    let (parent, name) = root.open_or_make_parent(path, 0o755)?;
    symlinkat(to, parent, name.as_c_str())
}

/// Mounts a devpts of our own: the container does not see the terminal.
fn mount_terminals(root: &Root) -> Result<(), Errno> {
    let context = fsopen(c"devpts")?;
    fsconfig_set(context.as_fd(), c"ptmxmode", Some(c"0666"))?;
    fsconfig_set(context.as_fd(), c"mode", Some(c"0620"))?;
    fsconfig_create(context.as_fd())?;
    let terminals = fsmount(context.as_fd(), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)?;
    move_mount(terminals.as_fd(), root.mkdir_all(c"dev/pts", 0o755)?.as_fd())
}

fn change_root(root: &Root) -> Result<(), Errno> {
    fchdir(root)?;
    pivot_onto(CONTAINER)?;
    chdir(c"/")
}

fn show(what: &str, path: &CStr) -> String {
    format!("{what} {}", path.to_string_lossy())
}
