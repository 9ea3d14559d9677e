//! Makes the device nodes and links of /dev, below a descriptor of their directory.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, mknodat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use super::place::Place;
use crate::handshake::{InStep, Report, Step};
use crate::kernel::mount::{Attributes, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use crate::plan::devices::{Device, Devices, Link};
use crate::sys::file::{chmod_opened, chown_opened};
use crate::sys::mount::{mount_setattr, move_mount, open_tree_clone};
use crate::weak::{Defence, stands};

/// Makes all nodes and links. In a user namespace (`user_namespace`) nodes cannot be made, so the host's are
/// bound instead.
pub(super) fn make_devices(plan: &Devices, place: &Place<'_>, user_namespace: bool) -> Result<(), Report> {
    let mut directory = Directory::default();
    for (index, device) in plan.nodes.iter().enumerate() {
        let (parent, name) =
            directory.parent_of(place, &device.path).in_step(Step::Device(index), "open the directory")?;
        let bind =
            || bind_host_node(parent, name, device).in_step(Step::Device(index), "bind the host's node");
        if user_namespace {
            bind()?;
            continue;
        }
        match make_node(parent, name, device) {
            // Even root may not make nodes here, such as in an outer container: the host's node takes its
            // place.
            Err(Errno::EPERM) => bind()?,
            other => other.in_step(Step::Device(index), "mknod")?,
        }
    }
    for (index, link) in plan.links.iter().enumerate() {
        let (parent, name) =
            directory.parent_of(place, &link.path).in_step(Step::Link(index), "open the directory")?;
        make_link(parent, name, link).in_step(Step::Link(index), "symlink")?;
    }
    // A plan without links is for a /dev that belongs to somebody else (`plan::devices`).
    if plan.links.is_empty() {
        return Ok(());
    }
    make_core_link(place, &mut directory).in_step(Step::CoreLink, "symlink /dev/core")
}

/// The directory that was opened last: nearly all nodes are in /dev.
#[derive(Default)]
struct Directory {
    path: Vec<u8>,
    fd: Option<OwnedFd>,
}

impl Directory {
    fn parent_of<'a>(
        &'a mut self,
        place: &Place<'_>,
        path: &'a CStr,
    ) -> Result<(&'a OwnedFd, &'a CStr), Errno> {
        let bytes = path.to_bytes_with_nul();
        let slash = bytes.iter().rposition(|&b| b == b'/').map_or(0, |i| i + 1);
        let name = CStr::from_bytes_with_nul(&bytes[slash..]).map_err(|_| Errno::EINVAL)?;
        if self.fd.is_none() || self.path != bytes[..slash] {
            self.path = bytes[..slash].to_vec();
            let directory = CString::new(&bytes[..slash]).map_err(|_| Errno::EINVAL)?;
            self.fd = Some(place.mkdir_all(&directory, 0o755)?);
        }
        self.fd.as_ref().map(|fd| (fd, name)).ok_or(Errno::EINVAL)
    }
}

/// Makes a node. If the node exists already, gives it the configured mode and owner.
fn make_node(parent: &OwnedFd, name: &CStr, device: &Device) -> Result<(), Errno> {
    let kind = SFlag::from_bits_truncate(device.kind);
    // The umask is 0, so the node gets exactly this mode.
    match mknodat(parent, name, kind, Mode::from_bits_truncate(device.mode), number(device)) {
        Ok(()) if (device.uid, device.gid) == (0, 0) => Ok(()),
        Ok(()) | Err(Errno::EEXIST) => make_new_node(parent, name, device),
        Err(errno) => Err(errno),
    }
}

fn number(device: &Device) -> u64 {
    libc::makedev(device.major, device.minor)
}

fn matches_plan(there: &libc::stat, device: &Device) -> bool {
    there.st_mode & libc::S_IFMT == device.kind
        && (device.kind == libc::S_IFIFO || there.st_rdev == number(device))
}

/// Changes the existing node through one descriptor. If containers share the directory, its name could refer
/// to another file at each call, or to a symlink to a file of the host.
fn make_new_node(parent: &OwnedFd, name: &CStr, device: &Device) -> Result<(), Errno> {
    let mut node = open_path(parent, name)?;
    let stat = fstat(&node)?;
    if !stands(Defence::JudgedNode) {
        node = openat(parent, name, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    } else if !matches_plan(&stat, device) {
        return Err(Errno::EEXIST);
    }
    if (stat.st_uid, stat.st_gid) != (device.uid, device.gid) {
        chown_opened(node.as_fd(), device.uid, device.gid)?;
    }
    if stat.st_mode & 0o7777 != device.mode {
        chmod_opened(node.as_fd(), device.mode)?;
    }
    Ok(())
}

/// Opens the name without following a symlink, and without the effects that opening a device or FIFO has.
fn open_path(parent: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Binds the host's node. A FIFO is made instead, which needs no privilege.
fn bind_host_node(parent: &OwnedFd, name: &CStr, device: &Device) -> Result<(), Errno> {
    if device.kind == libc::S_IFIFO {
        return make_node(parent, name, device);
    }
    let host = open_tree_clone(AT_FDCWD.as_fd(), &device.path, false, 0)?;
    // The host's file of that name may be anything.
    if !matches_plan(&fstat(&host)?, device) {
        return Err(Errno::ENODEV);
    }
    // Nosuid and noexec as crun: nothing is ever executed there. Read-only because the node is the host's: it
    // can be written to nonetheless, but its mode, owner and times cannot be changed.
    let set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY;
    let change = Attributes { set, ..Attributes::default() };
    mount_setattr(host.as_fd(), change, None, false)?;
    move_mount(host.as_fd(), place_for_bind(parent, name)?.as_fd())
}

/// Returns the existing file, or a new empty one. The existing file is not opened for reading: an image may
/// have put a FIFO there, on which an open waits for ever.
fn place_for_bind(parent: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(parent, name, flags, Mode::from_bits_truncate(0o644)) {
        Err(Errno::EEXIST) => {}
        other => return other,
    }
    let existing = open_path(parent, name)?;
    match fstat(&existing)?.st_mode & libc::S_IFMT {
        // A mount on the symlink itself would not hide the file that it leads to. On a directory the kernel
        // refuses the mount.
        libc::S_IFLNK => Err(Errno::ELOOP),
        _ => Ok(existing),
    }
}

fn make_link(parent: &OwnedFd, name: &CStr, link: &Link) -> Result<(), Errno> {
    match symlinkat(link.to.as_c_str(), parent, name) {
        // ptmx must lead into the container's own devpts, whatever the image or a configured node puts there.
        Err(Errno::EEXIST) if name == c"ptmx" => {
            unlinkat(parent, name, UnlinkatFlags::NoRemoveDir)?;
            symlinkat(link.to.as_c_str(), parent, name)
        }
        Err(Errno::EEXIST) => Ok(()),
        other => other,
    }
}

/// Makes /dev/core if the kernel has /proc/kcore.
fn make_core_link(place: &Place<'_>, directory: &mut Directory) -> Result<(), Errno> {
    match place.find(c"/proc/kcore", OFlag::O_PATH).0 {
        Ok(_) => {}
        Err(_) => return Ok(()),
    }
    let link = Link { path: c"/dev/core".into(), to: c"/proc/kcore".into() };
    let (parent, name) = directory.parent_of(place, c"/dev/core")?;
    make_link(parent, name, &link)
}
