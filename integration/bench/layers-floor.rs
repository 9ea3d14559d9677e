//! The floors of `make bench-image`: layers are decompressed and hashed by the code that tare-image uses, and nothing
//! else is done with them; or, with a directory, their files are made there as cheaply as the kernel makes them, one
//! call for each thing that must be done and no care for layers over each other, owners, attributes or safety; or, with
//! `archives`, the decompressed archives are written there.
//!
//!     layers-floor LAYOUT TAG [DIR [archives]]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use tare::testing::image::archive::{Archive, Entry, EntryKind, Input};
use tare::testing::image::blob::compression::{Compression, Decompressed};
use tare::testing::image::blob::digest::{Hasher, VerifyingReader};
use tare::testing::image::document::manifest::read_image;
use tare::testing::image::source::layout::Layout;
use tare::testing::image::source::{ImageSource, ref_name};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let source = Layout::open(args[1].as_ref()).unwrap();
    let tops = source.manifests().unwrap();
    let top = tops.iter().find(|top| ref_name(top) == Some(&args[2])).unwrap();
    let image = read_image(&|blob| source.blob(blob), top).unwrap();
    let mut buffer = vec![0; 256 << 10];
    for (blob, diff_id) in image.manifest.layers().iter().zip(image.config.rootfs().diff_ids()) {
        let compression = Compression::from_descriptor(blob).unwrap();
        let verified = VerifyingReader::new(source.blob(blob).unwrap(), blob).unwrap();
        let input = Decompressed::new(compression, verified).unwrap();
        let hasher = (compression != Compression::Plain).then(Hasher::sha256);
        let mut hashed = Hashed { input, hasher };
        if let (Some(dir), Some(_)) = (args.get(3), args.get(4)) {
            let mut to = std::fs::File::create(Path::new(dir).join(blob.digest().digest())).unwrap();
            loop {
                let count = hashed.read(&mut buffer).unwrap();
                std::io::Write::write_all(&mut to, &buffer[..count]).unwrap();
                if count == 0 {
                    break;
                }
            }
        } else if let Some(dir) = args.get(3) {
            let mut archive = Archive::new(Pieces(BufReader::with_capacity(256 << 10, hashed)));
            files(&mut archive, dir.as_ref());
            hashed = archive.into_inner().0.into_inner();
        }
        while hashed.read(&mut buffer).unwrap() > 0 {}
        if let Some(hasher) = hashed.hasher {
            assert_eq!(hasher.finish().to_string(), *diff_id);
        }
    }
}

struct Hashed<R> {
    input: R,
    hasher: Option<Hasher>,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.input.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}

struct Pieces<R: Read>(BufReader<R>);

impl<R: Read> Read for Pieces<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> BufRead for Pieces<R> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.0.consume(count);
    }
}

impl<R: Read> Input for Pieces<R> {}

/// Makes files, directories and symlinks of an archive; what fails is left out.
fn files<R: Input>(archive: &mut Archive<R>, dir: &Path) {
    let mut entry = Entry::default();
    while archive.next_entry(&mut entry).unwrap() {
        let path = dir.join(String::from_utf8_lossy(&entry.name).trim_start_matches(['.', '/']));
        match entry.kind {
            EntryKind::Directory => drop(std::fs::create_dir(&path)),
            EntryKind::Symlink => drop(symlink(String::from_utf8_lossy(&entry.link).as_ref(), &path)),
            EntryKind::Regular => {
                let Ok(file) = std::fs::File::create(&path) else { continue };
                loop {
                    let data = archive.data().unwrap();
                    if data.is_empty() {
                        break;
                    }
                    let count = std::io::Write::write(&mut &file, data).unwrap();
                    archive.consume(count);
                }
                let time = TimeSpec::new(entry.mtime.0, i64::from(entry.mtime.1));
                futimens(&file, &time, &time).unwrap();
            }
            _ => {}
        }
    }
}
