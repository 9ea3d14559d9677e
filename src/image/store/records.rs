//! Records the users of the store's layers: bundles (`STORE/bundles`) and pulled images (`STORE/images`), one JSON file
//! each. `prune` keeps the layers that they list.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::image::Descriptor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::import::ImportedLayers;
use super::session::ActiveSession;
use super::{BUNDLE_INFO, Store};
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::blob::digest;
use crate::image::document::manifest;
use crate::image::filesystem::replace::replace_file;

/// A bundle's file. Its name is the SHA-256 of the bundle's absolute path.
#[derive(Debug, Serialize, Deserialize)]
struct BundleRecord {
    bundle: PathBuf,
    layers: Vec<String>,
    /// The session of the process that makes the bundle.
    session: String,
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
}

impl Store {
    fn bundle_file(&self, bundle: &Path) -> PathBuf {
        self.path.join("bundles").join(digest::sha256_of(bundle.as_os_str().as_bytes()).digest())
    }

    /// Records that the bundle at this absolute path uses these layers. The bundle need not be there yet.
    pub(crate) fn record_bundle(&self, bundle: &Path, imported: &ImportedLayers) -> Result<()> {
        let record = BundleRecord {
            bundle: bundle.to_owned(),
            layers: imported.layers.clone(),
            session: imported.session.name(),
        };
        write_record(&self.bundle_file(bundle), &record)
    }

    /// Removes the record of a removed bundle.
    pub(crate) fn forget_bundle(&self, bundle: &Path) -> Result<()> {
        remove_file(&self.bundle_file(bundle))
    }

    /// Records that the image at `reference` was pulled, and replaces the record of an earlier pull of the reference.
    pub(crate) fn record_image(
        &self,
        reference: &str,
        manifest: &Descriptor,
        imported: &ImportedLayers,
    ) -> Result<()> {
        let record = ImageRecord {
            reference: reference.into(),
            manifest: manifest.clone(),
            layers: imported.layers.clone(),
            session: imported.session.name(),
        };
        let name = digest::sha256_of(reference.as_bytes());
        write_record(&self.path.join("images").join(name.digest()), &record)
    }
}

fn write_record(path: &Path, record: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(record).map_err(|e| fail!(Kind::Spec, "{e}"))?;
    replace_file(path, &text)
}

/// The records in a directory of the store. A record that another process removes meanwhile is left out.
fn read_records<T: DeserializeOwned>(dir: &Path) -> Result<Vec<(PathBuf, T)>> {
    let place = || format!("{}", dir.display());
    let mut records = Vec::new();
    for entry in fs::read_dir(dir).with_context(place)? {
        let path = entry.with_context(place)?.path();
        // A record that is being written has an extension.
        if path.extension().is_some() {
            continue;
        }
        let Ok(text) = fs::read(&path) else { continue };
        let record = manifest::parse_json(&text).with_context(|| format!("{}", path.display()))?;
        records.push((path, record));
    }
    Ok(records)
}

/// The layers of all bundles. Removes the records of bundles that are gone and that no active session makes.
pub(super) fn bundle_layers(store: &Store, active: &[ActiveSession]) -> Result<Vec<String>> {
    let mut layers = Vec::new();
    for (path, record) in read_records::<BundleRecord>(&store.path.join("bundles"))? {
        let is_being_made = || active.iter().any(|session| session.name == record.session);
        if record.bundle.join(BUNDLE_INFO).exists() || is_being_made() {
            layers.extend(record.layers);
        } else {
            remove_file(&path)?;
        }
    }
    Ok(layers)
}

/// The layers of pulled images. With `forget`, the records of all that no active session is pulling are removed and do
/// not count; with `dry_run` too, they are left in place.
pub(super) fn image_layers(
    store: &Store,
    active: &[ActiveSession],
    forget: bool,
    dry_run: bool,
) -> Result<Vec<String>> {
    let mut layers = Vec::new();
    for (path, record) in read_records::<ImageRecord>(&store.path.join("images"))? {
        if !forget || active.iter().any(|session| session.name == record.session) {
            layers.extend(record.layers);
        } else if !dry_run {
            remove_file(&path)?;
        }
    }
    Ok(layers)
}

/// Removes a file that another process may remove at the same time.
fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
