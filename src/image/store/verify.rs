//! Proves the layers of a store: each archive has the digest that its layer is named by, and each index is the one
//! that the archive gets.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use oci_spec::image::{Descriptor, MediaType};

use super::complete::merged;
use super::seal::check;
use super::session::Session;
use super::trees::{has_index, new_file};
use super::{ARCHIVE, INDEX, LayerIds, LayerInfo, Store, names, uuid_of};
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::blob::digest;
use crate::image::erofs::builder::{IndexBuilder, LayerIndex};
use crate::image::erofs::complete::{Completed, complete};
use crate::image::erofs::index_file::write_index;
use crate::image::filesystem::directory::Directory;
use crate::image::limits::{Limits, Usage};
use crate::image::unpack::entry_adapter::EntryAdapter;
use crate::image::unpack::layer;
use crate::image::userns::namespace::Privilege;

/// What was found of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Every byte of its archive and of its index is right.
    Whole,
    /// It is unpacked to a directory, and no digest tells its files.
    Unpacked,
}

/// Proves all layers, and calls `report` with the name and the outcome of each.
///
/// # Errors
///
/// Those of the store; the faults of layers are reported.
pub(crate) fn verify_layers(store: &Store, report: &mut dyn FnMut(&str, Result<Proof>)) -> Result<()> {
    let mut layers = store.dirs.layers.names()?;
    layers.retain(|name| names::is_layer(name));
    let needed: Vec<LayerIds> = layers.iter().map(|name| LayerIds::of_name(name)).collect();
    // None of them is pruned meanwhile.
    let session = Session::begin(store, &needed)?;
    for (number, name) in layers.iter().enumerate() {
        if store.has_layer(name)? {
            report(name, verify_layer(store, name, session.path(), number));
        }
    }
    Ok(())
}

fn verify_layer(store: &Store, name: &str, work: &Path, number: usize) -> Result<Proof> {
    let layer = store.dirs.layers.below(name)?;
    if !has_index(&layer)? {
        return Ok(Proof::Unpacked);
    }
    let info = LayerInfo::read(&layer)?;
    let diff_id = digest::parse(&info.diff_id)?;
    let is_named_so = format!("{}-{}", diff_id.algorithm(), diff_id.digest()) == name;
    if !is_named_so && !name.starts_with("chain-") {
        return Err(fail!(Kind::Spec, "its record names the diff id {diff_id}"));
    }
    let archive = layer.open_file(ARCHIVE)?;
    check(&info, &archive, &layer.open_file(INDEX)?)?;
    let mut index = read_archive(&archive, &diff_id)?;
    let below = info.below.as_deref().unwrap_or_default();
    let trees = store.visible_trees(below).context("the layers below it")?;
    let merged = merged(&trees, work, number, false)?;
    if !index.needs.is_independent() {
        if info.below.is_none() {
            return Err(fail!(
                Kind::Unsupported,
                "an earlier version made it, and did not record what is below"
            ));
        }
        if complete(&mut index, &merged, (&Usage::default(), &Limits::NONE))? == Completed::NeedsOrder {
            return Err(fail!(Kind::Spec, "its index is not that of its archive"));
        }
    }
    if (index.has_root_entry, index.needs.hides_all) != (info.has_root_entry, info.hides_all) {
        return Err(fail!(Kind::Spec, "its record is not that of its archive"));
    }
    let made = new_file(&work.join(format!("{number}.erofs")))?;
    write_index(&mut index, &archive, Some(&merged), uuid_of(&diff_id), &made)?;
    compare(&layer, &made)?;
    Ok(Proof::Whole)
}

/// Reads an archive to its end, checks its digest, and makes the tree of its index.
fn read_archive(archive: &File, diff_id: &oci_spec::image::Digest) -> Result<LayerIndex> {
    let size = archive.metadata()?.len();
    let blob = Descriptor::new(MediaType::ImageLayer, size, diff_id.clone());
    // They held when it was made, with whatever was allowed then.
    let limits =
        Limits { size: u64::MAX >> 2, entries: u64::MAX >> 2, ratio: u64::MAX, ratio_from: u64::MAX };
    let mut builder = IndexBuilder::new(EntryAdapter::for_privilege(Privilege::Root, None));
    layer::apply(&mut builder, Box::new(archive.try_clone()?), &blob, diff_id, &limits, &Usage::default())?;
    builder.finish().map_err(|reason| fail!(Kind::Spec, "its archive gets no index: {}", reason.0))
}

fn compare(layer: &Directory, made: &File) -> Result<()> {
    use std::io::{Seek, SeekFrom};
    let (mut found, mut made) = (layer.open_file(INDEX)?, made);
    made.seek(SeekFrom::Start(0))?;
    let (mut one, mut other) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut at = 0;
    loop {
        let (count, expected) = (read_full(&mut found, &mut one)?, read_full(&mut made, &mut other)?);
        if one.get(..count) != other.get(..expected) {
            return Err(fail!(Kind::Spec, "its index is not that of its archive: bytes from {at} on differ"));
        }
        if count == 0 {
            return Ok(());
        }
        at += count;
    }
}

fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
