//! A bundle over the layers of the store: overlayfs mounts them at `rootfs`, with the directory `upper` for
//! changes. A second bundle of the same image needs a mount and no copy.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::fstat;

use super::opened::{self, Bundle};
use super::staging::{StagingDir, wait_for_lock};
use super::{BundleInfo, OverlayLayers, UnpackOptions, runtime_config};
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::changes::{self, Changes, LayersBelow, Owners};
use crate::image::document::manifest::Image;
use crate::image::filesystem::copy_file::{set_owner_and_mode, set_times};
use crate::image::filesystem::dir::{fd_path, open_dir, proc_path};
use crate::image::filesystem::overlay::{IdmappedDir, Overlay, attach};
use crate::image::filesystem::xattrs;
use crate::image::parallel::both;
use crate::image::source::ImageSource;
use crate::image::store::{BUNDLE_INFO, ImportOptions, Store, Trees, import_layers};
use crate::image::unpack::entry_adapter::map_attributes;
use crate::image::unpack::tree::Tree;
use crate::image::userns::mapping::IdMapping;
use crate::inroot::{Root, c_string};
use crate::sys::xattr::fsetxattr;

/// Makes the bundle in the staging directory, puts it in place and mounts it:
///
/// 1. The layers are unpacked into the store.
/// 2. The staging directory gets `rootfs`, `upper`, `work` and the bundle's information.
/// 3. The store records the bundle, so that no prune removes its layers.
/// 4. The overlay is made, attached nowhere, and config.json is written, which needs the tree: user names are
///    looked up there.
/// 5. The state of `upper` is recorded, and the bundle is marked as incomplete.
/// 6. The staging directory is renamed to the destination.
/// 7. The overlay is attached at the destination, and the mark is removed.
///
/// Where the kernel mounts nothing but at a place, and for a rootless bundle, whose mount would end with this
/// process, the overlay of step 4 is mounted in the staging directory, unmounted, and made anew in step 7,
/// which a rootless bundle has not.
pub(super) fn make(
    source: &dyn ImageSource,
    image: &Image,
    info: BundleInfo,
    staging: &StagingDir,
    options: &UnpackOptions,
    store: &Store,
) -> Result<()> {
    if image.config.rootfs().diff_ids().is_empty() {
        return Err(fail!(Kind::Unsupported, "the image has no layers, so there is nothing to mount")
            .with_hint("without --overlay the bundle gets an empty tree of its own"));
    }
    let ways =
        ImportOptions { limits: &options.limits, progress: &options.progress, form: options.layer_form };
    let imported = import_layers(store, source, image, ways)?;
    let overlay = OverlayLayers { store: store.path().to_owned(), layers: imported.layers.clone() };
    let info = BundleInfo { overlay: Some(overlay.clone()), ..info };
    for name in [c"rootfs", c"upper", c"work"] {
        staging.mkdir(name, 0o755)?;
    }
    // No prune takes them as long as they are imported.
    let layers = Layers { trees: store.visible_trees(&overlay.layers)?, store: store.clone() };
    copy_root_attributes(
        &layers,
        &overlay.layers,
        &staging.open_dir(c"upper")?,
        options.overrides.mapping.as_ref(),
    )
    .with_context(|| format!("set the attributes of {}", staging.shown(c"upper").display()))?;
    staging.write_file(&c_string(BUNDLE_INFO.as_bytes())?, &info.to_json()?)?;
    // Before the bundle is renamed to its destination, so that its layers are never without a record. The
    // next prune removes a record without a bundle.
    let upper = fstat(staging.open_dir(c"upper")?).context("look at upper")?;
    store.record_bundle(staging.destination(), &upper, image, &imported)?;
    let made = fill_and_publish(image, &overlay, layers, &info, staging, options);
    let made = made.inspect_err(|_| drop(store.forget_bundle(staging.destination())))?;
    if info.rootless.is_some() {
        // A mount in this process's namespace would end with it: `tare-image mount BUNDLE COMMAND` makes it.
        return staging.clear_mounting_mark();
    }
    let mounted = match made {
        Some(made) => attach_overlay(&made, staging),
        None => mount_overlay(staging.dir(), staging.destination(), &overlay, &info),
    };
    mounted.and_then(|()| staging.clear_mounting_mark()).inspect_err(|_| {
        staging.withdraw();
        drop(store.forget_bundle(staging.destination()));
    })
}

/// Does steps 4 to 6 of [`make`]; returns the overlay that is to be attached, if there is one.
fn fill_and_publish(
    image: &Image,
    overlay: &OverlayLayers,
    layers: Layers,
    info: &BundleInfo,
    staging: &StagingDir,
    options: &UnpackOptions,
) -> Result<Option<OwnedFd>> {
    let made = match info.rootless {
        Some(_) => None,
        None => with_overlay(staging.dir(), staging.destination(), &layers, info, |overlay| {
            overlay.make(&staging.destination().join("rootfs"))
        })?,
    };
    // The overlay has mounts of its own of them, and at the end of each of these the kernel waits for its readers.
    let let_go = move || {
        drop(layers);
        Ok(())
    };
    let (published, _) = both(|| publish(image, overlay, made.as_ref(), info, staging, options), let_go);
    published.map(|()| made)
}

/// Does steps 4 to 6 but for the overlay itself, which is `made`, if it can be without a place.
fn publish(
    image: &Image,
    overlay: &OverlayLayers,
    made: Option<&OwnedFd>,
    info: &BundleInfo,
    staging: &StagingDir,
    options: &UnpackOptions,
) -> Result<()> {
    match made {
        Some(made) => {
            let rootfs = open_dir(made.as_fd(), c".").context("open rootfs")?;
            write_config(image, rootfs, staging, options)?;
        }
        None => {
            mount_overlay(staging.dir(), staging.destination(), overlay, info)?;
            let rootfs = staging.open_dir(c"rootfs");
            let configured = rootfs.and_then(|rootfs| write_config(image, rootfs, staging, options));
            unmount(staging.dir(), &staging.shown(c"rootfs")).and(configured)?;
        }
    }
    staging.record_tree(c"upper")?;
    staging.set_mounting_mark()?;
    staging.publish(options.adapter.root_ids())
}

/// Attaches the overlay of a bundle that is at its destination.
fn attach_overlay(made: &OwnedFd, staging: &StagingDir) -> Result<()> {
    let rootfs = opened::open_dir_of(staging.dir(), c"rootfs", staging.destination())?;
    attach(made.as_fd(), rootfs.as_fd(), &staging.destination().join("rootfs"))
}

/// Writes config.json. This needs the tree `rootfs`, because user names are looked up there and the working
/// directory is made there.
fn write_config(image: &Image, rootfs: OwnedFd, staging: &StagingDir, options: &UnpackOptions) -> Result<()> {
    let mut tree = Tree::over(Root::from(rootfs), options.adapter.clone()).context("open rootfs")?;
    if !options.rootfs_only {
        staging.write_file(c"config.json", &runtime_config(image, &mut tree, &options.overrides)?)?;
    }
    tree.finish().context("set the times of directories")
}

/// Gives the upper directory, which is the root of the overlay, the owner, mode, extended attributes and
/// times that the image has for its root.
fn copy_root_attributes(
    layers: &Layers,
    names: &[String],
    upper: &OwnedFd,
    mapping: Option<&IdMapping>,
) -> Result<()> {
    let mut stat = fstat(upper)?;
    let mut attributes = Vec::new();
    let root = match layers.trees.root() {
        Some(path) => Some(fs::File::open(path)?),
        // One that is hidden may have it.
        None => layers.store.topmost_root(names)?,
    };
    match root {
        Some(root) => {
            stat = fstat(&root)?;
            attributes = xattrs::read_open(root.as_fd(), None)?;
            attributes.retain(|(name, _)| !xattrs::is_overlay_mark(name));
        }
        // No layer has an entry for the root.
        None => {
            (stat.st_uid, stat.st_gid, stat.st_mode) = (0, 0, 0o755);
            (stat.st_atime, stat.st_atime_nsec) = (0, 0);
            (stat.st_mtime, stat.st_mtime_nsec) = (0, 0);
        }
    }
    if let Some(mapping) = mapping {
        (stat.st_uid, stat.st_gid) = mapping.to_host(stat.st_uid, stat.st_gid)?;
        map_attributes(&mut attributes, mapping)?;
    }
    set_owner_and_mode(upper.as_fd(), &stat)?;
    for (name, value) in attributes {
        match fsetxattr(upper.as_fd(), &c_string(&name)?, &value) {
            // The filesystem of the bundle has no such attributes, unlike that of the store.
            Ok(()) | Err(Errno::ENOTSUP) => {}
            Err(errno) => {
                return Err(errno).with_context(|| format!("set extended attribute {}", name.escape_ascii()));
            }
        }
    }
    Ok(set_times(upper.as_fd(), &stat)?)
}

/// The changes of an overlay bundle.
pub(super) fn changes(
    bundle: &Bundle,
    overlay: &OverlayLayers,
    owners: Owners,
    record: fs::File,
) -> Result<Changes> {
    let layers = Layers::open(overlay)?;
    let upper = bundle.open_dir(c"upper")?;
    let below = LayersBelow {
        lowers: &layers.trees,
        mounts: layers.trees.mounts(),
        userxattr: bundle.info().rootless.is_some(),
    };
    changes::of_overlay(upper, &bundle.shown().join("upper"), &below, owners, record)
}

/// The trees of a bundle's layers.
struct Layers {
    /// The store, which holds the trees: the paths in `trees` begin at its descriptor.
    store: Store,
    /// The lowest first.
    trees: Trees,
}

impl Layers {
    /// Finds the layers in the store that the bundle names.
    ///
    /// # Errors
    ///
    /// `Kind::NotFound` if the store does not have them; `Kind::Denied` if it is not this user's.
    fn open(overlay: &OverlayLayers) -> Result<Self> {
        if let Some(name) = overlay.layers.iter().find(|name| name.contains('/') || name.starts_with('.')) {
            return Err(fail!(Kind::Spec, "{BUNDLE_INFO}: {name:?} is no name of a layer"));
        }
        let store = existing_store(overlay)?;
        for name in &overlay.layers {
            if !store.has_layer(name)? {
                let layer = store.path().join("layers").join(name);
                return Err(fail!(
                    Kind::NotFound,
                    "{}: this layer is no longer in the store",
                    layer.display()
                ));
            }
        }
        let trees = store.visible_trees(&overlay.layers)?;
        Ok(Self { trees, store })
    }
}

/// Opens the store that a bundle names.
pub(super) fn existing_store(overlay: &OverlayLayers) -> Result<Store> {
    if !overlay.store.is_absolute() {
        return Err(fail!(Kind::Spec, "{BUNDLE_INFO}: /shared/store: {:?} is not absolute", overlay.store));
    }
    Store::open_existing(&overlay.store)
}

/// Opens the store with the layers of a bundle; None for one with a tree of its own.
pub(crate) fn store_of(bundle: &Bundle) -> Result<Option<Store>> {
    bundle.info().overlay.as_ref().map(existing_store).transpose()
}

/// Mounts the overlay of the open bundle `dir`; `shown` is its path for messages.
fn mount_overlay(dir: &OwnedFd, shown: &Path, overlay: &OverlayLayers, info: &BundleInfo) -> Result<()> {
    let rootfs = opened::open_dir_of(dir, c"rootfs", shown)?;
    with_overlay(dir, shown, &Layers::open(overlay)?, info, |overlay| {
        overlay.mount(rootfs.as_fd(), &shown.join("rootfs"))
    })
}

/// Calls `act` with the overlay of the open bundle `dir` over these layers.
fn with_overlay<T>(
    dir: &OwnedFd,
    shown: &Path,
    layers: &Layers,
    info: &BundleInfo,
    act: impl FnOnce(&Overlay<'_>) -> Result<T>,
) -> Result<T> {
    let [upper, work] = [c"upper", c"work"].map(|name| opened::open_dir_of(dir, name, shown));
    let (upper, work) = (upper?, work?);
    let mapping = info.mapping.as_ref();
    mapping.map_or(Ok(()), |mapping| layers.trees.map_owners(mapping))?;
    let mapped = mapping.filter(|_| layers.trees.has_directories());
    let mapped = mapped.map(|mapping| IdmappedDir::new(&layers.store.fd_path(), mapping)).transpose()?;
    let overlay = Overlay {
        lowers: &layers.trees,
        upper: Some((&fd_path(upper.as_fd()), &fd_path(work.as_fd()))),
        userxattr: info.rootless.is_some(),
        mapped: mapped.as_ref(),
        mounts: layers.trees.mounts(),
    };
    act(&overlay)
}

/// Unmounts what is mounted at the rootfs of the open bundle `dir`; `shown` is its path for messages.
fn unmount(dir: &OwnedFd, shown: &Path) -> Result<()> {
    let rootfs = proc_path(dir.as_fd(), c"rootfs");
    let unmounted = umount2(rootfs.as_c_str(), MntFlags::UMOUNT_NOFOLLOW);
    unmounted.with_context(|| format!("unmount {}", shown.display()))
}

/// The layers of an overlay bundle.
fn layers_of(bundle: &Bundle) -> Result<&OverlayLayers> {
    let shown = bundle.shown().display();
    let own = || fail!(Kind::State, "{shown}: the bundle has a tree of its own, there is nothing to mount");
    bundle.info().overlay.as_ref().ok_or_else(own)
}

/// Mounts an overlay bundle, for example after a reboot. Does nothing if it is mounted.
pub(crate) fn mount(bundle: &Bundle) -> Result<()> {
    let layers = layers_of(bundle)?;
    // Two mounts over one directory for changes would spoil it; overlayfs itself does no more than warn.
    let _lock = wait_for_lock(bundle.dir())?;
    if is_mounted(bundle)? {
        return Ok(());
    }
    let upper = fstat(bundle.open_dir(c"upper")?).context("look at upper")?;
    // The bundle may have been moved: without a record of where it is now, a prune would take its layers.
    match existing_store(layers)?.record_mounted(&bundle.path()?, &upper, &layers.layers) {
        // Nothing is pruned there either.
        Err(error) if error.errno() == Some(Errno::EROFS) => {}
        recorded => recorded?,
    }
    mount_overlay(bundle.dir(), bundle.shown(), layers, bundle.info())
}

/// Unmounts an overlay bundle; its changes stay. Does nothing if it is not mounted.
pub(crate) fn umount(bundle: &Bundle) -> Result<()> {
    layers_of(bundle)?;
    let _lock = wait_for_lock(bundle.dir())?;
    if is_mounted(bundle)? { unmount(bundle.dir(), &bundle.shown().join("rootfs")) } else { Ok(()) }
}

/// Whether something is mounted at the bundle's rootfs: the rootfs is then on another device than the bundle.
pub(super) fn is_mounted(bundle: &Bundle) -> Result<bool> {
    let rootfs = bundle.open_dir(c"rootfs")?;
    let place = || format!("look at {}", bundle.shown().display());
    Ok(fstat(&rootfs).with_context(place)?.st_dev != fstat(bundle.dir()).with_context(place)?.st_dev)
}
