//! Mounts layers over each other with overlayfs: with the mount API and one `lowerdir+` per layer if the
//! kernel has it (500 layers), else with mount(2) and all of them in one string, which must fit into a page.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, readlink};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{FileStat, Mode};

use super::dir::fd_path;
use super::remove::id;
use crate::error::{Context, Error, Kind, Result};
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
        let below = lower.strip_prefix(&self.dir).unwrap_or(lower);
        Path::new(&format!("/proc/self/fd/{}", self.mount.as_raw_fd())).join(below)
    }
}

/// Options that keep whole files at their own paths in the upper directory, whatever the kernel's defaults
/// are, so that it can be read without a mount. (With `userxattr` this is always so.)
const UPPER_OPTIONS: [(&CStr, &CStr); 2] = [(c"redirect_dir", c"nofollow"), (c"metacopy", c"off")];

/// Where old kernels mount what is only looked at: a mount point that every system has.
const VIEW_PLACE: &str = "/proc";

/// The longest value of a string option of fsconfig(2) in bytes.
const FSCONFIG_VALUE_MAX: usize = 255;

impl Overlay<'_> {
    /// Mounts at the open directory `target`, whose path `shown` is for messages.
    pub(crate) fn mount(&self, target: BorrowedFd<'_>, shown: &Path) -> Result<()> {
        let place = || format!("mount {} layers at {}", self.lowers.len(), shown.display());
        let mounted = match self.detached() {
            Ok(mounted) => mounted,
            Err(MountApiError::Unavailable(error)) => {
                log::debug(format_args!("the kernel does not take layers one by one: {error}"));
                return self.mount_by_string(&fd_path(target), directory).with_context(place);
            }
            Err(MountApiError::Failed(error)) => return Err(error).with_context(place),
        };
        move_mount(mounted.as_fd(), target).with_context(place)
    }

    /// Opens the layers as one tree, through a mount that nobody else sees.
    pub(crate) fn view(&self) -> Result<Root> {
        if let ([only], None) = (&self.topmost_first()[..], self.upper) {
            return Ok(Root::open(only)?);
        }
        match self.detached() {
            Ok(mounted) => Ok(Root::from(mounted)),
            Err(MountApiError::Failed(error)) => Err(error),
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
            self.mount_by_string(Path::new(VIEW_PLACE), directory_here)?;
            let root = Root::open(Path::new(VIEW_PLACE));
            // Detached, the mount lives as long as the descriptor.
            umount2(VIEW_PLACE, MntFlags::MNT_DETACH)?;
            Ok(root?)
        };
        let broke = || fail!(Kind::System(Errno::EIO), "a thread broke down");
        std::thread::scope(|scope| scope.spawn(view).join()).unwrap_or_else(|_| Err(broke()))
    }

    /// The layers, the topmost first. A layer that occurs twice is mounted once, at its topmost position:
    /// overlayfs takes each directory once.
    fn topmost_first(&self) -> Vec<&PathBuf> {
        let mut seen = HashSet::new();
        self.lowers.iter().rev().filter(|lower| seen.insert(*lower)).collect()
    }

    fn detached(&self) -> std::result::Result<OwnedFd, MountApiError> {
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
            let value = short(path, &mut open).map_err(MountApiError::Failed)?;
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
        if self.userxattr {
            fsconfig_set(context.as_fd(), c"userxattr", None).map_err(explained)?;
        }
        let _ =
            fsconfig_set(context.as_fd(), c"source", Some(&self.source().map_err(MountApiError::Failed)?));
        fsconfig_create(context.as_fd()).map_err(explained)?;
        fsmount(context.as_fd(), 0).map_err(|errno| MountApiError::Failed(errno.into()))
    }

    /// Mounts with mount(2). One page holds all options, so the layers are named by their descriptors.
    fn mount_by_string(&self, target: &Path, directory: OpenDirectory) -> Result<()> {
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

type OpenDirectory = fn(&Path) -> nix::Result<OwnedFd>;

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
    named(format!("/proc/self/fd/{}", open[open.len() - 1].as_raw_fd()).as_bytes())
}

/// Adds overlayfs' own messages to the errno: reads of the context return one each, as `e overlay: …`.
fn explain(context: &OwnedFd, errno: Errno) -> Error {
    let words = messages(context.as_fd());
    if words.is_empty() {
        errno.into()
    } else {
        fail!(Kind::System(errno), "{}: {words}", crate::error::describe(errno))
    }
}

fn messages(context: BorrowedFd<'_>) -> String {
    let Ok(context) = context.try_clone_to_owned() else { return String::new() };
    let mut context = File::from(context);
    let mut all = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = context.read(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..count]).trim().to_owned();
        all.push(text.strip_prefix("e ").unwrap_or(&text).to_owned());
    }
    all.join(", ")
}
