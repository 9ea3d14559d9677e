//! The traces that a bundle in use leaves in the kernel: the paths, devices and inodes by which links and
//! mounts of processes are recognized, in their mount namespaces too.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, readlink};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, stat};

use super::opened::Bundle;
use crate::error::{Context, Result};
use crate::image::filesystem::overlay::source_of;
use crate::sys::mountinfo::{self, Mount, unescape};

/// The directories of a bundle whose content containers use.
const PARTS: [&str; 3] = ["rootfs", "upper", "work"];

/// How a mount uses a bundle.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MountUse {
    /// A directory of the bundle, or its overlay, is mounted.
    Mounted,
    /// An overlay has a directory of the bundle as one of its layers.
    OverlayOverIt,
}

/// What is known of a bundle.
#[derive(Debug)]
pub(super) struct Traces {
    /// The paths of its directories: where they are, and where they were before a rename.
    paths: Vec<Vec<u8>>,
    /// The same, each as its filesystem's device and the path in that filesystem, as mountinfo has them.
    places: Vec<(Vec<u8>, Vec<u8>)>,
    /// Device and inode of its directories.
    ids: Vec<(u64, u64)>,
    /// The overlay while it is mounted: its device as mountinfo and as stat(2) have it.
    overlay: Option<(Vec<u8>, u64)>,
    /// Whether the overlay was mounted here: other namespaces may then have copies of that mount, which they
    /// do not use.
    may_have_copies: bool,
    /// The source of the overlay's mount, in whatever namespace.
    source: Option<Vec<u8>>,
}

impl Traces {
    /// Looks at the bundle; its overlay may be mounted.
    pub(super) fn of(bundle: &Bundle) -> Result<Self> {
        let dir = bundle.dir();
        let base = fstat(dir)?.st_dev;
        let mut traces = Self {
            paths: Vec::new(),
            places: Vec::new(),
            ids: Vec::new(),
            overlay: None,
            source: None,
            may_have_copies: false,
        };
        for part in PARTS {
            let found = match fstatat(dir, part, AtFlags::AT_SYMLINK_NOFOLLOW) {
                // A private tree has a rootfs alone; what is left of a bundle need not have even that.
                Err(Errno::ENOENT) => continue,
                found => found?,
            };
            if found.st_mode & libc::S_IFMT != libc::S_IFDIR {
                continue;
            }
            traces.ids.push((found.st_dev, found.st_ino));
            if part == "rootfs" && bundle.info().overlay.is_some() && found.st_dev != base {
                let device = mount_of(&bundle.open_dir(c"rootfs")?, SELF)?.map(|mount| mount.device);
                traces.overlay = device.map(|device| (device, found.st_dev));
            }
            if part == "upper" {
                traces.source = Some(source_of(&found)?.into_bytes());
            }
        }
        traces.may_have_copies = traces.overlay.is_some();
        traces.follow(bundle)?;
        Ok(traces)
    }

    /// Forgets the device of the overlay, which is unmounted: the next filesystem may have its number.
    pub(super) fn forget_device(&mut self) {
        if let Some((_, gone)) = self.overlay.take() {
            self.ids.retain(|&(device, _)| device != gone);
        }
    }

    /// Adds the paths that the bundle has now.
    pub(super) fn follow(&mut self, bundle: &Bundle) -> Result<()> {
        let path = bundle.path()?;
        let mount = mount_of(bundle.dir(), SELF)?;
        for part in PARTS {
            let path = path.join(part);
            if let Some(mount) = &mount {
                let point = Path::new(std::ffi::OsStr::from_bytes(mount.point.to_bytes()));
                let root = Path::new(std::ffi::OsStr::from_bytes(&mount.root));
                let below = path.strip_prefix(point).map(|below| root.join(below));
                let place = below.map(|below| below.as_os_str().as_bytes().to_vec());
                self.places.extend(place.map(|place| (mount.device.clone(), place)));
            }
            self.paths.push(path.as_os_str().as_bytes().to_vec());
        }
        Ok(())
    }

    /// Whether a link of a process in /proc leads into the bundle; `path` is what it says.
    pub(super) fn is_inside(&self, process: &Path, name: &str, path: &Path) -> Result<bool> {
        let link = process.join(name);
        match stat(&link) {
            Ok(found) => Ok(self.is_part(path, &found)),
            Err(errno @ (Errno::ENOENT | Errno::ESRCH)) => Err(errno.into()),
            // A filesystem that is for its own user alone, or whose server is gone. The bundle is on another
            // one.
            Err(errno) => {
                let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
                let device =
                    mount_of(&open(&link, flags, Mode::empty())?, process)?.map(|mount| mount.device);
                let is_other = |device: &Vec<u8>| {
                    self.places.iter().all(|(own, _)| own != device)
                        && self.overlay.as_ref().is_none_or(|(own, _)| own != device)
                };
                if device.as_ref().is_some_and(is_other) { Ok(false) } else { Err(errno.into()) }
            }
        }
    }

    /// Whether a file is part of the bundle; `path` is what /proc says of it.
    fn is_part(&self, path: &Path, found: &FileStat) -> bool {
        let is_on = |device: u64| found.st_dev == device;
        self.ids.contains(&(found.st_dev, found.st_ino))
            || self.overlay.as_ref().is_some_and(|&(_, device)| is_on(device))
            // Elsewhere another directory may have this path.
            || self.has(path.as_os_str().as_bytes()) && self.ids.iter().any(|&(device, _)| is_on(device))
    }

    /// Whether a path is one in the bundle, seen from this root or from one above it.
    fn has(&self, path: &[u8]) -> bool {
        let is_below = |base: &Vec<u8>| {
            let mut ends = path.windows(base.len()).enumerate().filter(|(_, part)| part == base);
            ends.any(|(at, _)| matches!(path.get(at + base.len()), None | Some(b'/')))
        };
        self.paths.iter().any(is_below)
    }

    /// How a mount that the process sees uses the bundle; None if it does not.
    pub(super) fn use_by(&self, mount: &Mount, process: &Path) -> Option<MountUse> {
        let (point, root) = (mount.point.to_bytes(), &mount.root);
        let is_overlay = self.overlay.as_ref().is_some_and(|(device, _)| *device == mount.device)
            || self.source.as_ref() == Some(&mount.source);
        if is_overlay {
            // The bundle's own mount, or what another namespace has copied of it with all other mounts.
            let is_in_place = root == b"/" && self.paths.iter().any(|path| point.ends_with(path));
            return (!is_in_place || !self.may_have_copies).then_some(MountUse::Mounted);
        }
        let is_in =
            |(device, place): &(Vec<u8>, Vec<u8>)| *device == mount.device && is_at_or_below(root, place);
        if self.places.iter().any(is_in) {
            return Some(MountUse::Mounted);
        }
        if mount.kind != b"overlay" {
            return None;
        }
        layers(&mount.options)
            .iter()
            .any(|layer| self.is_layer(layer, process))
            .then_some(MountUse::OverlayOverIt)
    }

    /// Whether the path of an overlay's layer, as it was given to mount(2), is in the bundle.
    fn is_layer(&self, layer: &[u8], process: &Path) -> bool {
        let Some(absolute) = layer.strip_prefix(b"/") else { return self.is_relative_layer(layer, process) };
        if self.has(layer) {
            return true;
        }
        // A path of descriptors was another process's.
        let found = stat(&process.join("root").join(std::ffi::OsStr::from_bytes(absolute)));
        !layer.starts_with(b"/proc/")
            && found.is_ok_and(|found| self.ids.contains(&(found.st_dev, found.st_ino)))
    }

    /// Does the same as `is_layer` for a relative path. The kernel does not show the directory at which it
    /// begins: usually it is the working directory of the process.
    fn is_relative_layer(&self, layer: &[u8], process: &Path) -> bool {
        let below = Path::new(std::ffi::OsStr::from_bytes(layer.strip_prefix(b"./").unwrap_or(layer)));
        let cwd = process.join("cwd");
        match (readlink(&cwd), stat(&cwd.join(below))) {
            (Ok(above), Ok(found)) => self.is_part(&Path::new(&above).join(below), &found),
            // It began elsewhere: nothing but the end of the path can be compared.
            _ => {
                let tail = [b"/", below.as_os_str().as_bytes()].concat();
                layer.len() > 1 && self.paths.iter().any(|path| path.ends_with(&tail))
            }
        }
    }
}

fn is_at_or_below(path: &[u8], base: &[u8]) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// The paths of an overlay's layers in its options.
fn layers(options: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for option in options.split(|&byte| byte == b',') {
        let mut words = option.splitn(2, |&byte| byte == b'=');
        let (Some(key), Some(value)) = (words.next(), words.next()) else { continue };
        if !matches!(key, b"lowerdir" | b"lowerdir+" | b"datadir+" | b"upperdir" | b"workdir") {
            continue;
        }
        // A colon in a path is escaped with a backslash.
        let mut path = Vec::new();
        let mut bytes = unescape(value).into_iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\\' => path.extend(bytes.next()),
                b':' if key == b"lowerdir" => found.push(std::mem::take(&mut path)),
                byte => path.push(byte),
            }
        }
        found.push(path);
    }
    found.retain(|path| !path.is_empty());
    found
}

/// This process in /proc.
const SELF: &str = "/proc/self";

/// The mount that an open file is on, among those that the process sees; None if it does not see it.
fn mount_of(file: &OwnedFd, process: impl AsRef<Path>) -> Result<Option<Mount>> {
    let path = format!("/proc/self/fdinfo/{}", file.as_raw_fd());
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let id: Option<u64> =
        text.lines().find_map(|line| line.strip_prefix("mnt_id:")).and_then(|id| id.trim().parse().ok());
    let mounts = mountinfo::read_of(process.as_ref())?;
    Ok(mounts.into_iter().find(|mount| Some(mount.id) == id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layers_of_an_overlay_are_read_from_its_options() {
        let options = b"rw,lowerdir=/a\\134:b:/c\\054d::/e,upperdir=/u p,workdir=w,lowerdir+=/x:y,xino=off";
        let found: Vec<String> =
            layers(options).iter().map(|path| String::from_utf8_lossy(path).into()).collect();
        assert_eq!(found, ["/a:b", "/c,d", "/e", "/u p", "w", "/x:y"]);
    }

    #[test]
    fn paths_are_recognized_by_whole_components() {
        let traces = Traces {
            paths: vec![b"/srv/b/rootfs".to_vec()],
            places: Vec::new(),
            ids: Vec::new(),
            overlay: None,
            may_have_copies: false,
            source: None,
        };
        for path in ["/srv/b/rootfs", "/srv/b/rootfs/usr", "/host/srv/b/rootfs/x"] {
            assert!(traces.has(path.as_bytes()), "{path}");
        }
        for path in ["/srv/b/rootfs2", "/srv/b", "/", "/srv/c/rootfs"] {
            assert!(!traces.has(path.as_bytes()), "{path}");
        }
    }
}
