//! An existing bundle, opened once and judged before anything in it is believed.
//!
//! `tare-image.json` names what is mounted and removed, so whoever can write it commands root. A bundle is
//! therefore this user's own or root's, and nobody else can write in it; everything in it is opened below its
//! descriptor, and none of it through a symlink.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlink};
use nix::sys::stat::{FileStat, Mode, fstat, lstat};
use nix::unistd::geteuid;

use super::BundleInfo;
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::changes;
use crate::image::document::manifest;
use crate::image::filesystem::dir::{fd_path, open_dir};
use crate::image::source::reference::Reference;
use crate::image::store::BUNDLE_INFO;
use crate::inroot::c_string;

/// A bundle that tare-image made, open.
#[derive(Debug)]
pub(crate) struct Bundle {
    dir: OwnedFd,
    /// As the caller spells it, for messages.
    shown: PathBuf,
    info: BundleInfo,
}

impl Bundle {
    /// Opens the bundle at `path`, which may be a symlink, to look at it.
    ///
    /// # Errors
    ///
    /// `Kind::NotFound` for a bundle that tare-image did not make, `Kind::Denied` for one that others can
    /// write.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, OFlag::empty())
    }

    /// Opens the bundle like `open`, to change it or its mounts: a symlink is refused, because its owner
    /// decides where it leads.
    pub(crate) fn open_to_change(path: &Path) -> Result<Self> {
        Self::open_with(path, OFlag::O_NOFOLLOW)
    }

    fn open_with(path: &Path, flags: OFlag) -> Result<Self> {
        // Without the slashes at its end, which would follow a symlink.
        let plain: PathBuf = path.components().collect();
        let flags = flags | OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = match open(&plain, flags, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::ENOENT) => return Err(no_bundle(path)),
            Err(Errno::ENOTDIR | Errno::ELOOP) => return Err(no_directory(path, &plain)),
            Err(errno) => return Err(errno).with_context(|| format!("open {}", path.display())),
        };
        let info = read_info(&dir, path)?;
        Ok(Self { dir, shown: path.to_owned(), info })
    }

    pub(crate) fn info(&self) -> &BundleInfo {
        &self.info
    }

    pub(super) fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// The path as the caller spells it.
    pub(crate) fn shown(&self) -> &Path {
        &self.shown
    }

    /// The path where the bundle is now, absolute and without symlinks.
    pub(super) fn path(&self) -> Result<PathBuf> {
        let link = readlink(&fd_path(self.dir.as_fd()));
        link.map(PathBuf::from).with_context(|| format!("look for the place of {}", self.shown.display()))
    }

    /// A path of the bundle for system calls: it begins at the descriptor.
    pub(crate) fn fd_path(&self) -> PathBuf {
        fd_path(self.dir.as_fd())
    }

    /// Opens a directory of the bundle, or what is mounted there.
    pub(super) fn open_dir(&self, name: &CStr) -> Result<OwnedFd> {
        open_dir_of(&self.dir, name, &self.shown)
    }

    /// Opens the record of the tree as it was unpacked.
    pub(super) fn open_record(&self) -> Result<File> {
        let place = || self.shown.join(changes::RECORD_FILE).display().to_string();
        match open_ours(&self.dir, &c_string(changes::RECORD_FILE.as_bytes())?) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => {
                let error = fail!(Kind::NotFound, "the bundle has no record of how it was unpacked");
                Err(error).with_context(place)
            }
            file => file.with_context(place),
        }
    }
}

/// Opens the directory `name` of the bundle `dir`, or what is mounted there; `shown` is the bundle's path for
/// messages.
pub(super) fn open_dir_of(dir: &OwnedFd, name: &CStr, shown: &Path) -> Result<OwnedFd> {
    let place = || format!("open {}", shown.join(std::ffi::OsStr::from_bytes(name.to_bytes())).display());
    match open_dir(dir.as_fd(), name) {
        Err(Errno::ENOTDIR | Errno::ELOOP) => {
            Err(fail!(Kind::Denied, "it is no directory")).with_context(place)
        }
        opened => opened.with_context(place),
    }
}

/// Reads and judges `tare-image.json` of the open directory `dir`, and whether the directory is ours; `path`
/// is for messages.
pub(super) fn read_info(dir: &OwnedFd, path: &Path) -> Result<BundleInfo> {
    let shown = path.join(BUNDLE_INFO);
    let reading = || format!("read {}", shown.display());
    let file = match open_ours(dir, &c_string(BUNDLE_INFO.as_bytes())?) {
        Err(error) if error.errno() == Some(Errno::ENOENT) => return Err(no_bundle(path)),
        file => file.with_context(reading)?,
    };
    let mut bytes = Vec::new();
    file.take(crate::image::limits::MAX_MANIFEST).read_to_end(&mut bytes).with_context(reading)?;
    if bytes.is_empty() {
        let error = fail!(Kind::Spec, "{}: it is empty, as after a power loss", shown.display());
        return Err(
            error.with_hint(format!("remove {} by rm -r, and unpack the image again", path.display()))
        );
    }
    let info: BundleInfo = manifest::parse_json(&bytes).with_context(|| shown.display().to_string())?;
    let stat = fstat(dir).with_context(|| format!("look at {}", path.display()))?;
    // The bundle of a container with mapped ids belongs to the container's root, who must be able to enter
    // it.
    let mapped = info.mapping.as_ref().and_then(|mapping| mapping.to_host(0, 0).ok()).map(|(uid, _)| uid);
    check_is_ours(&stat, mapped).with_context(|| format!("open {}", path.display()))?;
    Ok(info)
}

/// Opens a regular file of the bundle that is ours. A symlink is not followed, and the writer of a FIFO not
/// waited for.
fn open_ours(dir: &OwnedFd, name: &CStr) -> Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = match openat(dir, name, flags, Mode::empty()) {
        // A symlink, a socket.
        Err(Errno::ELOOP | Errno::ENXIO) => return Err(no_regular_file()),
        file => file?,
    };
    let stat = fstat(&file)?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(no_regular_file());
    }
    check_is_ours(&stat, None)?;
    Ok(File::from(file))
}

fn no_regular_file() -> Error {
    fail!(Kind::Spec, "it is no regular file")
}

/// Checks that a file or directory belongs to this user or root, or to the user `mapped`, and that nobody
/// else can write to it.
fn check_is_ours(stat: &FileStat, mapped: Option<u32>) -> Result<()> {
    let uid = stat.st_uid;
    if uid != geteuid().as_raw() && uid != 0 && Some(uid) != mapped {
        let error = fail!(Kind::Denied, "it belongs to user {uid}, who may have put anything in it");
        return Err(error.with_hint("run tare-image as that user"));
    }
    if stat.st_mode & 0o022 != 0 {
        let error = fail!(Kind::Denied, "others may write to it: its mode is {:04o}", stat.st_mode & 0o7777);
        return Err(error.with_hint("chmod go-w it, if you know that nobody has changed it"));
    }
    Ok(())
}

fn no_bundle(path: &Path) -> Error {
    let error = fail!(Kind::NotFound, "{}: not a bundle made by tare-image", path.display());
    match Reference::parse(&path.to_string_lossy()) {
        Ok(_) => error.with_hint("it names an image: `unpack` makes a bundle of it, `rm` removes its name"),
        Err(_) => error,
    }
}

/// Makes the error for a path that is no directory, or a symlink that is not followed.
fn no_directory(path: &Path, plain: &Path) -> Error {
    let is_link = lstat(plain).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFLNK);
    if !is_link || !plain.is_dir() {
        return no_bundle(path);
    }
    let error =
        fail!(Kind::Denied, "{}: it is a symlink, and a bundle is not changed through one", path.display());
    match plain.canonicalize() {
        Ok(real) => error.with_hint(format!("name the bundle itself: {}", real.display())),
        Err(_) => error,
    }
}
