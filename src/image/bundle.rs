//! A bundle: made beside its destination under another name, and put there as a whole. A failed or killed unpacking
//! leaves nothing at the destination; what it left beside it, the next one takes away.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::{Gid, Uid, fchown};
use oci_spec::image::Descriptor;

use super::digest::short;
use super::limits::{Limits, Used};
use super::manifest::Image;
use super::source::Source;
use super::tree::{Tree, c_string};
use super::watch::{Watch, Watched};
use super::wishes::Wishes;
use super::{config, layer, remove, user};
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::sys::xattr::fremovexattr;

/// How to unpack.
pub struct Options {
    pub limits: Limits,
    pub watch: Arc<dyn Watch>,
    pub wishes: Wishes,
    /// No config.json.
    pub rootfs_only: bool,
}

/// Unpacks `image` to a new bundle at `path`: `config.json` and `rootfs`.
pub fn unpack(source: &dyn Source, image: &Image, path: &Path, options: &Options) -> Result<()> {
    let work = Work::begin(path)?;
    let result = fill(source, image, &work, options);
    match result {
        Ok(()) => work.publish(),
        Err(error) => {
            work.discard();
            Err(error)
        }
    }
}

fn fill(source: &dyn Source, image: &Image, work: &Work, options: &Options) -> Result<()> {
    mkdirat(work.dir(), c"rootfs", Mode::from_bits_truncate(0o755)).context("make rootfs")?;
    let mut tree = Tree::open(&work.path.join("rootfs")).context("open rootfs")?;
    let used = Used::default();
    let layers = image.manifest.layers();
    options.watch.plan(layers);
    for (number, (blob, diff_id)) in layers.iter().zip(image.config.rootfs().diff_ids()).enumerate() {
        let diff_id = super::digest::parse(diff_id)?;
        let place = || place(number + 1, layers.len(), blob);
        let inner = source.blob(blob).with_context(place)?;
        let bytes = Watched { inner, blob: blob.clone(), watch: Arc::clone(&options.watch) };
        layer::apply(&mut tree, Box::new(bytes), blob, &diff_id, &options.limits, &used)
            .with_context(place)?;
        options.watch.done(blob);
    }
    if options.rootfs_only {
        return tree.finish().context("set the times of directories");
    }
    let config = configure(image, &mut tree, &options.wishes)?;
    tree.finish().context("set the times of directories")?;
    write(work.dir(), c"config.json", &config)
}

fn place(number: usize, count: usize, blob: &Descriptor) -> String {
    format!("layer {number} of {count} ({}:{})", blob.digest().algorithm(), short(blob.digest()))
}

/// What config.json needs from the unpacked tree: the ids behind names, and the working directory to exist.
fn configure(image: &Image, tree: &mut Tree, wishes: &Wishes) -> Result<Vec<u8>> {
    let image = wishes.image(&image.config);
    let user = user::resolve(config::user(&image), tree.root())?;
    let cwd = config::working_dir(&image);
    tree.dir(&super::tree::clean(cwd.as_bytes())).with_context(|| format!("make working directory {cwd}"))?;
    let runtime = wishes.runtime(config::runtime(&image, &user))?;
    let mut text = serde_json::to_vec_pretty(&runtime).map_err(|e| fail!(Kind::Spec, "config.json: {e}"))?;
    text.push(b'\n');
    Ok(text)
}

fn write(dir: &OwnedFd, name: &std::ffi::CStr, content: &[u8]) -> Result<()> {
    let writing = || format!("write {}", name.to_string_lossy());
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = openat(dir, name, flags, Mode::from_bits_truncate(0o644)).with_context(writing)?;
    File::from(fd).write_all(content).with_context(writing)
}

/// A bundle in the making, locked against a second maker.
#[derive(Debug)]
struct Work {
    /// The directory that the bundle appears in.
    above: OwnedFd,
    lock: Flock<OwnedFd>,
    /// `.NAME.partial`, beside the destination.
    path: PathBuf,
    name: std::ffi::CString,
    destination: PathBuf,
}

impl Work {
    /// Reserves the work directory; what an earlier run left in it goes.
    fn begin(destination: &Path) -> Result<Self> {
        let making = || format!("make bundle {}", destination.display());
        let last = destination.file_name().ok_or_else(|| fail!(Kind::Usage, "the path names no directory"));
        let last = last.with_context(making)?;
        check_free(destination).with_context(making)?;
        let parent = destination.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("."));
        let above = open(parent, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .with_context(|| format!("open {}", parent.display()))?;
        let name = [b".", last.as_bytes(), b".partial"].concat();
        let path = parent.join(std::ffi::OsStr::from_bytes(&name));
        let name = c_string(&name)?;
        let lock = reserve(&above, &name).with_context(|| format!("make {}", path.display()))?;
        Ok(Self { above, lock, path, name, destination: destination.to_owned() })
    }

    fn dir(&self) -> &OwnedFd {
        &self.lock
    }

    /// Puts the bundle in its place; an empty directory there gives way.
    fn publish(self) -> Result<()> {
        let last = self.destination.file_name().unwrap_or_default();
        let to = c_string(last.as_bytes())?;
        let moved = renameat(&self.above, self.name.as_c_str(), &self.above, to.as_c_str());
        moved.with_context(|| format!("put the bundle at {}", self.destination.display())).inspect_err(|_| {
            let _ = remove::tree(self.above.as_fd(), &self.name);
        })
    }

    /// After a failure: its own error is the one to tell, not that of tidying up.
    fn discard(self) {
        let _ = remove::tree(self.above.as_fd(), &self.name);
    }
}

fn check_free(destination: &Path) -> Result<()> {
    match std::fs::read_dir(destination) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(fail!(Kind::Exists, "it exists and is not empty")),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes and locks the work directory, empty and closed to everybody else: setuid programs of an image are not for
/// the users of the host (CVE-2021-41103).
fn reserve(above: &OwnedFd, name: &std::ffi::CStr) -> Result<Flock<OwnedFd>> {
    match mkdirat(above, name, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let dir = super::tree::open_dir(above.as_fd(), name)?;
    let lock = Flock::lock(dir, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => fail!(Kind::Exists, "another process is at work there"),
        errno => errno.into(),
    })?;
    remove::contents(lock.try_clone()?, &|_, _| false)?;
    // A parent with setgid or a default ACL passes them on: then no file would get the mode it is made with.
    for acl in [c"system.posix_acl_default", c"system.posix_acl_access"] {
        match fremovexattr(lock.as_fd(), acl) {
            Ok(()) | Err(Errno::ENODATA | Errno::ENOTSUP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    fchown(&*lock, Some(Uid::effective()), Some(Gid::effective()))?;
    fchmod(&*lock, Mode::S_IRWXU)?;
    Ok(lock)
}
