//! Layers of entries that meet: what is unpacked to a directory against what `tare-image explain` says would be.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use oci_spec::image::{Descriptor, MediaType};

use super::paths::Scratch;
use crate::error::Result;
use crate::image::archive::EntryKind;
use crate::image::blob::digest::sha256_of;
use crate::image::explain::MergedTree;
use crate::image::limits::{Limits, Usage};
use crate::image::unpack::entries::for_each_entry;
use crate::image::unpack::entry_adapter::EntryAdapter;
use crate::image::unpack::layer;
use crate::image::unpack::tree::Tree;
use crate::inroot::Root;

const NAMES: [&str; 16] = [
    "a",
    "b",
    "a/b",
    "a/b/c",
    "b/c",
    "./a/",
    "a/.wh.b",
    ".wh.a",
    "a/.wh..wh..opq",
    ".wh..wh..opq",
    "b/.wh.c",
    "a/../b",
    "/a/c",
    "c",
    ".",
    "a/b/.wh.c",
];
const LINKS: [&str; 8] = ["a", "b", "/a", "../b", "a/b", "..", "c", "a/b/c"];

/// What is at a path: its kind, mode, size and the target of a symlink.
type Found = (char, u32, u64, Vec<u8>);

/// Both refuse the layers, or both make the same of them.
pub(super) fn layers(input: &[u8]) {
    let archives: Vec<Vec<u8>> = input.split(|byte| *byte == 0xff).take(4).map(archive).collect();
    let scratch = Scratch::new();
    let unpacked = unpack(&scratch.0, &archives);
    let merged = merge(&archives);
    match (&unpacked, &merged) {
        (Ok(()), Ok(paths)) => assert_eq!(walked(&scratch.0), *paths, "{:?}", listed(&archives)),
        (Err(_), Err(_)) => {}
        // Only a file system knows these.
        (Err(error), Ok(_)) if is_of_the_host(&error.to_string()) => {}
        (one, other) => panic!("unpacked: {one:?}, merged: {other:?}: {:?}", listed(&archives)),
    }
}

fn is_of_the_host(message: &str) -> bool {
    ["not permitted", "too many levels", "too many links"].iter().any(|words| message.contains(words))
}

pub(super) fn archive(bytes: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for step in bytes.chunks_exact(4).take(16) {
        let mut header = tar::Header::new_ustar();
        let kind = [b'0', b'5', b'2', b'1', b'6', b'0', b'5', b'2'][usize::from(step[0] & 7)];
        let data: &[u8] = if kind == b'0' { &b"data of a file"[..usize::from(step[3] & 7)] } else { b"" };
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(if step[0] & 8 == 0 { 0o755 } else { 0o4711 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(data.len() as u64);
        let name = NAMES[usize::from(step[1] & 15)];
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        if matches!(kind, b'1' | b'2') {
            let link = LINKS[usize::from(step[2] & 7)];
            header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        }
        header.set_cksum();
        tar.append(&header, data).unwrap();
    }
    tar.into_inner().unwrap()
}

fn unpack(root: &Path, archives: &[Vec<u8>]) -> Result<()> {
    let mut tree = Tree::merged(Root::open(root).unwrap(), EntryAdapter::default())?;
    let used = Usage::default();
    for bytes in archives {
        let blob = named(bytes);
        layer::apply(&mut tree, boxed(bytes), &blob, blob.digest(), &Limits::default(), &used)?;
    }
    Ok(tree.finish()?)
}

fn merge(archives: &[Vec<u8>]) -> Result<BTreeMap<Vec<u8>, Found>> {
    let mut tree = MergedTree::default();
    let used = Usage::default();
    for bytes in archives {
        tree.begin_layer();
        let blob = named(bytes);
        let mut apply = |entry: &_, path: &[u8]| tree.apply(entry, path);
        for_each_entry(boxed(bytes), &blob, blob.digest(), &Limits::default(), &used, &mut apply)?;
    }
    let paths = tree.finish().paths.into_iter().filter(|(path, _)| !path.is_empty());
    Ok(paths
        .map(|(path, origin)| {
            let kind = match origin.kind {
                EntryKind::Regular | EntryKind::HardLink => 'f',
                EntryKind::Symlink => 'l',
                EntryKind::Directory => 'd',
                EntryKind::Fifo => 'p',
                EntryKind::CharDevice => 'c',
                EntryKind::BlockDevice => 'b',
            };
            let link = if kind == 'l' { origin.link } else { Vec::new() };
            let mode = if kind == 'l' { 0o777 } else { origin.mode };
            (path, (kind, mode, if kind == 'f' { origin.size } else { 0 }, link))
        })
        .collect())
}

fn walked(root: &Path) -> BTreeMap<Vec<u8>, Found> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap().map(std::result::Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                dirs.push(path.clone());
            }
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            found.insert(name, look(&entry));
        }
    }
    found
}

fn look(entry: &DirEntry) -> Found {
    let is = entry.metadata().unwrap();
    let kind = is.file_type();
    let mode = is.mode() & 0o7777;
    match () {
        () if kind.is_dir() => ('d', mode, 0, Vec::new()),
        () if kind.is_symlink() => {
            ('l', 0o777, 0, fs::read_link(entry.path()).unwrap().as_os_str().as_bytes().to_vec())
        }
        () if kind.is_fifo() => ('p', mode, 0, Vec::new()),
        () => ('f', mode, is.len(), Vec::new()),
    }
}

fn named(bytes: &[u8]) -> Descriptor {
    Descriptor::new(MediaType::ImageLayer, bytes.len() as u64, sha256_of(bytes))
}

fn boxed(bytes: &[u8]) -> Box<dyn std::io::Read + Send> {
    Box::new(Cursor::new(bytes.to_vec()))
}

/// The entries of the archives, for a message.
fn listed(archives: &[Vec<u8>]) -> Vec<Vec<String>> {
    let list = |bytes: &Vec<u8>| {
        let mut archive = tar::Archive::new(&**bytes);
        let entry = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
            let entry = entry.unwrap();
            let header = entry.header();
            let link =
                header.link_name_bytes().map(|link| link.escape_ascii().to_string()).unwrap_or_default();
            format!("{:?} {} {link}", header.entry_type(), header.path_bytes().escape_ascii())
        };
        archive.entries().unwrap().map(entry).collect()
    };
    archives.iter().map(list).collect()
}
