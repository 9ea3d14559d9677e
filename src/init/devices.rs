//! Makes the device nodes and links of /dev, below a descriptor of their directory.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstatat, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};

use crate::handshake::{InStep, Report, Step};
use crate::inroot::Root;
use crate::plan::devices::{Device, Devices, Link};
use crate::sys::mount::{move_mount, open_tree_clone};

/// Makes all of them. `user_namespace`: nodes cannot be made in one, the host's are bound instead.
pub(super) fn make(plan: &Devices, root: &Root, user_namespace: bool) -> Result<(), Report> {
    let mut directory = Directory::default();
    for (index, device) in plan.nodes.iter().enumerate() {
        let (parent, name) =
            directory.parent_of(root, &device.path).in_step(Step::Device(index), "open the directory")?;
        let result = if user_namespace { Err(Errno::EPERM) } else { make_node(parent, name, device) };
        match result {
            // Not allowed here, although we may be root: the host's node does.
            Err(Errno::EPERM) => {
                bind_host_node(parent, name, device).in_step(Step::Device(index), "bind the host's node")?;
            }
            other => other.in_step(Step::Device(index), "mknod")?,
        }
    }
    for (index, link) in plan.links.iter().enumerate() {
        let (parent, name) =
            directory.parent_of(root, &link.path).in_step(Step::Link(index), "open the directory")?;
        make_link(parent, name, link).in_step(Step::Link(index), "symlink")?;
    }
    make_core_link(root, &mut directory).in_step(Step::CoreLink, "symlink /dev/core")
}

/// The directory that was opened last: nearly all are /dev.
#[derive(Default)]
struct Directory {
    path: Vec<u8>,
    fd: Option<OwnedFd>,
}

impl Directory {
    fn parent_of<'a>(&'a mut self, root: &Root, path: &'a CStr) -> Result<(&'a OwnedFd, &'a CStr), Errno> {
        let bytes = path.to_bytes_with_nul();
        let slash = bytes.iter().rposition(|&b| b == b'/').map_or(0, |i| i + 1);
        let name = CStr::from_bytes_with_nul(&bytes[slash..]).map_err(|_| Errno::EINVAL)?;
        if self.fd.is_none() || self.path != bytes[..slash] {
            self.path = bytes[..slash].to_vec();
            let directory = CString::new(&bytes[..slash]).map_err(|_| Errno::EINVAL)?;
            self.fd = Some(root.mkdir_all(&directory, 0o755)?);
        }
        self.fd.as_ref().map(|fd| (fd, name)).ok_or(Errno::EINVAL)
    }
}

/// Makes a node, or changes the mode of one that stands there already.
fn make_node(parent: &OwnedFd, name: &CStr, device: &Device) -> Result<(), Errno> {
    let kind = SFlag::from_bits_truncate(device.kind);
    let number = libc::makedev(device.major, device.minor);
    // The umask is 0: the mode is the one asked for.
    match mknodat(parent, name, kind, Mode::from_bits_truncate(device.mode), number) {
        Ok(()) => {}
        Err(Errno::EEXIST) => {
            let there = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if there.st_mode & libc::S_IFMT != device.kind || there.st_rdev != number {
                return Err(Errno::EEXIST);
            }
            fchmodat(parent, name, Mode::from_bits_truncate(device.mode), FchmodatFlags::FollowSymlink)?;
        }
        Err(errno) => return Err(errno),
    }
    if (device.uid, device.gid) == (0, 0) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// Binds the node of the host.
fn bind_host_node(parent: &OwnedFd, name: &CStr, device: &Device) -> Result<(), Errno> {
    if device.kind == libc::S_IFIFO {
        return make_node(parent, name, device);
    }
    let host = open_tree_clone(AT_FDCWD.as_fd(), &device.path, false, 0)?;
    let flags = OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let target = match nix::fcntl::openat(parent, name, flags, Mode::from_bits_truncate(0o644)) {
        Err(Errno::ENXIO | Errno::EACCES) | Ok(_) => {
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            nix::fcntl::openat(parent, name, flags, Mode::empty())?
        }
        Err(errno) => return Err(errno),
    };
    move_mount(host.as_fd(), target.as_fd())
}

fn make_link(parent: &OwnedFd, name: &CStr, link: &Link) -> Result<(), Errno> {
    match symlinkat(link.to.as_c_str(), parent, name) {
        // ptmx must lead into the container's own devpts, whatever the image or a device node says.
        Err(Errno::EEXIST) if name == c"ptmx" => {
            unlinkat(parent, name, UnlinkatFlags::NoRemoveDir)?;
            symlinkat(link.to.as_c_str(), parent, name)
        }
        Err(Errno::EEXIST) => Ok(()),
        other => other,
    }
}

/// Makes /dev/core, where the kernel has /proc/kcore.
fn make_core_link(root: &Root, directory: &mut Directory) -> Result<(), Errno> {
    if directory.fd.is_none() {
        return Ok(());
    }
    match root.resolve(c"/proc/kcore", OFlag::O_PATH) {
        Ok(_) => {}
        Err(_) => return Ok(()),
    }
    let link = Link { path: c"/dev/core".into(), to: c"/proc/kcore".into() };
    let (parent, name) = directory.parent_of(root, c"/dev/core")?;
    make_link(parent, name, &link)
}
