//! A bundle over the layers of the store: overlayfs mounts them at `rootfs`, with the directory `upper` for changes. A
//! second bundle of the same image needs a mount and no copy.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use nix::sys::stat::fstat;

use super::staging::StagingDir;
use super::{BundleInfo, OverlayLayers, UnpackOptions, runtime_config};
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::changes::BundleTree;
use crate::image::document::manifest::Image;
use crate::image::filesystem::copy_file::{set_owner_and_mode, set_times};
use crate::image::filesystem::overlay::{IdmappedDir, Overlay};
use crate::image::source::ImageSource;
use crate::image::store::{BUNDLE_INFO, Store, import_layers};
use crate::image::unpack::tree::Tree;
use crate::image::userns::mapping::IdMapping;
use crate::inroot::c_string;

/// Makes the bundle in the staging directory, puts it in place and mounts it.
pub(super) fn make(
    source: &dyn ImageSource,
    image: &Image,
    info: BundleInfo,
    staging: &StagingDir,
    options: &UnpackOptions,
    store: &Store,
) -> Result<()> {
    let imported = import_layers(store, source, image, &options.limits, &options.progress)?;
    let overlay = OverlayLayers { store: store.path().to_owned(), layers: imported.layers.clone() };
    let info = BundleInfo { overlay: Some(overlay.clone()), ..info };
    for name in [c"rootfs", c"upper", c"work"] {
        staging.mkdir(name, 0o755)?;
    }
    copy_root_attributes(
        store,
        &overlay.layers,
        &staging.path().join("upper"),
        options.overrides.mapping.as_ref(),
    )?;
    staging.write_file(&c_string(BUNDLE_INFO.as_bytes())?, &info.to_json()?)?;
    // Recorded before the bundle is renamed to its destination, so that its layers are never without a record. A record
    // without a bundle is removed by the next prune.
    store.record_bundle(staging.destination(), &imported)?;
    let made = fill_and_publish(image, &overlay, &info, staging, options);
    made.inspect_err(|_| drop(store.forget_bundle(staging.destination())))?;
    if info.rootless.is_some() {
        // A mount in this process's namespace would end with it: `tare-image mount BUNDLE COMMAND` makes it.
        return staging.clear_mounting_mark();
    }
    let mounted = mount_layers(staging.destination(), &overlay, &info);
    mounted.and_then(|()| staging.clear_mounting_mark()).inspect_err(|_| {
        staging.withdraw();
        drop(store.forget_bundle(staging.destination()));
    })
}

fn fill_and_publish(
    image: &Image,
    overlay: &OverlayLayers,
    info: &BundleInfo,
    staging: &StagingDir,
    options: &UnpackOptions,
) -> Result<()> {
    mount_layers(staging.path(), overlay, info)?;
    let configured = write_config(image, staging, options);
    // Unmounted before the bundle is renamed: mountinfo would show the mount's source directories by their old names.
    unmount(&staging.path().join("rootfs")).and(configured)?;
    staging.record_tree("upper")?;
    staging.set_mounting_mark()?;
    staging.publish(options.adapter.root_ids())
}

/// Writes config.json. This needs the mounted tree, because user names are looked up there and the working directory is
/// made there.
fn write_config(image: &Image, staging: &StagingDir, options: &UnpackOptions) -> Result<()> {
    let mut tree =
        Tree::reopen(&staging.path().join("rootfs"), options.adapter.clone()).context("open rootfs")?;
    if !options.rootfs_only {
        staging.write_file(c"config.json", &runtime_config(image, &mut tree, &options.overrides)?)?;
    }
    tree.finish().context("set the times of directories")
}

/// Gives the upper directory, which is the root of the overlay, the attributes that the image has for its root.
fn copy_root_attributes(
    store: &Store,
    layers: &[String],
    upper: &Path,
    mapping: Option<&IdMapping>,
) -> Result<()> {
    let place = || format!("set the attributes of {}", upper.display());
    let to = fs::File::open(upper).with_context(place)?;
    let mut stat = fstat(&to).with_context(place)?;
    match store.topmost_root(layers)? {
        Some(path) => stat = fstat(fs::File::open(&path).with_context(place)?).with_context(place)?,
        // No layer has an entry for the root.
        None => {
            (stat.st_uid, stat.st_gid, stat.st_mode) = (0, 0, 0o755);
            (stat.st_atime, stat.st_atime_nsec) = (0, 0);
            (stat.st_mtime, stat.st_mtime_nsec) = (0, 0);
        }
    }
    if let Some(mapping) = mapping {
        (stat.st_uid, stat.st_gid) = mapping.to_host(stat.st_uid, stat.st_gid)?;
    }
    set_owner_and_mode(to.as_fd(), &stat).and_then(|()| set_times(to.as_fd(), &stat)).with_context(place)
}

/// Returns the tree of an overlay bundle, to find its changes.
pub(super) fn bundle_tree(bundle: &Path, overlay: &OverlayLayers, info: &BundleInfo) -> Result<BundleTree> {
    let userxattr = info.rootless.is_some();
    Ok(BundleTree::Overlay { upper: bundle.join("upper"), lowers: lower_dirs(overlay)?, userxattr })
}

/// The trees of the bundle's layers, the lowest first.
fn lower_dirs(overlay: &OverlayLayers) -> Result<Vec<PathBuf>> {
    if let Some(name) = overlay.layers.iter().find(|name| name.contains('/') || name.starts_with('.')) {
        return Err(fail!(Kind::Spec, "{BUNDLE_INFO}: {name:?} is no name of a layer"));
    }
    let store = Store::open(&overlay.store)?;
    let missing = overlay.layers.iter().map(|name| store.layer_tree(name)).find(|lower| !lower.exists());
    match missing {
        Some(missing) => {
            Err(fail!(Kind::NotFound, "{}: this layer is no longer in the store", missing.display()))
        }
        None => store.visible_trees(&overlay.layers),
    }
}

/// Mounts the overlay of the bundle at the absolute path `bundle`.
fn mount_layers(bundle: &Path, overlay: &OverlayLayers, info: &BundleInfo) -> Result<()> {
    let lowers = lower_dirs(overlay)?;
    let (upper, work) = (bundle.join("upper"), bundle.join("work"));
    let mapped =
        info.mapping.as_ref().map(|mapping| IdmappedDir::new(&overlay.store, mapping)).transpose()?;
    let overlay = Overlay {
        lowers: &lowers,
        upper: Some((&upper, &work)),
        userxattr: info.rootless.is_some(),
        mapped: mapped.as_ref(),
    };
    overlay.mount(&bundle.join("rootfs"))
}

fn unmount(rootfs: &Path) -> Result<()> {
    umount2(rootfs, MntFlags::UMOUNT_NOFOLLOW).with_context(|| format!("unmount {}", rootfs.display()))
}

/// Reads an overlay bundle. Returns its absolute path too.
fn open(bundle: &Path) -> Result<(PathBuf, OverlayLayers, BundleInfo)> {
    let info = BundleInfo::read(bundle)?;
    let path = bundle.canonicalize().with_context(|| format!("open {}", bundle.display()))?;
    match info.overlay.clone() {
        Some(overlay) => Ok((path, overlay, info)),
        None => Err(fail!(
            Kind::State,
            "{}: the bundle has a tree of its own, there is nothing to mount",
            bundle.display()
        )),
    }
}

/// Mounts an overlay bundle, for example after a reboot. Does nothing if it is mounted.
pub(crate) fn mount(bundle: &Path) -> Result<()> {
    let (path, overlay, info) = open(bundle)?;
    if is_mounted(&path)? { Ok(()) } else { mount_layers(&path, &overlay, &info) }
}

/// Unmounts an overlay bundle; its changes stay. Does nothing if it is not mounted.
pub(crate) fn umount(bundle: &Path) -> Result<()> {
    let (path, ..) = open(bundle)?;
    if is_mounted(&path)? { unmount(&path.join("rootfs")) } else { Ok(()) }
}

/// Whether something is mounted at the bundle's rootfs: the rootfs is then on another device than the bundle.
fn is_mounted(bundle: &Path) -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| {
        fs::metadata(path)
            .map(|metadata| metadata.dev())
            .with_context(|| format!("look at {}", path.display()))
    };
    Ok(device(&bundle.join("rootfs"))? != device(bundle)?)
}
