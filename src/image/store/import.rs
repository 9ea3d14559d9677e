//! Imports an image into the store: its missing layers are unpacked in parallel, each in one pass, and then
//! renamed to their final places from the lowest to the topmost.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use oci_spec::image::{Descriptor, Digest, MediaType};

use super::complete::{Completed, complete_layer, merged};
use super::seal::seal;
use super::session::Session;
use super::trees::{Trees, new_file};
use super::{ARCHIVE, FILES, INDEX, LayerIds, LayerInfo, Store, layer_ids, uuid_of};
use crate::error::{Context, Error, Kind, Result};
use crate::image::blob::digest::{self, short};
use crate::image::document::manifest::Image;
use crate::image::erofs::builder::{IndexBuilder, LayerIndex};
use crate::image::erofs::complete as erofs;
use crate::image::erofs::index_file::write_index;
use crate::image::erofs::not_plain::NotPlain;
use crate::image::erofs::probe::probe;
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
use crate::inroot::Root;
use crate::{fail, log};

/// How many layers are unpacked at the same time; more would only wait for the disk.
const PARALLEL: usize = 4;

/// All layers of an image in the store. While it lives none of them is pruned.
#[derive(Debug)]
pub(crate) struct ImportedLayers {
    /// The layers' names in the store, the lowest first. A layer that the image has twice is named twice.
    pub(crate) layers: Vec<String>,
    pub(super) session: Session,
}

/// The form in which layers come into a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LayerForm {
    /// Unpacked to a directory.
    Files,
    /// As an archive with an index, which the kernel mounts as EROFS; it is an error if it cannot.
    Erofs,
    /// With an index where this host can mount it.
    Auto,
}

/// How an image is imported.
#[derive(Clone, Copy)]
pub(crate) struct ImportOptions<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) progress: &'a Arc<dyn Progress>,
    pub(crate) form: LayerForm,
}

/// A layer that was made in the session's directory.
pub(super) struct UnpackedLayer {
    pub(super) path: PathBuf,
    pub(super) content: LayerContent,
}

/// What a layer is there, with the parts that it needs of the layers below.
pub(super) enum LayerContent {
    Files(SingleLayer),
    /// It has its archive and its index.
    Indexed,
    /// It has its archive; the index is written over the layers below.
    Archive(Mutex<LayerIndex>),
}

impl LayerContent {
    /// Whether the layer needs nothing of the layers below.
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Files(needs) => needs.is_independent(),
            Self::Indexed => true,
            Self::Archive(_) => false,
        }
    }
}

/// A layer to unpack.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    /// The layer's position in the image, from 0.
    pub(super) number: usize,
    pub(super) blob: &'a Descriptor,
    pub(super) diff_id: &'a Digest,
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
    options: ImportOptions<'_>,
) -> Result<ImportedLayers> {
    let ImportOptions { limits, progress, form } = options;
    let diff_ids =
        image.config.rootfs().diff_ids().iter().map(|id| digest::parse(id)).collect::<Result<Vec<_>>>()?;
    let ids = layer_ids(&diff_ids);
    let session = Session::begin(store, &ids)?;
    let blobs = image.manifest.layers();
    progress.plan(blobs);
    let used = Usage::default();
    let mut jobs: Vec<Job<'_>> = Vec::new();
    for (number, (blob, diff_id)) in blobs.iter().zip(&diff_ids).enumerate() {
        let is_job = jobs.iter().any(|job| job.diff_id == diff_id);
        if store.find_layer(&ids[number])?.is_some() {
            progress.done(blob);
        } else if !is_job {
            jobs.push(Job { number, blob, diff_id });
        }
    }
    let (work, count) = (session.path(), blobs.len());
    let is_indexed = !jobs.is_empty() && mounts_indexes(form, work)?;
    let importer = Importer { store, source, limits, progress, used, work, count, is_indexed };
    let full = |error: crate::error::Error| error.name_full_disk(store.path());
    let mut unpacked = importer.unpack_all(&jobs).map_err(full)?;
    let layers = importer.publish_all(&ids, &diff_ids, blobs, &mut unpacked).map_err(full)?;
    importer.used.warn_of_attributes_left_out();
    Ok(ImportedLayers { layers, session })
}

/// Whether layers get an index: whether this host mounts one.
///
/// # Errors
///
/// `Kind::Unsupported` if it does not, and must.
pub(super) fn mounts_indexes(form: LayerForm, work: &Path) -> Result<bool> {
    if form == LayerForm::Files {
        return Ok(false);
    }
    let reason = match Privilege::detect() {
        Privilege::Root => probe(work)?,
        _ => Some(fail!(Kind::Unsupported, "only root can mount EROFS")),
    };
    match reason {
        None => Ok(true),
        Some(reason) if form == LayerForm::Erofs => {
            let error = fail!(Kind::Unsupported, "this host mounts no layers with EROFS: {reason}");
            Err(error.with_hint("--overlay=auto unpacks them to directories instead"))
        }
        Some(reason) => {
            log::debug(format_args!("layers are unpacked to directories, not mounted with EROFS: {reason}"));
            Ok(false)
        }
    }
}

pub(super) struct Importer<'a> {
    pub(super) store: &'a Store,
    pub(super) source: &'a dyn ImageSource,
    pub(super) limits: &'a Limits,
    pub(super) progress: &'a Arc<dyn Progress>,
    pub(super) used: Usage,
    /// The session's directory.
    pub(super) work: &'a Path,
    /// How many layers the image has.
    pub(super) count: usize,
    /// Whether layers get an index.
    pub(super) is_indexed: bool,
}

impl Importer<'_> {
    fn place(&self, job: Job<'_>) -> String {
        let digest = job.blob.digest();
        format!("layer {} of {} ({}:{})", job.number + 1, self.count, digest.algorithm(), short(digest))
    }

    /// Unpacks these layers, some in parallel. After a failure no further layer is begun.
    fn unpack_all(&self, jobs: &[Job<'_>]) -> Result<HashMap<Digest, UnpackedLayer>> {
        let done = Mutex::new(HashMap::new());
        if jobs.is_empty() {
            // How many processors there are is asked of several files.
            return Ok(HashMap::new());
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(PARALLEL);
        parallel::for_each(jobs, threads, &|job| job.blob.size(), &|job| {
            let layer = self.unpack_layer(*job)?;
            done.lock().unwrap_or_else(PoisonError::into_inner).insert(job.diff_id.clone(), layer);
            Ok(())
        })?;
        Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn unpack_layer(&self, job: Job<'_>) -> Result<UnpackedLayer> {
        self.unpack_to(self.work.join(job.number.to_string()), job).with_context(|| self.place(job))
    }

    /// Makes a layer in the new directory `path`, in the form that it has in the store.
    fn unpack_to(&self, path: PathBuf, job: Job<'_>) -> Result<UnpackedLayer> {
        fs::create_dir(&path).with_context(|| format!("make {}", self.store.shown(&path).display()))?;
        let content = match self.is_indexed {
            true => self.index(&path, job)?,
            false => {
                let inner = self.source.blob(job.blob)?;
                let progress = Arc::clone(self.progress);
                let bytes = ProgressReader { inner, blob: job.blob.clone(), progress };
                LayerContent::Files(self.unpack_files(
                    &path,
                    Box::new(bytes),
                    job.blob,
                    job.diff_id,
                    &self.used,
                )?)
            }
        };
        if matches!(content, LayerContent::Indexed) {
            seal(&path)?;
        }
        self.progress.done(job.blob);
        Ok(UnpackedLayer { path, content })
    }

    /// Unpacks the layer that `bytes` reads to files in the layer's directory `path`.
    fn unpack_files(
        &self,
        path: &Path,
        bytes: Box<dyn Read + Send>,
        blob: &Descriptor,
        diff_id: &Digest,
        used: &Usage,
    ) -> Result<SingleLayer> {
        let tree = path.join(FILES);
        let making = || format!("make {}", self.store.shown(&tree).display());
        fs::create_dir(&tree).with_context(making)?;
        let privilege = Privilege::detect();
        let adapter = EntryAdapter::for_privilege(privilege, None);
        let mut tree = Tree::single_layer(&tree, privilege.is_confined(), adapter).with_context(making)?;
        layer::apply(&mut tree, bytes, blob, diff_id, self.limits, used)?;
        tree.finish().context("set the times of directories")?;
        let has_root_entry = tree.has_root_entry();
        let needs = tree.into_single_layer();
        LayerInfo {
            diff_id: diff_id.to_string(),
            has_root_entry,
            hides_all: needs.hides_all,
            below: None,
            seals: None,
        }
        .write(path)?;
        Ok(needs)
    }

    /// Keeps the archive of a layer, and makes an index of it, in one pass. A layer that is not plain is
    /// unpacked instead.
    fn index(&self, path: &Path, job: Job<'_>) -> Result<LayerContent> {
        let inner = self.source.blob(job.blob)?;
        let bytes = ProgressReader { inner, blob: job.blob.clone(), progress: Arc::clone(self.progress) };
        let archive = new_file(&path.join(ARCHIVE))?;
        let mut builder = IndexBuilder::new(EntryAdapter::for_privilege(Privilege::Root, None));
        let limits = (self.limits, &self.used);
        let copy = archive.try_clone()?;
        layer::apply_and_keep(&mut builder, Box::new(bytes), job.blob, job.diff_id, limits, copy)?;
        match builder.finish() {
            Err(NotPlain(reason)) => self.unpack_archive(path, job, reason).map(LayerContent::Files),
            Ok(mut index) if index.needs.is_independent() => {
                self.write_index(path, &mut index, &archive, None, job)?;
                Ok(LayerContent::Indexed)
            }
            Ok(index) => Ok(LayerContent::Archive(Mutex::new(index))),
        }
    }

    /// Unpacks a layer to files whose archive is there, verified, and removes that.
    fn unpack_archive(&self, path: &Path, job: Job<'_>, reason: &str) -> Result<SingleLayer> {
        log::debug(format_args!("{}: unpacked to a directory: {reason}", self.place(job)));
        let archive = path.join(ARCHIVE);
        let bytes = fs::File::open(&archive)?;
        let size = bytes.metadata()?.len();
        let plain = Descriptor::new(MediaType::ImageLayer, size, job.diff_id.clone());
        let needs = self.unpack_files(path, Box::new(bytes), &plain, job.diff_id, &Usage::default())?;
        fs::remove_file(&archive)
            .with_context(|| format!("remove {}", self.store.shown(&archive).display()))?;
        Ok(needs)
    }

    fn write_index(
        &self,
        path: &Path,
        index: &mut LayerIndex,
        archive: &fs::File,
        below: Option<(&Root, &[String])>,
        job: Job<'_>,
    ) -> Result<()> {
        let to = new_file(&path.join(INDEX))?;
        write_index(index, archive, below.map(|(merged, _)| merged), uuid_of(job.diff_id), &to)?;
        let (has_root_entry, hides_all) = (index.has_root_entry, index.needs.hides_all);
        let below = below.map(|(_, names)| names.to_vec());
        LayerInfo { diff_id: job.diff_id.to_string(), has_root_entry, hides_all, below, seals: None }
            .write(path)
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
            let is_complete = layer.content.is_complete();
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
    pub(super) fn complete(&self, layer: &UnpackedLayer, names: &[String], job: Job<'_>) -> Result<()> {
        let below = self.store.visible_trees(names)?;
        let place =
            || format!("layer {} of {}: what it needs of the layers below", job.number + 1, self.count);
        match &layer.content {
            LayerContent::Indexed => Ok(()),
            LayerContent::Files(needs) => self.complete_files(&layer.path, needs, &below, job, &place),
            LayerContent::Archive(index) => {
                let mut index = index.lock().unwrap_or_else(PoisonError::into_inner);
                let merged = merged(&below, self.work, job.number, false).with_context(place)?;
                match erofs::complete(&mut index, &merged, (&self.used, self.limits)).with_context(place)? {
                    erofs::Completed::Done => {
                        let archive = fs::File::open(layer.path.join(ARCHIVE))?;
                        self.write_index(&layer.path, &mut index, &archive, Some((&merged, names)), job)?;
                        drop(archive);
                        seal(&layer.path).with_context(place)
                    }
                    erofs::Completed::NeedsOrder => {
                        let needs =
                            self.unpack_archive(&layer.path, job, "its entries depend on their order")?;
                        self.complete_files(&layer.path, &needs, &below, job, &place)
                    }
                }
            }
        }
    }

    fn complete_files(
        &self,
        path: &Path,
        needs: &SingleLayer,
        below: &Trees,
        job: Job<'_>,
        place: &dyn Fn() -> String,
    ) -> Result<()> {
        let limits = (&self.used, self.limits);
        match complete_layer(path, needs, below, self.work, job.number, limits).with_context(place)? {
            Completed::Done => Ok(()),
            Completed::NeedsOrder => {
                self.unpack_over(path, needs.userxattr, below, job).with_context(|| self.place(job))
            }
        }
    }

    /// Unpacks a layer for the second time, over the layers below it: overlayfs itself writes to the layer's
    /// tree.
    fn unpack_over(&self, dir: &Path, userxattr: bool, below: &Trees, job: Job<'_>) -> Result<()> {
        let path = |name: &str| dir.join(name);
        let (upper, work, empty) = (path("upper"), path("work"), path("empty"));
        for path in [&upper, &work, &empty] {
            fs::create_dir(path).with_context(|| format!("make {}", self.store.shown(path).display()))?;
        }
        // Inherited from the store's directory, it would count for all files of the layer.
        drop_inherited_acl(fs::File::open(&upper)?.as_fd())?;
        let lowers = [&[empty], &below[..]].concat();
        let overlay = Overlay {
            lowers: &lowers,
            upper: Some((&upper, &work)),
            userxattr,
            mapped: None,
            mounts: below.mounts(),
        };
        let adapter = EntryAdapter::for_privilege(Privilege::detect(), None);
        let mut tree = Tree::over(overlay.view()?, adapter)?;
        let blob = self.source.blob(job.blob)?;
        layer::apply(&mut tree, blob, job.blob, job.diff_id, self.limits, &Usage::default())?;
        self.used.add_bytes(tree.copied_bytes, self.limits)?;
        tree.finish().context("set the times of directories")?;
        drop(tree);
        let opened = fs::File::open(dir)?;
        for name in [c"fs", c"work", c"empty"] {
            remove::tree(opened.as_fd(), name).context("remove what was unpacked before")?;
        }
        fs::rename(&upper, path("fs"))?;
        // The layer hides lower files by whiteouts of each name, which need the layers below.
        LayerInfo { hides_all: false, ..LayerInfo::read(&Directory::open_no_link(dir)?)? }.write(dir)
    }

    pub(super) fn sync(&self) -> Result<()> {
        nix::unistd::syncfs(self.store.dirs.root.as_fd()).context("write the store to disk")
    }

    /// Opens the session's directory.
    pub(super) fn work_dir(&self) -> Result<Directory> {
        Directory::open(self.work)
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
