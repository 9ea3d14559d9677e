//! Test: pseudo-random layers, the same in each run, become a directory and an index that the kernel mounts. What
//! the one refuses the other does not take, and what both take is the same tree and needs the same of the layers
//! below.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, MediaType};

use super::builder::{IndexBuilder, LayerIndex};
use super::index_file::write_index;
use crate::error::Result;
use crate::image::blob::digest;
use crate::image::filesystem::dir::fd_path;
use crate::image::filesystem::erofs;
use crate::image::filesystem::overlay::Overlay;
use crate::image::limits::{Limits, Usage};
use crate::image::unpack::entry_adapter::EntryAdapter;
use crate::image::unpack::layer;
use crate::image::unpack::single_layer::SingleLayer;
use crate::image::unpack::tree::Tree;
use crate::image::userns::namespace::Privilege;
use crate::sys::xattr::{lgetxattr, llistxattr};

/// How many layers; more with `TARE_LAYERS`.
const LAYERS: u64 = 200;

/// A directory that is removed with what is in it.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Pseudo-random numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) % most
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// A path of few names, so that entries meet.
    fn path(&mut self) -> String {
        let names = ["a", "b", "c", "long-name-that-fills-directories", "!", "z.z", "é"];
        let depth = self.one(&[1, 1, 2, 2, 2, 3, 4]);
        (0..depth).map(|_| self.one(&names)).collect::<Vec<_>>().join("/")
    }
}

/// One entry of an archive.
struct Item {
    name: String,
    kind: u8,
    link: String,
    mode: u32,
    ids: (u64, u64),
    mtime: u64,
    device: (u32, u32),
    pax: Vec<(String, Vec<u8>)>,
    data: Vec<u8>,
}

fn octal(header: &mut [u8], at: usize, length: usize, value: u64) {
    let text = format!("{value:0width$o}", width = length - 1);
    header[at..at + length - 1].copy_from_slice(text.as_bytes());
}

fn block(name: &str, kind: u8, item: &Item, size: usize, out: &mut Vec<u8>) {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    octal(&mut header, 100, 8, item.mode.into());
    octal(&mut header, 108, 8, item.ids.0);
    octal(&mut header, 116, 8, item.ids.1);
    octal(&mut header, 124, 12, size as u64);
    octal(&mut header, 136, 12, item.mtime);
    header[156] = kind;
    header[157..157 + item.link.len()].copy_from_slice(item.link.as_bytes());
    header[257..265].copy_from_slice(b"ustar\x0000");
    octal(&mut header, 329, 8, item.device.0.into());
    octal(&mut header, 337, 8, item.device.1.into());
    header[148..156].copy_from_slice(b"        ");
    let sum: u64 = header.iter().map(|&byte| u64::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend(header);
}

fn padded(data: &[u8], out: &mut Vec<u8>) {
    out.extend(data);
    out.resize(out.len().next_multiple_of(512), 0);
}

fn write_item(item: &Item, out: &mut Vec<u8>) {
    if !item.pax.is_empty() {
        let mut records = Vec::new();
        for (key, value) in &item.pax {
            let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
            let length = (1..).find(|digits| (body.len() + digits).to_string().len() == *digits).unwrap();
            records.extend((body.len() + length).to_string().as_bytes());
            records.extend(body);
        }
        block("pax", b'x', item, records.len(), out);
        padded(&records, out);
    }
    block(&item.name, item.kind, item, item.data.len(), out);
    padded(&item.data, out);
}

fn attributes(dice: &mut Dice) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let list = |mask: u8| {
        let mut list = vec![2, 0, 0, 0];
        for (tag, rights, id) in
            [(1, 7, u32::MAX), (2, 5, 1000), (4, 4, u32::MAX), (16, mask, u32::MAX), (32, 1, u32::MAX)]
        {
            list.extend([tag, 0, rights, 0]);
            list.extend(id.to_le_bytes());
        }
        list
    };
    while dice.below(4) == 0 {
        let (name, value) = match dice.below(8) {
            0 => ("user.a", vec![b'v'; dice.one(&[0, 1, 100, 700])]),
            1 => ("user.shared", b"the same in many files".to_vec()),
            2 => ("trusted.t", b"t".to_vec()),
            3 => ("security.capability", [&[1, 0, 0, 2][..], &[0; 16]].concat()),
            4 => ("system.posix_acl_access", list(dice.one(&[0, 3, 6, 7, 8]))),
            5 => ("system.posix_acl_default", list(5)),
            6 => ("trusted.overlay.opaque", b"y".to_vec()),
            _ => (dice.one(&["user.", "other.x", "security.selinux"]), b"x".to_vec()),
        };
        all.push((format!("SCHILY.xattr.{name}"), value));
    }
    all
}

fn item(dice: &mut Dice, number: u64) -> Item {
    let mut item = Item {
        name: dice.path(),
        kind: b'0',
        link: String::new(),
        mode: dice.one(&[0o644, 0o755, 0o4711, 0o2755, 0o1777, 0]),
        ids: (dice.one(&[0, 0, 0, 1000, 65_535, 65_536, 2_000_000]), dice.one(&[0, 0, 7, 100_000])),
        mtime: dice.one(&[0, 1_700_000_000, 1_700_000_000, 1_600_000_000 + number]),
        device: (0, 0),
        pax: attributes(dice),
        data: Vec::new(),
    };
    if dice.below(5) == 0 {
        item.pax.push(("mtime".into(), format!("{}.{:03}", item.mtime, dice.below(1000)).into_bytes()));
    }
    match dice.below(16) {
        0..=4 => {
            let size = dice.one(&[0, 1, 511, 512, 513, 1500, 4096, 9000]);
            item.data = (0..size).map(|at| (at * 7 + number as usize) as u8).collect();
        }
        5..=7 => item.kind = b'5',
        8 => {
            item.kind = b'2';
            item.link = match dice.below(4) {
                0 => format!("/{}", dice.path()),
                1 => format!("../{}", dice.path()),
                2 => dice.path(),
                _ => "t".repeat(dice.one(&[1, 60, 99])),
            };
        }
        9..=10 => (item.kind, item.link) = (b'1', dice.path()),
        11 => (item.kind, item.device) = (dice.one(b"34"), dice.one(&[(1, 3), (8, 300), (4095, 1_048_575)])),
        12 => item.kind = b'6',
        13 => whiteout(&mut item, dice),
        14 => sparse(&mut item, dice),
        _ => item.name.insert_str(0, "./"),
    }
    item
}

fn whiteout(item: &mut Item, dice: &mut Dice) {
    let (above, name) = item.name.rsplit_once('/').unwrap_or(("", &item.name));
    let above = if above.is_empty() { String::new() } else { format!("{above}/") };
    let name = if dice.below(3) == 0 { ".wh..wh..opq".into() } else { format!(".wh.{name}") };
    item.name = above + &name;
}

/// A sparse file of form 1.0.
fn sparse(item: &mut Item, dice: &mut Dice) {
    let step = dice.one(&[512, 1024, 4096, 100]);
    let pieces: Vec<(u64, u64)> = (0..dice.below(5)).map(|at| (at * 3 * step + step, step)).collect();
    let size = 16 * step + dice.one(&[0, 5]);
    let mut map = format!("{}\n", pieces.len());
    pieces.iter().for_each(|(start, length)| write!(map, "{start}\n{length}\n").unwrap());
    let mut data = map.into_bytes();
    data.resize(data.len().next_multiple_of(512), 0);
    pieces.iter().for_each(|&(start, length)| data.extend((0..length).map(|at| (start + at) as u8)));
    item.data = data;
    for (key, value) in
        [("major", "1"), ("minor", "0"), ("realsize", &size.to_string()), ("name", &item.name)]
    {
        item.pax.push((format!("GNU.sparse.{key}"), value.as_bytes().to_vec()));
    }
}

fn random_layer(number: u64) -> Vec<u8> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (number + 1).wrapping_mul(0x2545_f491_4f6c_dd1d));
    let (mut out, mut padding) = (Vec::new(), 0);
    for at in 0..=dice.below(25) {
        let item = item(&mut dice, at);
        write_item(&item, &mut out);
        padding = item.data.len().wrapping_neg() % 512;
    }
    // Some writers leave out the zeros at the end, and those behind the last file.
    match dice.below(4) {
        0 => {}
        1 => out.truncate(out.len() - padding),
        _ => out.resize(out.len() + 1024, 0),
    }
    out
}

fn apply_to_directory(tar: &[u8], dir: &Path) -> Result<SingleLayer> {
    fs::create_dir(dir)?;
    let adapter = EntryAdapter::for_privilege(Privilege::Root, None);
    let mut tree = Tree::single_layer(dir, false, adapter)?;
    let (blob, id) = described(tar);
    layer::apply(
        &mut tree,
        Box::new(std::io::Cursor::new(tar.to_vec())),
        &blob,
        &id,
        &Limits::default(),
        &Usage::default(),
    )?;
    tree.finish()?;
    Ok(tree.into_single_layer())
}

fn described(tar: &[u8]) -> (Descriptor, oci_spec::image::Digest) {
    let id = digest::sha256_of(tar);
    (Descriptor::new(MediaType::ImageLayer, tar.len() as u64, id.clone()), id)
}

fn new_file(path: &Path) -> File {
    File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap()
}

/// The index of a layer; None if it is not plain.
fn index(tar: &[u8], archive: &File) -> Result<Option<LayerIndex>> {
    let mut builder = IndexBuilder::new(EntryAdapter::for_privilege(Privilege::Root, None));
    let (blob, id) = described(tar);
    let limits = (&Limits::default(), &Usage::default());
    let bytes = Box::new(std::io::Cursor::new(tar.to_vec()));
    layer::apply_and_keep(&mut builder, bytes, &blob, &id, limits, archive.try_clone()?)?;
    Ok(builder.finish().ok())
}

/// One line for each file.
fn listing(root: &Path) -> Vec<String> {
    let (mut lines, mut first) = (Vec::new(), HashMap::new());
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().escape_ascii().to_string();
        let kind = meta.file_type();
        if kind.is_char_device() && meta.rdev() == 0 {
            lines.push(format!("/{name} whiteout"));
            continue;
        }
        let what = match kind {
            _ if kind.is_symlink() => format!("-> {}", fs::read_link(&path).unwrap().display()),
            _ if kind.is_file() => {
                format!("{} {}", meta.size(), digest::sha256_of(&fs::read(&path).unwrap()))
            }
            _ => meta.rdev().to_string(),
        };
        let links = match kind.is_dir() {
            true => String::new(),
            false => format!("{}={}", meta.nlink(), first.entry(meta.ino()).or_insert_with(|| name.clone())),
        };
        let c_name = crate::inroot::c_string(path.as_os_str().as_bytes()).unwrap();
        let mut xattrs = Vec::new();
        for key in llistxattr(&c_name).unwrap().split_inclusive(|&byte| byte == 0) {
            let key = std::ffi::CStr::from_bytes_with_nul(key).unwrap();
            xattrs.push(format!(
                "{}={}",
                key.to_string_lossy(),
                lgetxattr(&c_name, key).unwrap().escape_ascii()
            ));
        }
        xattrs.sort();
        let time = (meta.mtime(), meta.mtime_nsec());
        lines.push(format!(
            "/{name} {:o} {}:{} {links} {time:?} {what} {xattrs:?}",
            meta.mode(),
            meta.uid(),
            meta.gid()
        ));
        if kind.is_dir() {
            let mut below: Vec<PathBuf> = fs::read_dir(&path).unwrap().map(|it| it.unwrap().path()).collect();
            below.sort();
            left.extend(below.into_iter().rev());
        }
    }
    lines
}

/// What a layer needs, whichever way it was found.
fn needs(of: &SingleLayer) -> String {
    let SingleLayer { implied_dirs, replaced_implied_dirs, missing_links, has_whiteouts, hides_all, .. } = of;
    format!("{implied_dirs:?} {replaced_implied_dirs:?} {missing_links:?} {has_whiteouts} {hides_all}")
}

#[test]
fn a_mounted_index_is_the_unpacked_layer() {
    if !nix::unistd::geteuid().is_root() {
        return crate::skip::skip("needs root");
    }
    let dir = Scratch(std::env::temp_dir().join(format!("tare-index-{}", std::process::id())));
    fs::create_dir_all(&dir.0).unwrap();
    match super::probe::probe(&dir.0).unwrap() {
        None => {}
        Some(reason) => return crate::skip::skip(&format!("this host mounts no index: {reason}")),
    }
    let count = std::env::var("TARE_LAYERS").ok().and_then(|text| text.parse().ok()).unwrap_or(LAYERS);
    let (mut mounted, mut taken, mut refused) = (0, 0, 0);
    for number in 0..count {
        let tar = random_layer(number);
        let (archive, to) = (new_file(&dir.0.join("tar")), new_file(&dir.0.join("erofs")));
        let files = dir.0.join("fs");
        let unpacked = apply_to_directory(&tar, &files);
        let found = index(&tar, &archive);
        match (&unpacked, found) {
            (Ok(expected), Ok(Some(mut index))) => {
                assert_eq!(needs(&index.needs), needs(expected), "layer {number}");
                write_index(&mut index, &archive, None, [7; 16], &to).unwrap();
                let mount = erofs::mount(&to, &archive).map_err(crate::error::Error::from).unwrap();
                let (expected, found) = (listing(&files), listing(&fd_path(mount.as_fd()).join(".")));
                for (found, expected) in found.iter().zip(&expected).skip(1) {
                    assert_eq!(found, expected, "layer {number}");
                }
                assert_eq!(found.len(), expected.len(), "layer {number}");
                assert_eq!(fs::read(dir.0.join("tar")).unwrap(), tar, "layer {number}");
                mounted += 1;
            }
            (Err(_), Ok(Some(_))) => panic!("layer {number} is refused, and gets an index: {unpacked:?}"),
            // Which fault is told first may differ.
            (Err(_), Err(_)) => refused += 1,
            (Ok(_), Err(error)) => panic!("layer {number} is good, and gets no index: {error}"),
            (Ok(_), Ok(None)) => taken += 1,
            (Err(_), Ok(None)) => refused += 1,
        }
        fs::remove_dir_all(&files).unwrap();
    }
    // Otherwise it would compare nothing.
    assert!(mounted * 4 > count && refused > 0 && taken > 0, "{mounted} {taken} {refused} of {count}");
}

/// Two layers on loop devices, and an overlay over both with a directory for changes, as kernels make them that
/// mount no files (before Linux 6.12) and take no layer that is in no mount namespace (before 6.15).
#[test]
fn older_kernels_mount_by_loop_devices_in_a_namespace_of_their_own() {
    if !nix::unistd::geteuid().is_root() {
        return crate::skip::skip("needs root");
    }
    let dir = Scratch(std::env::temp_dir().join(format!("tare-index-loop-{}", std::process::id())));
    for name in ["upper", "work", "third"] {
        fs::create_dir_all(dir.0.join(name)).unwrap();
    }
    fs::write(dir.0.join("third/t"), "3").unwrap();
    let mut mounts = Vec::new();
    for name in ["one", "two"] {
        let item = Item { name: name.into(), data: name.as_bytes().to_vec(), ..item(&mut Dice(7), 1) };
        let mut tar = Vec::new();
        write_item(&Item { kind: b'0', pax: Vec::new(), ..item }, &mut tar);
        let (archive, to) = (new_file(&dir.0.join("tar")), new_file(&dir.0.join("erofs")));
        let mut index = index(&tar, &archive).unwrap().unwrap();
        write_index(&mut index, &archive, None, [1; 16], &to).unwrap();
        match erofs::mount_by_loop(&to, &archive) {
            Ok(mount) => mounts.push(mount),
            Err(error) => {
                let error = crate::error::Error::from(error);
                return crate::skip::skip(&format!("this host mounts no index on loop devices: {error}"));
            }
        }
        // What is mounted needs no name.
        fs::remove_file(dir.0.join("tar")).unwrap();
        fs::remove_file(dir.0.join("erofs")).unwrap();
    }
    let mut lowers: Vec<PathBuf> = mounts.iter().map(|mount| fd_path(mount.as_fd())).collect();
    lowers.push(dir.0.join("third"));
    let (upper, work) = (dir.0.join("upper"), dir.0.join("work"));
    let overlay = Overlay {
        lowers: &lowers,
        upper: Some((&upper, &work)),
        userxattr: false,
        mapped: None,
        mounts: &mounts,
    };
    let mounted = overlay.detached_by_namespace().unwrap();
    let root = fd_path(mounted.as_fd());
    for (name, content) in [("one", "one"), ("two", "two"), ("t", "3")] {
        assert_eq!(fs::read_to_string(root.join(name)).unwrap(), content);
    }
    fs::write(root.join("new"), "new").unwrap();
    assert_eq!(fs::read_to_string(upper.join("new")).unwrap(), "new");
}
