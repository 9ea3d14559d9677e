//! The floor of `make bench-image`: layers are decompressed and hashed by the code that tare-image uses, and nothing
//! else is done with them.
//!
//!     layers-floor LAYOUT TAG
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::Read;

use tare::image::compression::{Compression, Decompressed};
use tare::image::digest::{Hasher, Verified};
use tare::image::layout::Layout;
use tare::image::manifest::read_image;
use tare::image::source::{Source, name};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let source = Layout::open(args[1].as_ref()).unwrap();
    let tops = source.manifests().unwrap();
    let top = tops.iter().find(|top| name(top) == Some(&args[2])).unwrap();
    let image = read_image(&|blob| source.blob(blob), top).unwrap();
    let mut buffer = vec![0; 256 << 10];
    for (blob, diff_id) in image.manifest.layers().iter().zip(image.config.rootfs().diff_ids()) {
        let compression = Compression::of(blob).unwrap();
        let verified = Verified::new(source.blob(blob).unwrap(), blob).unwrap();
        let mut input = Decompressed::new(compression, verified).unwrap();
        let mut hasher = (compression != Compression::Plain).then(Hasher::sha256);
        loop {
            let count = input.read(&mut buffer).unwrap();
            if count == 0 {
                break;
            }
            if let Some(hasher) = &mut hasher {
                hasher.update(&buffer[..count]);
            }
        }
        if let Some(hasher) = hasher {
            assert_eq!(hasher.finish().to_string(), *diff_id);
        }
    }
}
