//! Records the users of the store's layers: bundles (`STORE/bundles`) and pulled images (`STORE/images`), one
//! JSON file each. `prune` keeps the layers that they list.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::FileStat;
use nix::unistd::geteuid;
use oci_spec::image::{Descriptor, Digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::import::ImportedLayers;
use super::known_image::{Documents, KnownImage, MAX_DOCUMENTS, MAX_DOCUMENTS_OF_BUNDLE};
use super::listed::{ListedBundle, ListedImage, time_of};
use super::session::ActiveSession;
use super::{BUNDLE_INFO, MAX_RECORD, Store, names};
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::blob::digest;
use crate::image::document::manifest::{self, Image};
use crate::image::filesystem::directory::Directory;
use crate::image::filesystem::overlay::{mounted_sources, source_of};
use crate::image::source::registry::parse_name;

/// A bundle's file. Its name is the SHA-256 of the bundle's absolute path.
#[derive(Debug, Serialize, Deserialize)]
struct BundleRecord {
    bundle: PathBuf,
    layers: Vec<String>,
    /// The session of the process that makes the bundle.
    session: String,
    /// The source that mountinfo shows for the bundle's overlay, wherever the bundle is moved.
    #[serde(default)]
    source: String,
    /// The image that it was made of; None in records of earlier versions, and of bundles that were moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifest: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    documents: Option<Documents>,
}

/// A pulled image's file. Its name is the SHA-256 of the reference.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageRecord {
    reference: String,
    manifest: Descriptor,
    layers: Vec<String>,
    /// The session of the process that pulls it.
    session: String,
    /// What a container is made from without the source; None if it is too large for a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    documents: Option<Documents>,
}

/// The name of a record: a digest of its subject.
fn name_of(subject: &[u8]) -> String {
    digest::sha256_of(subject).digest().to_owned()
}

impl Store {
    /// Records that the bundle at this absolute path uses these layers of `image`. The bundle need not be there yet.
    /// Its directory for changes is `upper`.
    pub(crate) fn record_bundle(
        &self,
        bundle: &Path,
        upper: &FileStat,
        image: &Image,
        imported: &ImportedLayers,
    ) -> Result<()> {
        self.write_bundle(bundle, upper, &imported.layers, imported.session.name(), Some(image))
    }

    /// Records a bundle that is about to be mounted, unless it is known at this path: it was moved. No prune
    /// runs meanwhile.
    pub(crate) fn record_mounted(&self, bundle: &Path, upper: &FileStat, layers: &[String]) -> Result<()> {
        if self.dirs.bundles.stat_of(name_of(bundle.as_os_str().as_bytes()))?.is_some() {
            return Ok(());
        }
        let _lock = self.dirs.lock()?;
        self.write_bundle(bundle, upper, layers, String::new(), None)
    }

    fn write_bundle(
        &self,
        bundle: &Path,
        upper: &FileStat,
        layers: &[String],
        session: String,
        image: Option<&Image>,
    ) -> Result<()> {
        let source = source_of(upper)?.to_string_lossy().into_owned();
        let (bundle, layers) = (bundle.to_owned(), layers.to_vec());
        let manifest = image.map(|image| image.descriptor.clone());
        let documents = image.and_then(|image| Documents::of(image, MAX_DOCUMENTS_OF_BUNDLE));
        let record = BundleRecord { bundle, layers, session, source, manifest, documents };
        let bundle = &record.bundle;
        write_record(&self.dirs.bundles, &name_of(bundle.as_os_str().as_bytes()), &record)
    }

    /// Removes the record of a removed bundle.
    pub(crate) fn forget_bundle(&self, bundle: &Path) -> Result<()> {
        self.dirs.bundles.remove_file(name_of(bundle.as_os_str().as_bytes()))
    }

    /// Records that the image at `reference` was pulled, and replaces the record of an earlier pull of the
    /// reference.
    pub(crate) fn record_image(
        &self,
        reference: &str,
        image: &Image,
        imported: &ImportedLayers,
    ) -> Result<()> {
        let record = ImageRecord {
            reference: reference.into(),
            manifest: image.descriptor.clone(),
            layers: imported.layers.clone(),
            session: imported.session.name(),
            documents: Documents::of(image, MAX_DOCUMENTS),
        };
        write_record(&self.dirs.images, &name_of(reference.as_bytes()), &record)
    }
}

impl Store {
    /// Records the image `reference` under a further name.
    ///
    /// # Errors
    ///
    /// `Kind::NotFound` if the store has no such image.
    pub(crate) fn tag_image(&self, reference: &str, name: &str) -> Result<()> {
        // No prune takes the image meanwhile.
        let _lock = self.dirs.lock()?;
        let (_, found) = self.find_image(reference)?;
        if found.reference == name {
            return Ok(());
        }
        // It is nobody's who pulls.
        let record = ImageRecord { reference: name.into(), session: String::new(), ..found };
        write_record(&self.dirs.images, &name_of(name.as_bytes()), &record)
    }

    /// Removes the record of the image `reference`. Its layers stay until the next prune.
    ///
    /// # Errors
    ///
    /// `Kind::NotFound` if the store has no such image.
    pub(crate) fn forget_image(&self, reference: &str) -> Result<()> {
        let _lock = self.dirs.lock()?;
        let (record, _) = self.find_image(reference)?;
        self.dirs.images.remove_file(record)
    }

    /// The pulled image of this reference, if all its layers are here and its documents were kept.
    pub(crate) fn known_image(&self, reference: &str) -> Result<Option<KnownImage>> {
        let record = match self.dirs.images.read_small(&name_of(reference.as_bytes()), MAX_RECORD)? {
            Some(text) => manifest::parse_json(&text).with_context(|| format!("record of {reference}"))?,
            None => match self.find_image(reference) {
                Err(error) if error.kind() == Kind::NotFound => return Ok(None),
                found => found?.1,
            },
        };
        let ImageRecord { manifest, layers, documents: Some(documents), .. } = record else {
            return Ok(None);
        };
        for layer in &layers {
            if self.dirs.layers.stat_of(layer)?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(KnownImage { manifest, documents }))
    }

    /// The pulled image of this reference, and the names of its layers.
    ///
    /// # Errors
    ///
    /// `Kind::NotFound` if the store does not have it, or not its documents.
    pub(super) fn image_with_documents(&self, reference: &str) -> Result<(KnownImage, Vec<String>)> {
        let (_, record) = self.find_image(reference)?;
        let documents = record.documents.ok_or_else(no_documents)?;
        Ok((KnownImage { manifest: record.manifest, documents }, record.layers))
    }

    /// The image of this manifest, pulled or of a bundle, and the names of its layers.
    ///
    /// # Errors
    ///
    /// `Kind::NotFound` if the store does not have it, or not its documents.
    pub(super) fn manifest_with_documents(&self, digest: &Digest) -> Result<(KnownImage, Vec<String>)> {
        let images = read_records::<ImageRecord>(&self.dirs.images)?.into_iter();
        let images = images.map(|(_, record)| (Some(record.manifest), record.documents, record.layers));
        let bundles = read_records::<BundleRecord>(&self.dirs.bundles)?.into_iter();
        let bundles = bundles.map(|(_, record)| (record.manifest, record.documents, record.layers));
        for (manifest, documents, layers) in images.chain(bundles) {
            if let (Some(manifest), Some(documents)) = (manifest, documents)
                && manifest.digest() == digest
            {
                return Ok((KnownImage { manifest, documents }, layers));
            }
        }
        Err(no_documents())
    }

    /// The image of this manifest, by its documents; None if no record that is looked at has them. Bundles may be
    /// many: reading some takes less time than asking a registry.
    pub(super) fn known_manifest(&self, wanted: &Descriptor) -> Result<Option<KnownImage>> {
        #[derive(Deserialize)]
        struct Kept {
            manifest: Option<Descriptor>,
            documents: Option<Documents>,
        }
        const MOST: usize = 64;
        let digest = wanted.digest().as_ref().as_bytes();
        for dir in [&self.dirs.images, &self.dirs.bundles] {
            for name in dir.names()?.iter().filter(|name| names::is_record(name)).take(MOST) {
                let Some(text) = dir.read_small(name, MAX_RECORD)? else { continue };
                if !text.windows(digest.len()).any(|part| part == digest) {
                    continue;
                }
                if let Kept { manifest: Some(manifest), documents: Some(documents) } =
                    manifest::parse_json(&text)?
                    && manifest.digest() == wanted.digest()
                {
                    return Ok(Some(KnownImage { manifest: wanted.clone(), documents }));
                }
            }
        }
        Ok(None)
    }

    /// The image of this reference, and the name of its record. A registry's name may be spelled otherwise
    /// than it was for the pull.
    fn find_image(&self, reference: &str) -> Result<(String, ImageRecord)> {
        let mut records: Vec<(String, ImageRecord)> = read_records(&self.dirs.images)?;
        let is_exact = |(_, record): &(String, ImageRecord)| record.reference == reference;
        let is_same = |(_, record): &(String, ImageRecord)| is_same_image(&record.reference, reference);
        match records.iter().position(is_exact).or_else(|| records.iter().position(is_same)) {
            Some(at) => Ok(records.swap_remove(at)),
            None => Err(no_image(&self.path, &records)),
        }
    }
}

/// Whether two references are one name in a registry: `docker://alpine` is docker.io/library/alpine:latest.
fn is_same_image(one: &str, other: &str) -> bool {
    let whole = |text: &str| {
        text.strip_prefix("docker://").and_then(|name| parse_name(name).ok()).map(|name| name.whole())
    };
    whole(one).is_some_and(|one| Some(one) == whole(other))
}

fn no_documents() -> Error {
    fail!(Kind::NotFound, "the store has not kept the image's manifest and configuration")
        .with_hint("those of pulled images are kept up to 256 KiB, and of bundles up to 32 KiB: `tare-image pull --store` pulls it again")
}

fn no_image(store: &Path, records: &[(String, ImageRecord)]) -> Error {
    let error = fail!(Kind::NotFound, "store {} has no image of this name", store.display());
    let names: Vec<&str> = records.iter().map(|(_, record)| record.reference.as_str()).take(20).collect();
    match names[..] {
        [] => error.with_hint("it has no images: tare-image pull puts one there"),
        _ => error.with_hint(format!("it has: {}", names.join(", "))),
    }
}

/// The images that were pulled.
pub(super) fn list_images(store: &Store) -> Result<Vec<ListedImage>> {
    let mut images = Vec::new();
    for (name, record) in read_records::<ImageRecord>(&store.dirs.images)? {
        let Some(found) = store.dirs.images.stat_of(&name)? else { continue };
        let manifest = record.manifest.digest().to_string();
        let (reference, layers) = (record.reference, record.layers);
        images.push(ListedImage { reference, manifest, layers, time: time_of(&found) });
    }
    images.sort_by(|one, other| one.reference.cmp(&other.reference));
    Ok(images)
}

/// The bundles that use layers, or did.
pub(super) fn list_bundles(store: &Store) -> Result<Vec<ListedBundle>> {
    let (mut bundles, mut mounted) = (Vec::new(), None);
    for (_, record) in read_records::<BundleRecord>(&store.dirs.bundles)? {
        let is_moved = is_gone(&record.bundle) && is_mounted(&record, &mut mounted)?;
        bundles.push(ListedBundle { path: record.bundle, layers: record.layers, is_moved });
    }
    bundles.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(bundles)
}

fn write_record(dir: &Directory, name: &str, record: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(record).map_err(|e| fail!(Kind::Spec, "{e}"))?;
    dir.replace(name, &text, 0o600)
}

/// The records in a directory of the store, with their names. A record that another process removes meanwhile
/// is left out.
fn read_records<T: DeserializeOwned>(dir: &Directory) -> Result<Vec<(String, T)>> {
    let mut records = Vec::new();
    for name in dir.names()?.into_iter().filter(|name| names::is_record(name)) {
        let Some(text) = dir.read_small(&name, MAX_RECORD)? else { continue };
        let record = manifest::parse_json(&text).map_err(|error: Error| {
            let error = error
                .with_hint("a crash may have left it: remove it, and unpack or pull again what it was for");
            error.context(dir.path_of(&name).display().to_string())
        })?;
        records.push((name, record));
    }
    Ok(records)
}

/// Whether the bundle is gone; if that cannot be found out, it is not.
fn is_gone(bundle: &Path) -> bool {
    let found = std::fs::symlink_metadata(bundle.join(BUNDLE_INFO));
    found.is_err_and(|error| {
        matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
    })
}

/// Whether the overlay of a bundle that was moved is mounted. `mounted` has all overlays, once one is asked
/// for.
fn is_mounted(record: &BundleRecord, mounted: &mut Option<HashSet<Vec<u8>>>) -> Result<bool> {
    let all = match mounted.take() {
        Some(all) => all,
        None => mounted_sources().context("look for mounted bundles")?,
    };
    Ok(mounted.insert(all).contains(record.source.as_bytes()))
}

impl Store {
    /// Where the layers of the store came from: for each pulled image its reference and manifest, and the names
    /// of its layers here; and the same for each bundle that is at its place.
    pub(crate) fn origins(&self) -> Result<Vec<(String, Descriptor, Vec<String>)>> {
        let images = read_records::<ImageRecord>(&self.dirs.images)?.into_iter();
        let mut all: Vec<_> =
            images.map(|(_, record)| (record.reference, record.manifest, record.layers)).collect();
        for (_, record) in read_records::<BundleRecord>(&self.dirs.bundles)? {
            // What others may have written says nothing.
            let is_ours = |bundle: &Directory| {
                let ours = geteuid().as_raw();
                bundle.stat().is_ok_and(|stat| stat.st_uid == ours && stat.st_mode & 0o022 == 0)
            };
            let bundle = Directory::open_no_link(&record.bundle).ok().filter(is_ours);
            let info = bundle.map_or(Ok(None), |bundle| bundle.read_small(BUNDLE_INFO, MAX_RECORD));
            // It is gone, or nothing of ours.
            let Ok(Some(info)) = info else { continue };
            if let Ok(Origin { reference, manifest }) = manifest::parse_json(&info) {
                all.push((reference, manifest, record.layers));
            }
        }
        Ok(all)
    }
}

/// What a bundle tells of where it came from.
#[derive(Deserialize)]
struct Origin {
    reference: String,
    manifest: Descriptor,
}

/// Whether the overlay of a bundle that uses the layer `name` is mounted.
pub(super) fn is_mounted_anywhere(store: &Store, name: &str) -> Result<bool> {
    let mut mounted = None;
    for (_, record) in read_records::<BundleRecord>(&store.dirs.bundles)? {
        if record.layers.iter().any(|layer| layer == name) && is_mounted(&record, &mut mounted)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The layers of all bundles. Removes the records of bundles that are gone, that no active session makes and
/// whose overlay is mounted nowhere; with `dry_run`, they do not count and are left in place.
pub(super) fn bundle_layers(store: &Store, active: &[ActiveSession], dry_run: bool) -> Result<Vec<String>> {
    let mut layers = Vec::new();
    let mut mounted = None;
    for (name, record) in read_records::<BundleRecord>(&store.dirs.bundles)? {
        let is_being_made = || active.iter().any(|session| session.name == record.session);
        if !is_gone(&record.bundle) || is_being_made() || is_mounted(&record, &mut mounted)? {
            layers.extend(record.layers);
        } else if !dry_run {
            store.dirs.bundles.remove_file(&name)?;
        }
    }
    Ok(layers)
}

/// The layers of pulled images. With `forget`, the records of all that no active session is pulling are
/// removed and do not count; with `dry_run` too, they are left in place.
pub(super) fn image_layers(
    store: &Store,
    active: &[ActiveSession],
    forget: bool,
    dry_run: bool,
) -> Result<Vec<String>> {
    let mut layers = Vec::new();
    for (name, record) in read_records::<ImageRecord>(&store.dirs.images)? {
        if !forget || active.iter().any(|session| session.name == record.session) {
            layers.extend(record.layers);
        } else if !dry_run {
            store.dirs.images.remove_file(&name)?;
        }
    }
    Ok(layers)
}
