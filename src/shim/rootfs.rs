//! The root filesystem that containerd asks the shim to mount on the bundle's `rootfs`, and its end.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::inroot::Root;
use crate::shim::id_mapped::{self, IdMaps};
use crate::shim::wire::types::Mount;
use crate::sys::mount as new;

/// The words that are bits of mount(2): whether each sets or clears, and which.
const FLAGS: &[(&str, bool, MsFlags)] = &[
    ("async", false, MsFlags::MS_SYNCHRONOUS),
    ("atime", false, MsFlags::MS_NOATIME),
    ("bind", true, MsFlags::MS_BIND),
    ("defaults", false, MsFlags::empty()),
    ("dev", false, MsFlags::MS_NODEV),
    ("diratime", false, MsFlags::MS_NODIRATIME),
    ("dirsync", true, MsFlags::MS_DIRSYNC),
    ("exec", false, MsFlags::MS_NOEXEC),
    ("mand", true, MsFlags::MS_MANDLOCK),
    ("noatime", true, MsFlags::MS_NOATIME),
    ("nodev", true, MsFlags::MS_NODEV),
    ("nodiratime", true, MsFlags::MS_NODIRATIME),
    ("noexec", true, MsFlags::MS_NOEXEC),
    ("nomand", false, MsFlags::MS_MANDLOCK),
    ("norelatime", false, MsFlags::MS_RELATIME),
    ("nostrictatime", false, MsFlags::MS_STRICTATIME),
    ("nosuid", true, MsFlags::MS_NOSUID),
    ("rbind", true, MsFlags::MS_BIND.union(MsFlags::MS_REC)),
    ("relatime", true, MsFlags::MS_RELATIME),
    ("remount", true, MsFlags::MS_REMOUNT),
    ("ro", true, MsFlags::MS_RDONLY),
    ("rw", false, MsFlags::MS_RDONLY),
    ("strictatime", true, MsFlags::MS_STRICTATIME),
    ("suid", false, MsFlags::MS_NOSUID),
    ("sync", true, MsFlags::MS_SYNCHRONOUS),
];

/// Mounts every layer that the request names, in its order. What was mounted before a failure is taken away again.
pub(crate) fn mount_all(mounts: &[Mount], rootfs: &Path) -> Result<()> {
    for one in mounts {
        let place = Place { rootfs, target: &one.target };
        let done = mount_one(one, place)
            .with_context(|| format!("mounting {:?} ({}) to {place}", one.source, one.kind));
        if done.is_err() {
            let _ = unmount(rootfs);
            return done;
        }
    }
    Ok(())
}

/// Where a mount goes: the root filesystem itself, or a place in what is mounted there already. That is an image's: its links
/// lead nowhere but into it.
#[derive(Clone, Copy)]
struct Place<'a> {
    rootfs: &'a Path,
    target: &'a str,
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", self.rootfs.join(self.target.trim_start_matches('/')).display())
    }
}

impl Place<'_> {
    /// Opens what is there now: after a mount, that.
    fn open(&self) -> Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        if self.target.trim_matches('/').is_empty() {
            return Ok(open(self.rootfs, flags | OFlag::O_NOFOLLOW, Mode::empty())?);
        }
        let root = Root::open(self.rootfs)?;
        Ok(root.resolve(&c_string(self.target)?, flags)?)
    }
}

/// The name of an open place, for mount(2).
fn name(place: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", place.as_raw_fd())
}

fn mount_one(wanted: &Mount, place: Place<'_>) -> Result<()> {
    let (flags, mut data) = split(&wanted.options);
    let maps = IdMaps::take(&mut data)?;
    // Of an overlay the layers are mapped: they are there until it is mounted.
    let mut _layers = None;
    if let Some(maps) = maps.as_ref().filter(|_| wanted.kind == "overlay") {
        let bundle = place.rootfs.parent().unwrap_or(place.rootfs);
        _layers = Some(id_mapped::map_layers(maps, &mut data, bundle)?);
    }
    mount_unmapped(wanted, place, flags, &data)?;
    match maps.filter(|_| wanted.kind != "overlay") {
        Some(maps) => id_mapped::map_place(&maps, &place.open()?),
        None => Ok(()),
    }
}

fn mount_unmapped(wanted: &Mount, place: Place<'_>, flags: MsFlags, data: &[String]) -> Result<()> {
    if data.iter().any(|option| option == "loop") {
        return Err(fail!(Kind::Unsupported, "loop devices are not made by this shim")
            .with_hint("use a snapshotter that gives directories: overlayfs or native"));
    }
    let joined = data.join(",");
    // mount(2) takes one page of options, and an overlay of many layers has more: then each goes by itself.
    if joined.len() >= 4000 && wanted.kind == "overlay" {
        return mount_by_parts(wanted, place, flags, data);
    }
    let kind = Some(wanted.kind.as_str()).filter(|kind| !kind.is_empty());
    let data = Some(joined.as_str()).filter(|data| !data.is_empty());
    let propagation = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    let under = place.open()?;
    mount(Some(wanted.source.as_str()), name(&under).as_str(), kind, flags.difference(propagation), data)?;
    // A bind mount takes its other flags by a second call only.
    let bound = MsFlags::MS_BIND | MsFlags::MS_REC | MsFlags::MS_REMOUNT;
    if flags.contains(MsFlags::MS_BIND) && !flags.difference(bound).is_empty() {
        let mounted = place.open()?;
        let flags = flags | MsFlags::MS_REMOUNT;
        mount(None::<&str>, name(&mounted).as_str(), None::<&str>, flags, None::<&str>)?;
    }
    Ok(())
}

/// Splits the options into bits and what the filesystem itself reads. A later word wins over an earlier one.
fn split(options: &[String]) -> (MsFlags, Vec<String>) {
    let (mut flags, mut data) = (MsFlags::empty(), Vec::new());
    for option in options {
        match FLAGS.iter().find(|(word, ..)| word == option) {
            Some((_, true, bits)) => flags |= *bits,
            Some((_, false, bits)) => flags &= !*bits,
            None if option.is_empty() => {}
            None => data.push(option.clone()),
        }
    }
    (flags, data)
}

/// fsopen(2) and its relatives: every option by a call of its own, KERNEL(5.2), layers of overlay one by one KERNEL(6.5).
fn mount_by_parts(wanted: &Mount, place: Place<'_>, flags: MsFlags, data: &[String]) -> Result<()> {
    let context = new::fsopen(&c_string(&wanted.kind)?)?;
    new::fsconfig_set(context.as_fd(), c"source", Some(&c_string(&wanted.source)?))?;
    if flags.contains(MsFlags::MS_RDONLY) {
        new::fsconfig_set(context.as_fd(), c"ro", None)?;
    }
    for option in data {
        match option.split_once('=') {
            Some(("lowerdir", layers)) if layers.len() >= 255 => lower_layers(&context, layers)?,
            Some((key, value)) => {
                new::fsconfig_set(context.as_fd(), &c_string(key)?, Some(&c_string(value)?))?;
            }
            None => new::fsconfig_set(context.as_fd(), &c_string(option)?, None)?,
        }
    }
    new::fsconfig_create(context.as_fd())?;
    let mounted = new::fsmount(context.as_fd(), attributes(flags))?;
    Ok(new::move_mount(mounted.as_fd(), place.open()?.as_fd())?)
}

/// A value of fsconfig(2) has at most 255 bytes, so the layers go one by one, from the top down.
fn lower_layers(context: &OwnedFd, layers: &str) -> Result<()> {
    for layer in layers.split(':') {
        new::fsconfig_set(context.as_fd(), c"lowerdir+", Some(&c_string(layer)?))?;
    }
    Ok(())
}

/// MOUNT_ATTR_* of fsmount(2). Three of the bits are those of mount(2).
fn attributes(flags: MsFlags) -> u64 {
    let same = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let mut bits = u64::from_ne_bytes(flags.intersection(same).bits().to_ne_bytes());
    if flags.contains(MsFlags::MS_NOATIME) {
        bits |= libc::MOUNT_ATTR_NOATIME;
    }
    bits
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| fail!(Kind::Usage, "{text:?} holds a NUL"))
}

/// Unmounts everything at and below `rootfs`. Nothing there is no error.
///
/// What is busy is detached: it goes when its last user does, and containerd's own files can be removed now.
pub(crate) fn unmount(rootfs: &Path) -> Result<()> {
    for _ in 0..64 {
        match umount2(rootfs, MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // Nothing is mounted there; or there is no such place.
            Err(Errno::EINVAL | Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            Err(Errno::EBUSY) => {
                umount2(rootfs, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH)
                    .with_context(|| format!("unmounting {}", rootfs.display()))?;
            }
            Err(errno) => return Err(errno).with_context(|| format!("unmounting {}", rootfs.display())),
        }
    }
    Ok(())
}

/// Unmounts all that a bundle has, whoever was killed while it was made.
pub(crate) fn unmount_bundle(bundle: &Path) -> Result<()> {
    unmount(&place(bundle))?;
    id_mapped::clear(bundle)
}

/// The place of a bundle's root filesystem.
pub(crate) fn place(bundle: &Path) -> PathBuf {
    bundle.join("rootfs")
}
