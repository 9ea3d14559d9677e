//! Bringing the layers of an image into the store: those that are missing are unpacked side by side, each in one
//! pass, then put in place from the lowest to the topmost.

use std::collections::HashMap;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use oci_spec::image::{Descriptor, Digest};

use super::{About, Keys, Session, Store, debts, keys};
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::blob::digest::{self, short};
use crate::image::document::manifest::Image;
use crate::image::limits::{Limits, Used};
use crate::image::progress::{Watch, Watched};
use crate::image::source::Source;
use crate::image::unpack::adapt::Adapt;
use crate::image::unpack::layer;
use crate::image::unpack::single_layer::Alone;
use crate::image::unpack::tree::Tree;
use crate::image::userns::namespace::Place;

/// Layers that are unpacked side by side; more would only wait for the disk.
const PARALLEL: usize = 4;

/// All layers of an image in the store. While it lives none of them is pruned.
#[derive(Debug)]
pub struct Filled {
    /// The layers' names, the lowest first; what is there twice is named twice.
    pub layers: Vec<String>,
    pub(super) session: Session,
}

/// A layer unpacked in the workplace.
struct Unpacked {
    path: PathBuf,
    debts: Alone,
}

struct Job<'a> {
    number: usize,
    blob: &'a Descriptor,
    diff_id: &'a Digest,
}

/// Brings the layers of `image` in.
pub fn fill(
    store: &Store,
    source: &dyn Source,
    image: &Image,
    limits: &Limits,
    watch: &Arc<dyn Watch>,
) -> Result<Filled> {
    let ids =
        image.config.rootfs().diff_ids().iter().map(|id| digest::parse(id)).collect::<Result<Vec<_>>>()?;
    let keys = keys(&ids);
    let session = Session::begin(store, &keys)?;
    let blobs = image.manifest.layers();
    watch.plan(blobs);
    let filling = Filling {
        store,
        source,
        limits,
        watch,
        used: Used::default(),
        work: session.path(),
        count: blobs.len(),
    };
    let mut jobs: Vec<Job<'_>> = Vec::new();
    for (number, (blob, diff_id)) in blobs.iter().zip(&ids).enumerate() {
        let is_job = jobs.iter().any(|job| job.diff_id == diff_id);
        if store.find(&keys[number]).is_some() {
            watch.done(blob);
        } else if !is_job {
            jobs.push(Job { number, blob, diff_id });
        }
    }
    let mut unpacked = filling.unpack(&jobs)?;
    let layers = filling.publish(&keys, &ids, blobs, &mut unpacked)?;
    Ok(Filled { layers, session })
}

struct Filling<'a> {
    store: &'a Store,
    source: &'a dyn Source,
    limits: &'a Limits,
    watch: &'a Arc<dyn Watch>,
    used: Used,
    work: &'a Path,
    count: usize,
}

impl Filling<'_> {
    fn place(&self, job: &Job<'_>) -> String {
        let digest = job.blob.digest();
        format!("layer {} of {} ({}:{})", job.number + 1, self.count, digest.algorithm(), short(digest))
    }

    /// Unpacks all jobs; after a failure no further one is begun.
    fn unpack(&self, jobs: &[Job<'_>]) -> Result<HashMap<Digest, Unpacked>> {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(HashMap::new());
        let work = || -> Result<()> {
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                match self.one(job).with_context(|| self.place(job)) {
                    Ok(layer) => drop(
                        done.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .insert(job.diff_id.clone(), layer),
                    ),
                    Err(error) => {
                        next.store(jobs.len(), Ordering::Relaxed);
                        return Err(error);
                    }
                }
            }
            Ok(())
        };
        let threads =
            std::thread::available_parallelism().map_or(1, usize::from).min(PARALLEL).min(jobs.len());
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let broken = |_| Err(fail!(Kind::Unsupported, "a thread broke down"));
            let mut results = workers.into_iter().map(|worker| worker.join().unwrap_or_else(broken));
            results.try_for_each(|result| result)
        })?;
        Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn one(&self, job: &Job<'_>) -> Result<Unpacked> {
        let path = self.work.join(job.number.to_string());
        let making = || format!("make {}", path.display());
        fs::create_dir(&path).with_context(making)?;
        fs::create_dir(path.join("fs")).with_context(making)?;
        let mut tree = Tree::open(&path.join("fs")).with_context(making)?;
        let place = Place::find();
        let mut alone = Alone::default();
        alone.userxattr = place.is_confined();
        tree.alone = Some(alone);
        tree.adapt = Adapt::of(place, None);
        let inner = self.source.blob(job.blob)?;
        let bytes = Watched { inner, blob: job.blob.clone(), watch: Arc::clone(self.watch) };
        layer::apply(&mut tree, Box::new(bytes), job.blob, job.diff_id, self.limits, &self.used)?;
        tree.finish().context("set the times of directories")?;
        let about = About { diff_id: job.diff_id.to_string(), root: tree.has_root_entry };
        let text = serde_json::to_vec(&about).map_err(|e| fail!(Kind::Spec, "{e}"))?;
        fs::write(path.join("about.json"), text).with_context(making)?;
        self.watch.done(job.blob);
        Ok(Unpacked { path, debts: tree.alone.take().unwrap_or_default() })
    }

    /// Puts the layers in place, from the lowest on: one that takes something for granted of those below it gets it
    /// from them now.
    fn publish(
        &self,
        keys: &[Keys],
        ids: &[Digest],
        blobs: &[Descriptor],
        unpacked: &mut HashMap<Digest, Unpacked>,
    ) -> Result<Vec<String>> {
        // One sync for all: only what is on disk may be seen.
        let mut synced = unpacked.is_empty();
        let mut layers: Vec<String> = Vec::new();
        for (number, (keys, id)) in keys.iter().zip(ids).enumerate() {
            if let Some(key) = self.store.find(keys) {
                layers.push(key);
                continue;
            }
            if unpacked.get(id).is_none_or(|layer| !layer.path.exists()) {
                // It was there a moment ago, or stands once more over other layers than the first time.
                let job = Job { number, blob: &blobs[number], diff_id: id };
                unpacked.insert(id.clone(), self.one(&job).with_context(|| self.place(&job))?);
                synced = false;
            }
            let Some(layer) = unpacked.get(id) else { continue };
            let key = if layer.debts.is_complete() { &keys.alone } else { &keys.chained };
            let path = if layer.debts.is_complete() {
                layer.path.clone()
            } else {
                let below: Vec<PathBuf> = layers.iter().map(|key| self.store.tree(key)).collect();
                let copy = debts::settle(&layer.path, &layer.debts, &below, self.work, number);
                copy.with_context(|| {
                    format!("layer {} of {}: what it takes from those below", number + 1, self.count)
                })?
            };
            if !synced || !layer.debts.is_complete() {
                self.sync()?;
                synced = true;
            }
            self.put(&path, key)?;
            layers.push(key.clone());
        }
        Ok(layers)
    }

    fn sync(&self) -> Result<()> {
        let dir = fs::File::open(&self.store.path).context("open the store")?;
        nix::unistd::syncfs(dir.as_fd()).context("write the store to disk")
    }

    /// The first of two who made the same layer wins; the other's goes with its workplace.
    fn put(&self, from: &Path, key: &str) -> Result<()> {
        let to = self.store.layer(key);
        match fs::rename(from, &to).map_err(Error::from) {
            Err(error) if matches!(error.errno(), Some(Errno::EEXIST | Errno::ENOTEMPTY)) => Ok(()),
            other => other.with_context(|| format!("put layer {} in place", to.display())),
        }
    }
}
