//! Brings the layers of a store from one form to the other, one by one: a layer with an index is unpacked from its
//! archive; a layer that is unpacked is read again from the source of an image that has it.

use std::io::Read;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;
use oci_spec::image::{Descriptor, MediaType};

use super::import::{ImportOptions, Importer, Job, LayerForm, mounts_indexes};
use super::session::Session;
use super::trees::has_index;
use super::{ARCHIVE, LayerIds, LayerInfo, Store, names, records};
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::blob::digest;
use crate::image::document::manifest::Image;
use crate::image::filesystem::directory::Directory;
use crate::image::limits::{Limits, Usage};
use crate::image::source::ImageSource;
use crate::inroot::c_string;
use crate::sys::file::exchange_between;

/// What became of a layer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Converted {
    Done,
    /// It cannot have the other form, or not now; for this reason.
    Kept(&'static str),
}

/// Gives the layers of `image`, which the store has under these names, the lowest first, an index. Those that have
/// one stay as they are. Calls `report` for each of the others.
///
/// # Errors
///
/// `Kind::Unsupported` if this host mounts no index; any fault of the source.
pub(crate) fn index_layers(
    store: &Store,
    source: &dyn ImageSource,
    image: &Image,
    layers: &[String],
    options: ImportOptions<'_>,
    report: &mut dyn FnMut(&str, Converted),
) -> Result<()> {
    let session = begin(store, layers)?;
    mounts_indexes(LayerForm::Erofs, session.path())?;
    let importer = Importer {
        store,
        source,
        limits: options.limits,
        progress: options.progress,
        used: Usage::default(),
        work: session.path(),
        count: layers.len(),
        is_indexed: true,
    };
    let diff_ids = image.config.rootfs().diff_ids();
    for (number, name) in layers.iter().enumerate() {
        let (Some(blob), Some(diff_id)) = (image.manifest.layers().get(number), diff_ids.get(number)) else {
            return Err(fail!(Kind::Spec, "the image has other layers than the store's record of it"));
        };
        let diff_id = digest::parse(diff_id)?;
        let Some(layer) = if_there(store.dirs.layers.below(name))? else { continue };
        if has_index(&layer)? || LayerInfo::read(&layer)?.diff_id != diff_id.to_string() {
            continue;
        }
        let job = Job { number, blob, diff_id: &diff_id };
        report(name, convert(&importer, name, job, layers.get(..number).unwrap_or_default(), true)?);
    }
    Ok(())
}

/// Unpacks all layers of the store that have an index to directories.
pub(crate) fn unpack_layers(
    store: &Store,
    limits: &Limits,
    report: &mut dyn FnMut(&str, Converted),
) -> Result<()> {
    let mut layers = store.dirs.layers.names()?;
    layers.retain(|name| names::is_layer(name));
    let session = begin(store, &layers)?;
    let mut indexed = Vec::new();
    for name in layers {
        let Some(layer) = if_there(store.dirs.layers.below(&name))? else { continue };
        if has_index(&layer)? {
            indexed.push((LayerInfo::read(&layer)?, name, layer));
        }
    }
    // A layer is completed over those below it, which come first: this host may mount no index.
    indexed.sort_by_key(|(info, ..)| info.below.as_ref().map_or(0, |below| below.len() + 1));
    for (number, (info, name, layer)) in indexed.iter().enumerate() {
        let diff_id = digest::parse(&info.diff_id)?;
        let source = ArchiveSource(layer);
        // Another `convert` may have unpacked it meanwhile.
        let Some(archive) = if_there(layer.open_file(ARCHIVE))? else { continue };
        let size = archive.metadata()?.len();
        let blob = Descriptor::new(MediaType::ImageLayer, size, diff_id.clone());
        let importer = Importer {
            store,
            source: &source,
            limits,
            progress: &(Arc::new(()) as Arc<dyn crate::image::progress::Progress>),
            used: Usage::default(),
            work: session.path(),
            count: indexed.len(),
            is_indexed: false,
        };
        let job = Job { number, blob: &blob, diff_id: &diff_id };
        let below = info.below.as_deref().unwrap_or_default();
        report(name, convert(&importer, name, job, below, false)?);
    }
    Ok(())
}

/// What is there; None for what another command has removed since it was listed.
fn if_there<T>(opened: Result<T>) -> Result<Option<T>> {
    match opened {
        Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(None),
        opened => opened.map(Some),
    }
}

/// A session that keeps these layers.
fn begin(store: &Store, layers: &[String]) -> Result<Session> {
    Session::begin(store, &layers.iter().map(|name| LayerIds::of_name(name)).collect::<Vec<_>>())
}

/// Makes the layer `name` anew over the layers `below`, and exchanges it for the one that is there.
fn convert(
    importer: &Importer<'_>,
    name: &str,
    job: Job<'_>,
    below: &[String],
    to_index: bool,
) -> Result<Converted> {
    let layer = importer.unpack_layer(job)?;
    let is_complete = layer.content.is_complete();
    // What depended on the layers below still does, and has its name from them.
    if is_complete == name.starts_with("chain-") {
        return Ok(Converted::Kept("it depends on the layers below in another way by now"));
    }
    if !is_complete {
        importer.complete(&layer, below, job)?;
    }
    let made = importer.work_dir()?;
    let number = layer.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if has_index(&made.below(&number)?)? != to_index {
        return Ok(Converted::Kept("it is not plain, and stays a directory"));
    }
    importer.sync()?;
    // From here on no bundle is made with it.
    let _lock = importer.store.dirs.lock()?;
    // An overlay over a directory needs it; archives and indexes live as long as they are mounted.
    let is_needed = || Ok::<_, Error>(to_index && records::is_mounted_anywhere(importer.store, name)?);
    let (own, new) = (c_string(name.as_bytes())?, c_string(number.as_bytes())?);
    let swap = || {
        exchange_between(importer.store.dirs.layers.as_fd(), &own, made.as_fd(), &new)
            .with_context(|| format!("put layer {name} in place"))
    };
    if !is_needed()? {
        swap()?;
        // Nothing may have been mounted meanwhile.
        match is_needed()? {
            false => return Ok(Converted::Done),
            true => swap()?,
        }
    }
    Ok(Converted::Kept("a bundle that is mounted uses its files: unmount it first"))
}

/// A source that has one blob: the archive of a layer in the store.
struct ArchiveSource<'a>(&'a Directory);

impl ImageSource for ArchiveSource<'_> {
    fn manifests(&self) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

    fn blob(&self, _: &Descriptor) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.0.open_file(ARCHIVE)?))
    }
}
