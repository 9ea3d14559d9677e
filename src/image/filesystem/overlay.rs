//! Mounts layers over each other with overlayfs: with the mount API and one `lowerdir+` per layer if the
//! kernel has it (500 layers), else with mount(2) and all of them in one string, which must fit into a page.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, readlink};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{FileStat, Mode};

use super::dir::fd_path;
use super::kernel_messages::explain;
use super::remove::id;
use crate::error::printable::counted;
use crate::error::{Context, Error, Kind, Result};
use crate::image::parallel::in_thread;
use crate::image::userns::mapping::IdMapping;
use crate::inroot::Root;
use crate::kernel::mount::{Attributes, MOUNT_ATTR_IDMAP};
use crate::sys::mount::{
    fsconfig_create, fsconfig_set, fsmount, fsopen, mount_setattr, move_mount, open_tree_clone,
};
use crate::sys::mountinfo;
use crate::{fail, log};

/// What to mount: the directories of the layers, the lowest first, and the directory for changes.
#[derive(Debug)]
pub(crate) struct Overlay<'a> {
    pub(crate) lowers: &'a [PathBuf],
    /// The upper and the work directory, which share a filesystem; None for a view only.
    pub(crate) upper: Option<(&'a Path, &'a Path)>,
    /// The mount option `userxattr`: the layers' marks are `user.overlay.*`.
    pub(crate) userxattr: bool,
    /// The store as an idmapped mount, if the layers have other owners.
    pub(crate) mapped: Option<&'a IdmappedDir>,
    /// The mounts, in no namespace, that some of the layers are; their paths are those of the descriptors.
    pub(crate) mounts: &'a [OwnedFd],
}

/// An idmapped mount of a directory. KERNEL(5.19): overlays take such layers.
#[derive(Debug)]
pub(crate) struct IdmappedDir {
    dir: PathBuf,
    mount: OwnedFd,
}

impl IdmappedDir {
    /// Makes one idmapped mount for all layers in the store at `dir`, with open_tree(2) and mount_setattr(2).
    pub(crate) fn new(dir: &Path, mapping: &IdMapping) -> Result<Self> {
        let place = || format!("map the owners of {}", dir.display());
        let namespace = crate::image::userns::namespace::create(mapping)?;
        let path = CString::new(dir.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL).with_context(place)?;
        let at = directory(Path::new("/")).with_context(place)?;
        let mount = open_tree_clone(at.as_fd(), &path, false, 0).with_context(place)?;
        let change = Attributes { set: MOUNT_ATTR_IDMAP, ..Attributes::default() };
        mount_setattr(mount.as_fd(), change, Some(namespace.as_fd()), false).map_err(|errno| {
            let error = Error::from(errno).context(place());
            // KERNEL(5.12), and each filesystem since its own version.
            if errno == Errno::EINVAL || errno == Errno::ENOSYS {
                error.with_hint("this kernel or filesystem has no idmapped mounts: unpack without --overlay")
            } else {
                error
            }
        })?;
        Ok(Self { dir: dir.to_owned(), mount })
    }

    /// The path of `lower` in this mount, valid as long as the mount is open.
    fn path(&self, lower: &Path) -> PathBuf {
        // What is not in the store is mapped already.
        let Ok(below) = lower.strip_prefix(&self.dir) else { return lower.to_owned() };
        Path::new(&format!("/proc/self/fd/{}", self.mount.as_raw_fd())).join(below)
    }
}

/// Options that keep whole files at their own paths in the upper directory, whatever the kernel's defaults
/// are, so that it can be read without a mount. (With `userxattr` this is always so.)
const UPPER_OPTIONS: [(&CStr, &CStr); 2] = [(c"redirect_dir", c"nofollow"), (c"metacopy", c"off")];

/// The option that gives all files of an overlay its own device number, as those of one filesystem have it
/// anyway: whoever looks what uses a bundle compares it.
const ONE_DEVICE: (&CStr, &CStr) = (c"xino", c"on");

/// Where old kernels mount what is only looked at: a mount point that every system has.
const VIEW_PLACE: &str = "/proc";

/// The longest value of a string option of fsconfig(2) in bytes.
const FSCONFIG_VALUE_MAX: usize = 255;

impl Overlay<'_> {
    /// Mounts at the open directory `target`, whose path `shown` is for messages.
    pub(crate) fn mount(&self, target: BorrowedFd<'_>, shown: &Path) -> Result<()> {
        match self.make(shown)? {
            Some(mounted) => attach(mounted.as_fd(), target, shown),
            None => {
                let place =
                    || format!("mount {} at {}", counted(self.lowers.len(), "layer"), shown.display());
                self.mount_by_string(&fd_path(target), &directory).with_context(place)
            }
        }
    }

    /// Makes the mount, which is nowhere yet, and ends with its descriptor if it is not attached; `shown` is
    /// the path where it will be, for messages. None where the kernel mounts nothing but at a place.
    pub(crate) fn make(&self, shown: &Path) -> Result<Option<OwnedFd>> {
        let place = || format!("mount {} at {}", counted(self.lowers.len(), "layer"), shown.display());
        match self.detached() {
            Ok(mounted) => Ok(Some(mounted)),
            Err(MountApiError::Unavailable(error)) if self.has_detached() => {
                log::debug(format_args!("the kernel takes no layer that is in no mount namespace: {error}"));
                self.detached_by_namespace().with_context(place).map(Some)
            }
            Err(MountApiError::Unavailable(error)) => {
                log::debug(format_args!("the kernel does not take layers one by one: {error}"));
                Ok(None)
            }
            Err(MountApiError::Failed(error)) => Err(error).with_context(place),
        }
    }

    /// Opens the layers as one tree, through a mount that nobody else sees.
    pub(crate) fn view(&self) -> Result<Root> {
        if let ([only], None) = (&self.topmost_first()[..], self.upper) {
            return Ok(Root::open(only)?);
        }
        match self.detached() {
            Ok(mounted) => Ok(Root::from(mounted)),
            Err(MountApiError::Failed(error)) => Err(error),
            Err(MountApiError::Unavailable(_)) if self.has_detached() => {
                self.detached_by_namespace().map(Root::from)
            }
            Err(MountApiError::Unavailable(_)) => self.view_by_string(),
        }
        .context("look at the layers below")
    }

    /// Opens the layers with mount(2), which needs a mount point: in the mount namespace of a thread, which
    /// nobody else sees, and where nobody else can change what the mount point's name means.
    fn view_by_string(&self) -> Result<Root> {
        let view = || {
            unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
            let none = None::<&str>;
            mount(none, VIEW_PLACE, none, MsFlags::MS_PRIVATE, none)?;
            self.mount_by_string(Path::new(VIEW_PLACE), &directory_here)?;
            let root = Root::open(Path::new(VIEW_PLACE));
            // Detached, the mount lives as long as the descriptor.
            umount2(VIEW_PLACE, MntFlags::MNT_DETACH)?;
            Ok(root?)
        };
        in_thread(view)
    }

    /// The layers, the topmost first. A layer that occurs twice is mounted once, at its topmost position:
    /// overlayfs takes each directory once.
    fn topmost_first(&self) -> Vec<&PathBuf> {
        let mut seen = HashSet::new();
        self.lowers.iter().rev().filter(|lower| seen.insert(*lower)).collect()
    }

    /// Whether some of the layers are mounts in no namespace.
    fn has_detached(&self) -> bool {
        self.mapped.is_some() || !self.mounts.is_empty()
    }

    /// Whether it is for a bundle, and layers are on other filesystems than the upper directory.
    fn has_other_devices(&self) -> bool {
        self.upper.is_some() && !self.mounts.is_empty()
    }

    /// Mounts layers of which some are mounts in no namespace, in the mount namespace of a thread, where they are
    /// attached first; it ends with the thread, and with it everything in it. KERNEL(6.15): before, overlayfs
    /// takes layers of its own namespace alone.
    pub(crate) fn detached_by_namespace(&self) -> Result<OwnedFd> {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none)?;
            let root = directory(Path::new("/"))?;
            let mapped = self.mapped.iter().map(|mapped| &mapped.mount);
            self.mounts.iter().chain(mapped).try_for_each(|mount| move_mount(mount.as_fd(), root.as_fd()))?;
            match self.detached_with(&|path| self.open_here(path).map(Some)) {
                Ok(mounted) => return Ok(mounted),
                Err(MountApiError::Failed(error)) => return Err(error),
                Err(MountApiError::Unavailable(_)) => {}
            }
            // The last path that is looked up: what is mounted there hides the descriptors.
            self.mount_by_string(Path::new(VIEW_PLACE), &|path| self.open_here(path))?;
            let at = directory(Path::new("/"))?;
            let place = CString::new(VIEW_PLACE).map_err(|_| Errno::EINVAL)?;
            Ok(open_tree_clone(at.as_fd(), &place, false, 0)?)
        };
        in_thread(make)
    }

    /// Opens a layer in the mount namespace of this thread.
    fn open_here(&self, path: &Path) -> nix::Result<OwnedFd> {
        let mapped = self.mapped.map(|mapped| &mapped.mount);
        let is_attached = |mount: &OwnedFd| path.starts_with(fd_path(mount.as_fd()));
        match self.mounts.iter().chain(mapped).any(is_attached) {
            true => directory(path),
            false => directory_here(path),
        }
    }

    fn detached(&self) -> std::result::Result<OwnedFd, MountApiError> {
        self.detached_with(&|_| Ok(None))
    }

    /// Mounts with the mount API. `open` opens what is to be named by its descriptor.
    fn detached_with(
        &self,
        open_layer: &dyn Fn(&Path) -> nix::Result<Option<OwnedFd>>,
    ) -> std::result::Result<OwnedFd, MountApiError> {
        let context = fsopen(c"overlay").map_err(|errno| match errno {
            // KERNEL(5.2)
            Errno::ENOSYS => MountApiError::Unavailable(errno.into()),
            errno => MountApiError::Failed(errno.into()),
        })?;
        // KERNEL(6.7): before it lowerdir+ is not known, which shows when it is set or when all is put
        // together.
        let explained = |errno: Errno| {
            let error = explain(&context, errno);
            if errno == Errno::EINVAL {
                MountApiError::Unavailable(error)
            } else {
                MountApiError::Failed(error)
            }
        };
        let mut open = Vec::new();
        let mut set = |key: &CStr, path: &Path| {
            let opened = open_layer(path).with_context(|| format!("open {}", path.display()));
            let value = match opened.map_err(MountApiError::Failed)? {
                Some(opened) => {
                    open.push(opened);
                    named_by_descriptor(&open)
                }
                None => short(path, &mut open),
            }
            .map_err(MountApiError::Failed)?;
            fsconfig_set(context.as_fd(), key, Some(&value)).map_err(explained)
        };
        self.topmost_first().into_iter().try_for_each(|lower| {
            set(
                c"lowerdir+",
                self.mapped.map_or_else(|| lower.clone(), |mapped| mapped.path(lower)).as_path(),
            )
        })?;
        if let Some((upper, work)) = self.upper {
            set(c"upperdir", upper)?;
            set(c"workdir", work)?;
            if !self.userxattr {
                UPPER_OPTIONS.into_iter().try_for_each(|(key, value)| {
                    fsconfig_set(context.as_fd(), key, Some(value)).map_err(explained)
                })?;
            }
        }
        if self.has_other_devices() {
            fsconfig_set(context.as_fd(), ONE_DEVICE.0, Some(ONE_DEVICE.1)).map_err(explained)?;
        }
        if self.userxattr {
            fsconfig_set(context.as_fd(), c"userxattr", None).map_err(explained)?;
        }
        let _ =
            fsconfig_set(context.as_fd(), c"source", Some(&self.source().map_err(MountApiError::Failed)?));
        fsconfig_create(context.as_fd()).map_err(explained)?;
        fsmount(context.as_fd(), 0).map_err(|errno| MountApiError::Failed(errno.into()))
    }

    /// Mounts with mount(2). One page holds all options, so the layers are named by their descriptors.
    fn mount_by_string(&self, target: &Path, directory: OpenDirectory<'_>) -> Result<()> {
        let mut open = Vec::new();
        let mut name = |path: &Path| -> Result<Vec<u8>> {
            open.push(directory(path).with_context(|| format!("open {}", path.display()))?);
            Ok(format!("/proc/self/fd/{}", open[open.len() - 1].as_raw_fd()).into_bytes())
        };
        let lowers = self
            .topmost_first()
            .into_iter()
            .map(|lower| name(&self.mapped.map_or_else(|| lower.clone(), |mapped| mapped.path(lower))))
            .collect::<Result<Vec<_>>>()?;
        let mut options = [b"lowerdir=", &lowers.join(&b':')[..]].concat();
        if let Some((upper, work)) = self.upper {
            options.extend([b",upperdir=", &name(upper)?[..], b",workdir=", &name(work)?[..]].concat());
        }
        if self.userxattr {
            options.extend(b",userxattr");
        } else if self.upper.is_some() {
            for (key, value) in UPPER_OPTIONS {
                options.extend([b",", key.to_bytes(), b"=", value.to_bytes()].concat());
            }
        }
        if self.has_other_devices() {
            options.extend([b",", ONE_DEVICE.0.to_bytes(), b"=", ONE_DEVICE.1.to_bytes()].concat());
        }
        if options.len() >= 4096 {
            let error = fail!(Kind::Unsupported, "{} layers are too many for this kernel", self.lowers.len());
            return Err(error.with_hint("Linux 6.7 takes 500 layers"));
        }
        let options = std::ffi::OsStr::from_bytes(&options);
        let source = self.source()?;
        Ok(mount(Some(&*source), target, Some("overlay"), MsFlags::empty(), Some(options))?)
    }

    /// The name of the mount's source in mountinfo.
    fn source(&self) -> Result<CString> {
        let Some((upper, _)) = self.upper else { return Ok(c"tare-image".into()) };
        let upper = nix::sys::stat::stat(upper).with_context(|| format!("look at {}", upper.display()))?;
        source_of(&upper)
    }
}

/// Attaches an overlay that [`Overlay::make`] has made.
pub(crate) fn attach(mounted: BorrowedFd<'_>, target: BorrowedFd<'_>, shown: &Path) -> Result<()> {
    move_mount(mounted, target).with_context(|| format!("mount layers at {}", shown.display()))
}

/// The source that mountinfo shows for an overlay with this upper directory. Its options show paths, which
/// may lead elsewhere by now, or be those of descriptors; this finds the overlay in whatever mount namespace
/// it is.
pub(crate) fn source_of(upper: &FileStat) -> Result<CString> {
    let source = format!("tare-image:{:x}:{}", upper.st_dev, upper.st_ino);
    CString::new(source).map_err(|_| Errno::EINVAL.into())
}

/// The sources of the overlays that are mounted in any mount namespace that this user may look at.
pub(crate) fn mounted_sources() -> Result<HashSet<Vec<u8>>> {
    let (mut sources, mut seen) = (HashSet::new(), HashSet::new());
    for process in std::fs::read_dir("/proc")? {
        let process = process?.path();
        let is_process =
            process.file_name().is_some_and(|name| name.as_bytes().iter().all(u8::is_ascii_digit));
        let link = |name| std::fs::read_link(process.join(name));
        // Below another root a process sees other mounts.
        let place = link("ns/mnt").map(|space| (space, link("root").ok()));
        if !is_process || !place.is_ok_and(|place| seen.insert(place)) {
            continue;
        }
        match mountinfo::read_of(&process) {
            Ok(mounts) => {
                let overlays = mounts.into_iter().filter(|mount| mount.kind == b"overlay");
                sources.extend(overlays.map(|mount| mount.source));
            }
            // It has ended, or is another user's.
            Err(Errno::ENOENT | Errno::ESRCH | Errno::EINVAL | Errno::EACCES | Errno::EPERM) => {}
            Err(errno) => return Err(errno).with_context(|| process.display().to_string()),
        }
    }
    Ok(sources)
}

/// Unmounts what a killed process left mounted at `path`; does nothing if nothing is mounted there.
pub(crate) fn detach(path: &CStr) -> Result<()> {
    match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        // No mount, or no such directory. Without privileges there was none to make.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT | Errno::EPERM | Errno::ELOOP) => Ok(()),
        Err(errno) => Err(errno).context("unmount what an earlier run left"),
    }
}

/// Why the mount API failed.
enum MountApiError {
    /// The kernel does not have it, or not these options: mount(2) is tried.
    Unavailable(Error),
    Failed(Error),
}

type OpenDirectory<'a> = &'a dyn Fn(&Path) -> nix::Result<OwnedFd>;

fn directory(path: &Path) -> nix::Result<OwnedFd> {
    open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Opens a directory in the mount namespace of this thread, where overlayfs wants it; `path` may begin at a
/// descriptor from another namespace.
///
/// # Errors
///
/// ESTALE if the directory is not where its descriptor says, or was moved meanwhile.
fn directory_here(path: &Path) -> nix::Result<OwnedFd> {
    let there = directory(path)?;
    let here = directory(Path::new(&readlink(&fd_path(there.as_fd()))?))?;
    if id(&here)? == id(&there)? { Ok(here) } else { Err(Errno::ESTALE) }
}

/// Returns the path if it is short enough; otherwise a path through a descriptor, valid as long as `open`
/// lives.
fn short(path: &Path, open: &mut Vec<OwnedFd>) -> Result<CString> {
    let bytes = path.as_os_str().as_bytes();
    let named = |bytes: &[u8]| {
        CString::new(bytes).map_err(|_| fail!(Kind::Usage, "{}: has a NUL in it", path.display()))
    };
    if bytes.len() <= FSCONFIG_VALUE_MAX {
        return named(bytes);
    }
    open.push(directory(path).with_context(|| format!("open {}", path.display()))?);
    named_by_descriptor(open)
}

/// The path of the last of these directories, through its descriptor.
fn named_by_descriptor(open: &[OwnedFd]) -> Result<CString> {
    let last = open.last().map_or(-1, AsRawFd::as_raw_fd);
    Ok(CString::new(format!("/proc/self/fd/{last}")).map_err(|_| Errno::EINVAL)?)
}
