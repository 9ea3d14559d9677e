//! A bundle over the layers of the store: `upper` takes the changes, `rootfs` is where the kernel lays them over
//! each other. A second bundle of the same image takes a mount.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{Mode, fchmod, fstat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown};

use super::{About, Options, Shared, Work, configure};
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::changes::Place;
use crate::image::document::manifest::Image;
use crate::image::filesystem::dir::c_string;
use crate::image::filesystem::overlay::{Mapped, Overlay};
use crate::image::filesystem::remove as removal;
use crate::image::source::Source;
use crate::image::store::{ABOUT, Store, fill};
use crate::image::unpack::tree::Tree;
use crate::image::userns::mapping::Mapping;

pub fn make(
    source: &dyn Source,
    image: &Image,
    about: About,
    work: &Work,
    options: &Options,
    store: &Store,
) -> Result<()> {
    let filled = fill(store, source, image, &options.limits, &options.watch)?;
    let shared = Shared { store: store.path().to_owned(), layers: filled.layers.clone() };
    let about = About { shared: Some(shared.clone()), ..about };
    for name in [c"rootfs", c"upper", c"work"] {
        work.mkdir(name, 0o755)?;
    }
    give_root(store, &shared.layers, &work.path().join("upper"), options.wishes.mapping.as_ref())?;
    work.write(&c_string(ABOUT.as_bytes())?, &about.text()?)?;
    // Claimed before it is there: a claim without a bundle does no harm.
    store.claim(work.destination(), &filled)?;
    let made = mount_parts(work.path(), &shared, &about).and_then(|()| {
        let configured = finish(image, work, options);
        // The mount would move along with the directory, but under its old name to everybody who reads the table.
        unmount(&work.path().join("rootfs")).and(configured)
    });
    let made = made.and_then(|()| work.describe("upper")).and_then(|()| work.mounting());
    let made = made.and_then(|()| work.own(options.adapt.root())).and_then(|()| work.publish());
    made.inspect_err(|_| drop(store.release(work.destination())))?;
    if about.rootless.is_some() {
        // The mount would go with this process.
        return work.mounted();
    }
    let mounted = mount_parts(work.destination(), &shared, &about).and_then(|()| work.mounted());
    mounted.inspect_err(|_| {
        work.withdraw();
        drop(store.release(work.destination()));
    })
}

fn finish(image: &Image, work: &Work, options: &Options) -> Result<()> {
    let mut tree = Tree::open_kept(&work.path().join("rootfs")).context("open rootfs")?;
    tree.adapt = options.adapt.clone();
    if !options.rootfs_only {
        work.write(c"config.json", &configure(image, &mut tree, &options.wishes)?)?;
    }
    tree.finish().context("set the times of directories")
}

/// The root of an overlay is the upper directory: it gets what the topmost layer says of the root.
fn give_root(store: &Store, layers: &[String], upper: &Path, mapping: Option<&Mapping>) -> Result<()> {
    let place = || format!("set the attributes of {}", upper.display());
    let to = fs::File::open(upper).with_context(place)?;
    match store.root_of(layers)? {
        Some(path) => {
            let from = fs::File::open(&path).with_context(place)?;
            let stat = fstat(&from).with_context(place)?;
            let own = |mapping: &Mapping| mapping.host(stat.st_uid, stat.st_gid);
            let (uid, gid) = mapping.map_or(Ok((stat.st_uid, stat.st_gid)), own)?;
            fchown(&to, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).with_context(place)?;
            fchmod(&to, Mode::from_bits_truncate(stat.st_mode & 0o7777)).with_context(place)?;
            let (atime, mtime) = (
                TimeSpec::new(stat.st_atime, stat.st_atime_nsec),
                TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec),
            );
            futimens(to.as_fd(), &atime, &mtime).with_context(place)
        }
        None => {
            let (uid, gid) = mapping.map_or(Ok((0, 0)), |mapping| mapping.host(0, 0))?;
            fchown(&to, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).with_context(place)?;
            fchmod(&to, Mode::from_bits_truncate(0o755)).with_context(place)?;
            let zero = TimeSpec::new(0, 0);
            futimens(to.as_fd(), &zero, &zero).with_context(place)
        }
    }
}

/// Where the changes of an overlay bundle are.
pub fn place(bundle: &Path, shared: &Shared, about: &About) -> Result<Place> {
    let userxattr = about.rootless.is_some();
    Ok(Place::Upper { upper: bundle.join("upper"), lowers: lowers(shared)?, userxattr })
}

/// The trees of the bundle's layers, the lowest first.
fn lowers(shared: &Shared) -> Result<Vec<PathBuf>> {
    let store = Store::open(&shared.store)?;
    let lowers: Vec<PathBuf> = shared.layers.iter().map(|key| store.tree(key)).collect();
    match lowers.iter().find(|lower| !lower.exists()) {
        Some(missing) => {
            Err(fail!(Kind::NotFound, "{}: the store has this layer no more", missing.display()))
        }
        None => Ok(lowers),
    }
}

fn mount_parts(bundle: &Path, shared: &Shared, about: &About) -> Result<()> {
    let lowers = lowers(shared)?;
    let (upper, work) = (bundle.join("upper"), bundle.join("work"));
    let mapped = about.mapping.as_ref().map(|mapping| Mapped::of(&shared.store, mapping)).transpose()?;
    let overlay = Overlay {
        lowers: &lowers,
        upper: Some((&upper, &work)),
        userxattr: about.rootless.is_some(),
        mapped: mapped.as_ref(),
    };
    overlay.mount(&bundle.join("rootfs"))
}

fn unmount(rootfs: &Path) -> Result<()> {
    umount2(rootfs, MntFlags::UMOUNT_NOFOLLOW).with_context(|| format!("unmount {}", rootfs.display()))
}

/// The bundle's absolute path and what it says; an overlay bundle is asked for.
fn open(bundle: &Path) -> Result<(PathBuf, Shared, About)> {
    let about = About::read(bundle)?;
    let path = bundle.canonicalize().with_context(|| format!("open {}", bundle.display()))?;
    match about.shared.clone() {
        Some(shared) => Ok((path, shared, about)),
        None => Err(fail!(
            Kind::State,
            "{}: the bundle has a tree of its own, there is nothing to mount",
            bundle.display()
        )),
    }
}

/// Mounts an overlay bundle, after a reboot say. Mounted already is fine.
pub fn mount(bundle: &Path) -> Result<()> {
    let (path, shared, about) = open(bundle)?;
    if is_mounted(&path)? { Ok(()) } else { mount_parts(&path, &shared, &about) }
}

/// Unmounts an overlay bundle; its changes stay. Not mounted is fine.
pub fn umount(bundle: &Path) -> Result<()> {
    let (path, ..) = open(bundle)?;
    if is_mounted(&path)? { unmount(&path.join("rootfs")) } else { Ok(()) }
}

fn is_mounted(bundle: &Path) -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| {
        fs::metadata(path).map(|about| about.dev()).with_context(|| format!("look at {}", path.display()))
    };
    Ok(device(&bundle.join("rootfs"))? != device(bundle)?)
}

/// Removes a bundle of either form: unmounted first, and what it claimed of the store released.
pub fn remove(bundle: &Path) -> Result<()> {
    let about = About::read(bundle)?;
    let path = bundle.canonicalize().with_context(|| format!("open {}", bundle.display()))?;
    let removing = || format!("remove {}", bundle.display());
    if is_mounted(&path).unwrap_or(false) {
        if about.shared.is_none() {
            return Err(fail!(Kind::State, "something is mounted on its rootfs")).with_context(removing);
        }
        unmount(&path.join("rootfs"))?;
    }
    let (parent, name) = (path.parent().unwrap_or(&path), path.file_name().unwrap_or_default());
    let above = fs::File::open(parent).with_context(removing)?;
    let (name, gone) =
        (c_string(name.as_bytes())?, c_string(&[b".", name.as_bytes(), b".partial"].concat())?);
    // Under the name of what is not complete: killed in between, the rest is no bundle, and goes with the next one.
    removal::tree(above.as_fd(), &gone).with_context(removing)?;
    nix::fcntl::renameat(&above, name.as_c_str(), &above, gone.as_c_str())
        .map_err(busy)
        .with_context(removing)?;
    // Before the long work: a new bundle at this place has a claim of its own.
    match about.shared {
        // A store that is gone has nothing to release.
        Some(shared) if shared.store.exists() => Store::open(&shared.store)?.release(&path)?,
        _ => {}
    }
    removal::tree(above.as_fd(), &gone).map_err(busy).with_context(removing)
}

fn busy(errno: Errno) -> Error {
    let error = Error::from(errno);
    if errno == Errno::EBUSY { error.with_hint("something is mounted inside the bundle") } else { error }
}
