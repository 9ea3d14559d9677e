//! Imports an image into the store: its missing layers are unpacked in parallel, each in one pass, and then
//! renamed to their final places from the lowest to the topmost.

use std::collections::HashMap;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use oci_spec::image::{Descriptor, Digest};

use super::complete::{Completed, complete_layer};
use super::session::Session;
use super::{LayerIds, LayerInfo, Store, layer_ids};
use crate::error::{Context, Error, Result};
use crate::image::blob::digest::{self, short};
use crate::image::document::manifest::Image;
use crate::image::filesystem::directory::Directory;
use crate::image::filesystem::overlay::Overlay;
use crate::image::filesystem::remove;
use crate::image::filesystem::xattrs::drop_inherited_acl;
use crate::image::limits::{Limits, Usage};
use crate::image::parallel;
use crate::image::progress::{Progress, ProgressReader};
use crate::image::source::ImageSource;
use crate::image::unpack::entry_adapter::EntryAdapter;
use crate::image::unpack::layer;
use crate::image::unpack::single_layer::SingleLayer;
use crate::image::unpack::tree::Tree;
use crate::image::userns::namespace::Privilege;

/// How many layers are unpacked at the same time; more would only wait for the disk.
const PARALLEL: usize = 4;

/// All layers of an image in the store. While it lives none of them is pruned.
#[derive(Debug)]
pub(crate) struct ImportedLayers {
    /// The layers' names in the store, the lowest first. A layer that the image has twice is named twice.
    pub(crate) layers: Vec<String>,
    pub(super) session: Session,
}

/// A layer that is unpacked in the session's directory.
struct UnpackedLayer {
    path: PathBuf,
    /// The parts that the layer needs of the layers below.
    needs: SingleLayer,
}

/// A layer to unpack.
#[derive(Clone, Copy)]
struct Job<'a> {
    /// The layer's position in the image, from 0.
    number: usize,
    blob: &'a Descriptor,
    diff_id: &'a Digest,
}

/// Unpacks the layers of `image` that the store lacks, and returns the names of all its layers.
///
/// # Errors
///
/// Any fault of the image (`Kind::Spec`), its source or the disk; the store is then as before.
pub(crate) fn import_layers(
    store: &Store,
    source: &dyn ImageSource,
    image: &Image,
    limits: &Limits,
    progress: &Arc<dyn Progress>,
) -> Result<ImportedLayers> {
    let diff_ids =
        image.config.rootfs().diff_ids().iter().map(|id| digest::parse(id)).collect::<Result<Vec<_>>>()?;
    let ids = layer_ids(&diff_ids);
    let session = Session::begin(store, &ids)?;
    let blobs = image.manifest.layers();
    progress.plan(blobs);
    let used = Usage::default();
    let importer =
        Importer { store, source, limits, progress, used, work: session.path(), count: blobs.len() };
    let mut jobs: Vec<Job<'_>> = Vec::new();
    for (number, (blob, diff_id)) in blobs.iter().zip(&diff_ids).enumerate() {
        let is_job = jobs.iter().any(|job| job.diff_id == diff_id);
        if store.find_layer(&ids[number])?.is_some() {
            progress.done(blob);
        } else if !is_job {
            jobs.push(Job { number, blob, diff_id });
        }
    }
    let mut unpacked = importer.unpack_all(&jobs)?;
    let layers = importer.publish_all(&ids, &diff_ids, blobs, &mut unpacked)?;
    importer.used.warn_of_attributes_left_out();
    Ok(ImportedLayers { layers, session })
}

struct Importer<'a> {
    store: &'a Store,
    source: &'a dyn ImageSource,
    limits: &'a Limits,
    progress: &'a Arc<dyn Progress>,
    used: Usage,
    /// The session's directory.
    work: &'a Path,
    /// How many layers the image has.
    count: usize,
}

impl Importer<'_> {
    fn place(&self, job: Job<'_>) -> String {
        let digest = job.blob.digest();
        format!("layer {} of {} ({}:{})", job.number + 1, self.count, digest.algorithm(), short(digest))
    }

    /// Unpacks these layers, some in parallel. After a failure no further layer is begun.
    fn unpack_all(&self, jobs: &[Job<'_>]) -> Result<HashMap<Digest, UnpackedLayer>> {
        let done = Mutex::new(HashMap::new());
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(PARALLEL);
        parallel::for_each(jobs, threads, &|job| job.blob.size(), &|job| {
            let layer = self.unpack_layer(*job)?;
            done.lock().unwrap_or_else(PoisonError::into_inner).insert(job.diff_id.clone(), layer);
            Ok(())
        })?;
        Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn unpack_layer(&self, job: Job<'_>) -> Result<UnpackedLayer> {
        self.unpack_to(self.work.join(job.number.to_string()), job).with_context(|| self.place(job))
    }

    /// Unpacks a layer to the new directory `path`, in the form that it has in the store.
    fn unpack_to(&self, path: PathBuf, job: Job<'_>) -> Result<UnpackedLayer> {
        let making = || format!("make {}", self.store.shown(&path).display());
        fs::create_dir(&path).with_context(making)?;
        fs::create_dir(path.join("fs")).with_context(making)?;
        let privilege = Privilege::detect();
        let adapter = EntryAdapter::for_privilege(privilege, None);
        let mut tree =
            Tree::single_layer(&path.join("fs"), privilege.is_confined(), adapter).with_context(making)?;
        let inner = self.source.blob(job.blob)?;
        let bytes = ProgressReader { inner, blob: job.blob.clone(), progress: Arc::clone(self.progress) };
        layer::apply(&mut tree, Box::new(bytes), job.blob, job.diff_id, self.limits, &self.used)?;
        tree.finish().context("set the times of directories")?;
        let has_root_entry = tree.has_root_entry();
        let needs = tree.into_single_layer();
        let info = LayerInfo { diff_id: job.diff_id.to_string(), has_root_entry, hides_all: needs.hides_all };
        info.write(&path)?;
        self.progress.done(job.blob);
        Ok(UnpackedLayer { path, needs })
    }

    /// Puts the layers in place, the lowest first: a layer that needs something of the layers below is
    /// completed from them. Returns their names in the store.
    fn publish_all(
        &self,
        ids: &[LayerIds],
        diff_ids: &[Digest],
        blobs: &[Descriptor],
        unpacked: &mut HashMap<Digest, UnpackedLayer>,
    ) -> Result<Vec<String>> {
        // One syncfs(2) for all complete layers: a layer is seen only when it is on disk.
        let mut is_synced = unpacked.is_empty();
        let mut layers: Vec<String> = Vec::new();
        for (number, (ids, diff_id)) in ids.iter().zip(diff_ids).enumerate() {
            if let Some(name) = self.store.find_layer(ids)? {
                layers.push(name);
                continue;
            }
            let is_unpacked = match unpacked.get(diff_id) {
                Some(layer) => layer
                    .path
                    .try_exists()
                    .with_context(|| self.store.shown(&layer.path).display().to_string())?,
                None => false,
            };
            if !is_unpacked {
                // It was in the store a moment ago and was removed, or the image has it a second time over
                // other layers.
                let job = Job { number, blob: &blobs[number], diff_id };
                unpacked.insert(diff_id.clone(), self.unpack_layer(job)?);
                is_synced = false;
            }
            let Some(layer) = unpacked.get(diff_id) else { continue };
            let is_complete = layer.needs.is_independent();
            if !is_complete {
                let job = Job { number, blob: &blobs[number], diff_id };
                self.complete(layer, &layers, job)?;
            }
            if !is_synced || !is_complete {
                self.sync()?;
                is_synced = true;
            }
            let name = if is_complete { &ids.diff_id } else { &ids.chain_id };
            self.publish(&layer.path, name)?;
            layers.push(name.clone());
        }
        Ok(layers)
    }

    /// Completes an unpacked layer over the layers below, or unpacks it again over them.
    fn complete(&self, layer: &UnpackedLayer, below: &[String], job: Job<'_>) -> Result<()> {
        let below = self.store.visible_trees(below)?;
        let place =
            || format!("layer {} of {}: what it needs of the layers below", job.number + 1, self.count);
        let completed = complete_layer(&layer.path, &layer.needs, &below, self.work, job.number);
        match completed.with_context(place)? {
            Completed::Done => Ok(()),
            Completed::NeedsOrder => self.unpack_over(layer, below, job).with_context(|| self.place(job)),
        }
    }

    /// Unpacks a layer for the second time, over the layers below it: overlayfs itself writes to the layer's
    /// tree.
    fn unpack_over(&self, layer: &UnpackedLayer, mut below: Vec<PathBuf>, job: Job<'_>) -> Result<()> {
        let path = |name: &str| layer.path.join(name);
        let (upper, work, empty) = (path("upper"), path("work"), path("empty"));
        for path in [&upper, &work, &empty] {
            fs::create_dir(path).with_context(|| format!("make {}", self.store.shown(path).display()))?;
        }
        // Inherited from the store's directory, it would count for all files of the layer.
        drop_inherited_acl(fs::File::open(&upper)?.as_fd())?;
        below.insert(0, empty);
        let overlay = Overlay {
            lowers: &below,
            upper: Some((&upper, &work)),
            userxattr: layer.needs.userxattr,
            mapped: None,
        };
        let adapter = EntryAdapter::for_privilege(Privilege::detect(), None);
        let mut tree = Tree::over(overlay.view()?, adapter)?;
        let blob = self.source.blob(job.blob)?;
        layer::apply(&mut tree, blob, job.blob, job.diff_id, self.limits, &Usage::default())?;
        tree.finish().context("set the times of directories")?;
        drop(tree);
        let dir = fs::File::open(&layer.path)?;
        for name in [c"fs", c"work", c"empty"] {
            remove::tree(dir.as_fd(), name).context("remove what was unpacked before")?;
        }
        fs::rename(&upper, path("fs"))?;
        // The layer hides lower files by whiteouts of each name, which need the layers below.
        LayerInfo { hides_all: false, ..LayerInfo::read(&Directory::open_no_link(&layer.path)?)? }
            .write(&layer.path)
    }

    fn sync(&self) -> Result<()> {
        nix::unistd::syncfs(self.store.dirs.root.as_fd()).context("write the store to disk")
    }

    /// Renames a layer to its place. If another process has put the same layer there meanwhile, that layer
    /// stays, and ours is removed with the session.
    fn publish(&self, from: &Path, name: &str) -> Result<()> {
        let to = self.store.layer_dir(name);
        match fs::rename(from, &to).map_err(Error::from) {
            Err(error) if matches!(error.errno(), Some(Errno::EEXIST | Errno::ENOTEMPTY)) => Ok(()),
            other => other.with_context(|| format!("put layer {} in place", self.store.shown(&to).display())),
        }
    }
}
