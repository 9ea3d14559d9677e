//! Layers of entries that meet: the index of each is written, twice the same, with every structure inside of the file; what
//! gets one is what unpacking takes too. `a_mounted_index_is_the_unpacked_layer` lets the kernel read such indexes.

use std::fs::File;
use std::io::{Cursor, Read, Seek};

use nix::sys::memfd::{MFdFlags, memfd_create};
use oci_spec::image::{Descriptor, MediaType};

use super::layers::archive;
use super::paths::Scratch;
use crate::error::Result;
use crate::image::blob::digest::sha256_of;
use crate::image::erofs::builder::{IndexBuilder, LayerIndex};
use crate::image::erofs::index_file::write_index;
use crate::image::limits::{Limits, Usage};
use crate::image::unpack::entry_adapter::EntryAdapter;
use crate::image::unpack::layer;
use crate::image::unpack::tree::Tree;

const MAGIC: [u8; 4] = 0xE0F5_E1E2_u32.to_le_bytes();
/// More than any entry of these takes: an inode, its name in a directory, and what a directory is filled up with.
const MOST_FOR_ENTRY: usize = 4096;

pub(super) fn indexes(input: &[u8]) {
    let bytes = archive(input);
    let tar = memory();
    let found = index(&bytes, &tar);
    // Files take their time: one in sixteen.
    if input.first().is_some_and(|byte| byte & 15 == 0) {
        let unpacked = unpack(&bytes);
        match (&found, &unpacked) {
            (Ok(Some(_)), Err(error)) if !error.to_string().contains("not permitted") => {
                panic!("it gets an index, and is refused: {error}")
            }
            (Err(error), Ok(())) => panic!("it is unpacked, and refused an index: {error}"),
            _ => {}
        }
    }
    let Ok(Some(mut first)) = found else { return };
    let Ok(Some(mut second)) = index(&bytes, &memory()) else { panic!("once with an index, once without") };
    let (one, other) = (written(&mut first, &tar), written(&mut second, &tar));
    assert_eq!(one, other);
    assert_eq!(one.get(1024..1028), Some(&MAGIC[..]));
    assert!(one.len() % 512 == 0 && one.len() <= (bytes.len() / 512 + 8) * MOST_FOR_ENTRY, "{}", one.len());
}

fn memory() -> File {
    memfd_create(c"fuzz", MFdFlags::MFD_CLOEXEC).unwrap().into()
}

fn written(index: &mut LayerIndex, tar: &File) -> Vec<u8> {
    let mut to = memory();
    write_index(index, tar, None, [7; 16], &to).unwrap();
    let mut bytes = Vec::new();
    to.rewind().unwrap();
    to.read_to_end(&mut bytes).unwrap();
    bytes
}

fn index(bytes: &[u8], tar: &File) -> Result<Option<LayerIndex>> {
    let mut builder = IndexBuilder::new(EntryAdapter::default());
    let blob = Descriptor::new(MediaType::ImageLayer, bytes.len() as u64, sha256_of(bytes));
    let limits = (&Limits::default(), &Usage::default());
    let reader = Box::new(Cursor::new(bytes.to_vec()));
    layer::apply_and_keep(&mut builder, reader, &blob, blob.digest(), limits, tar.try_clone()?)?;
    Ok(builder.finish().ok())
}

fn unpack(bytes: &[u8]) -> Result<()> {
    let scratch = Scratch::new();
    let mut tree = Tree::single_layer(&scratch.0, false, EntryAdapter::default())?;
    let blob = Descriptor::new(MediaType::ImageLayer, bytes.len() as u64, sha256_of(bytes));
    let reader = Box::new(Cursor::new(bytes.to_vec()));
    layer::apply(&mut tree, reader, &blob, blob.digest(), &Limits::default(), &Usage::default())?;
    Ok(tree.finish()?)
}
