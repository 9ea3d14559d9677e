//! Makes a filesystem of the container's own: through descriptors, or with mount(2) if an option is too long
//! for them.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::Mode;
use nix::unistd::fchdir;

use super::mount_error::{InCall, MountError};
use crate::plan::mount_options::Parameter;
use crate::plan::mounts::Mount;
use crate::sys::mount::{fsconfig_create, fsconfig_set, fsmount, fsopen, move_mount, open_tree_clone};
use crate::sys::process::page_size;

/// Makes a superblock with fsopen(2). It is not mounted anywhere yet.
pub(super) fn make(
    kind: &CStr,
    source: &CStr,
    parameters: &[Parameter],
    mode: Option<u32>,
    mount: &Mount,
) -> Result<OwnedFd, MountError> {
    let context = fsopen(kind).call("fsopen")?;
    let with_words = |result: Result<(), Errno>, call| {
        result.map_err(|errno| MountError { errno, call, words: read_log(&context) })
    };
    fsconfig_set(context.as_fd(), c"source", Some(source)).call("fsconfig")?;
    if let Some(mode) = mode {
        let text = std::ffi::CString::new(format!("{mode:o}")).unwrap_or_default();
        with_words(fsconfig_set(context.as_fd(), c"mode", Some(&text)), "fsconfig")?;
    }
    for (key, value) in parameters {
        match fsconfig_set(context.as_fd(), key, value.as_deref()) {
            // mount(2) dropped this flag for most filesystems, and the new interface has no word for it.
            Err(_) if key.as_c_str() == c"iversion" => {}
            result => with_words(result, "fsconfig")?,
        }
    }
    with_words(fsconfig_create(context.as_fd()), "fsconfig(CREATE)")?;
    // The set bits are complete: an access-time mode is either given, or cleared to the default.
    fsmount(context.as_fd(), mount.attributes.set).call("fsmount")
}

/// fsconfig(2) refuses values of 256 bytes and more: layers of an overlay easily have as many.
pub(super) fn is_too_long((_, value): &Parameter) -> bool {
    value.as_ref().is_some_and(|value| value.count_bytes() >= 256)
}

/// Mounts like [`make`], but with mount(2). That call takes only a path, and the mount can then be found only
/// by its path. So a tmpfs covers `target` meanwhile, and the mount is made on a directory in it: nobody else
/// can change what a name in there means.
pub(super) fn make_by_mount(
    target: &OwnedFd,
    kind: &CStr,
    source: &CStr,
    parameters: &[Parameter],
    mode: Option<u32>,
) -> Result<OwnedFd, MountError> {
    let own = own_directory().call("mount a private tmpfs")?;
    move_mount(own.as_fd(), target.as_fd()).call("move_mount")?;
    let made = mount_in(&own, kind, source, parameters, mode);
    // Also takes away what is mounted in it; a clone of that is attached nowhere.
    let gone = fchdir(&own).and_then(|()| umount2(c".", MntFlags::MNT_DETACH));
    let made = made?;
    gone.call("umount2").map(|()| made)
}

const PLACE: &CStr = c"mount";

fn own_directory() -> Result<OwnedFd, Errno> {
    let context = fsopen(c"tmpfs")?;
    fsconfig_create(context.as_fd())?;
    let own = fsmount(context.as_fd(), 0)?;
    nix::sys::stat::mkdirat(&own, PLACE, Mode::S_IRWXU)?;
    Ok(own)
}

/// Mounts in the directory that is ours alone. Returns a clone of the mount.
fn mount_in(
    own: &OwnedFd,
    kind: &CStr,
    source: &CStr,
    parameters: &[Parameter],
    mode: Option<u32>,
) -> Result<OwnedFd, MountError> {
    let place = openat(own, PLACE, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    fchdir(place.call("open")?).call("fchdir")?;
    mount_here(kind, source, parameters, mode)?;
    open_tree_clone(own.as_fd(), PLACE, false, 0).call("open_tree")
}

/// Mounts at the working directory with mount(2), which takes all options together in one page and would
/// silently cut off more.
fn mount_here(
    kind: &CStr,
    source: &CStr,
    parameters: &[Parameter],
    mode: Option<u32>,
) -> Result<(), MountError> {
    const FLAGS: [(&CStr, MsFlags); 5] = [
        (c"ro", MsFlags::MS_RDONLY),
        (c"sync", MsFlags::MS_SYNCHRONOUS),
        (c"dirsync", MsFlags::MS_DIRSYNC),
        (c"mand", MsFlags::MS_MANDLOCK),
        (c"iversion", MsFlags::MS_I_VERSION),
    ];
    let (mut flags, mut data) = (MsFlags::empty(), Vec::new());
    if let Some(mode) = mode {
        data.extend_from_slice(format!("mode={mode:o}").as_bytes());
    }
    for (key, value) in parameters {
        if let Some((_, flag)) = FLAGS.iter().find(|(name, _)| *name == key.as_c_str()) {
            flags |= *flag;
            continue;
        }
        data.extend_from_slice(if data.is_empty() { b"" } else { b"," });
        data.extend_from_slice(key.to_bytes());
        if let Some(value) = value {
            data.push(b'=');
            data.extend_from_slice(value.to_bytes());
        }
    }
    if data.len() >= page_size() {
        return Err(Errno::E2BIG).call("mount: the options are longer than a page");
    }
    nix::mount::mount(Some(source), c".", Some(kind), flags, Some(data.as_slice())).call("mount")
}

/// Reads the filesystem's own message about its failure: one line of its log, without the level.
fn read_log(context: &OwnedFd) -> Vec<u8> {
    let mut buffer = [0; 200];
    match nix::unistd::read(context, &mut buffer) {
        Ok(length) if length > 2 => buffer[2..length].trim_ascii_end().to_vec(),
        _ => Vec::new(),
    }
}
