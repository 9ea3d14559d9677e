//! One swapper for each place where tare-image walks or writes what somebody else may change meanwhile: removing, packing,
//! the store. Directories are exchanged for symlinks to a canary.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink as link_to;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::*;

/// How often a race is run: TARE_RACE_ROUNDS, or few times.
fn rounds(few: usize) -> usize {
    std::env::var("TARE_RACE_ROUNDS").map_or(few, |text| text.parse().unwrap())
}

/// Exchanges pairs of names in a directory until it is dropped.
struct Swapper {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Swapper {
    fn new(directory: &Path, pairs: &[(&str, &str)]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, here) = (Arc::clone(&stop), fs::File::open(directory).unwrap());
        let name = |text: &str| std::ffi::CString::new(text).unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(one, other)| (name(one), name(other))).collect();
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                for (one, other) in &pairs {
                    let _ = tare::sys::file::exchange(here.as_fd(), one, other);
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn canary_in(scratch: &Scratch) -> PathBuf {
    let canary = scratch.join("canary");
    fs::create_dir_all(canary.join("dir")).unwrap();
    fs::write(canary.join("secret"), "secret of the host").unwrap();
    fs::write(canary.join("dir/file"), "secret of the host").unwrap();
    canary
}

/// An image with directories enough for a walk to take its time.
fn wide_image(scratch: &Scratch) {
    let items: Vec<Item> = (0..20)
        .flat_map(|number| {
            [
                dir(&format!("d{number}")),
                dir(&format!("d{number}/dir")),
                file(&format!("d{number}/dir/file"), "x"),
            ]
        })
        .collect();
    image(scratch, &[&items]);
}

fn walk(directory: &Path, act: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            walk(&entry.path(), act);
        } else {
            act(&entry.path());
        }
    }
}

#[test]
fn what_is_removed_is_the_bundle_and_nothing_that_its_names_lead_to() {
    let scratch = Scratch::new("swapped-removal");
    let canary = canary_in(&scratch);
    let before = listing(&canary);
    wide_image(&scratch);
    for round in 0..rounds(40) {
        let root = scratch.unpack();
        link_to(&canary, root.join("l")).unwrap();
        link_to(&canary, root.join("d7/l")).unwrap();
        let swapper = Swapper::new(&root, &[("d3", "l"), ("d19", "l"), ("d7/dir", "d7/l")]);
        let output = scratch.run(&["remove", "bundle"]);
        drop(swapper);
        assert_eq!(listing(&canary), before, "round {round}: the canary has changed: {}", stderr(&output));
        let _ = fs::remove_dir_all(scratch.join("bundle"));
        for left in names(scratch.path()).into_iter().filter(|name| name.starts_with('.')) {
            fs::remove_dir_all(scratch.join(&left)).unwrap();
        }
    }
    // Removed by one that follows names, it does not even take a race.
    let root = scratch.unpack();
    link_to(&canary, root.join("l")).unwrap();
    walk(&root, &mut |path| drop(fs::remove_file(path)));
    assert_ne!(listing(&canary), before);
    println!("control falls: a removal by name empties the canary");
}

#[test]
fn what_is_packed_is_of_the_bundle_and_nothing_that_its_names_lead_to() {
    let scratch = Scratch::new("swapped-packing");
    let canary = canary_in(&scratch);
    wide_image(&scratch);
    let root = scratch.unpack();
    link_to(&canary, root.join("l")).unwrap();
    link_to(&canary, root.join("d7/l")).unwrap();
    fs::write(root.join("d3/dir/new"), "changed").unwrap();
    for round in 0..rounds(30) {
        let swapper = Swapper::new(&root, &[("d3", "l"), ("d19", "l"), ("d7/dir", "d7/l")]);
        let to = format!("oci:new:{round}");
        let output = scratch.run(&["repack", "-q", "--compress", "none", "bundle", &to]);
        drop(swapper);
        let mut found = false;
        let mut look = |path: &Path| {
            let bytes = fs::read(path).unwrap_or_default();
            found |= bytes.windows(18).any(|part| part == b"secret of the host");
        };
        walk(&scratch.join("new"), &mut look);
        assert!(!found, "round {round}: a file of the host is in the image: {}", stderr(&output));
        let _ = fs::remove_dir_all(scratch.join("new"));
    }
    let mut found = false;
    walk(&root, &mut |path| found |= fs::read(path).is_ok_and(|bytes| bytes == b"secret of the host"));
    assert!(found);
    println!("control falls: a walk by name reads the canary");
}

#[test]
fn a_store_whose_directories_are_exchanged_is_written_to_and_nothing_else() {
    let scratch = Scratch::new("swapped-store");
    let canary = canary_in(&scratch);
    let before = listing(&canary);
    wide_image(&scratch);
    for round in 0..rounds(20) {
        assert!(scratch.run(&["pull", "oci:image", "--store", "store"]).status.code().is_some());
        let store = scratch.join("store");
        fs::create_dir_all(&store).unwrap();
        for name in ["layers", "tmp", "bundles", "images"] {
            let _ = link_to(&canary, store.join(format!("{name}.evil")));
        }
        let pairs = ["layers", "tmp", "bundles", "images"].map(|name| (name, format!("{name}.evil")));
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(one, other)| (*one, &**other)).collect();
        let swapper = Swapper::new(&store, &pairs);
        for args in [
            &["unpack", "--overlay=files", "--store", "store", "oci:image", "shared"][..],
            &["prune", "--store", "store"],
            &["remove", "shared"],
        ] {
            let output = scratch.run(args);
            assert_eq!(
                listing(&canary),
                before,
                "round {round}: the canary has changed: {args:?} {}",
                stderr(&output)
            );
        }
        drop(swapper);
        for name in ["store", "shared", ".shared.partial"] {
            let _ = nix::mount::umount2(&scratch.join(name).join("rootfs"), nix::mount::MntFlags::MNT_DETACH);
            let _ = fs::remove_dir_all(scratch.join(name));
        }
    }
    let store = scratch.join("store");
    fs::create_dir_all(&store).unwrap();
    link_to(&canary, store.join("layers")).unwrap();
    fs::write(store.join("layers/new"), "").unwrap();
    assert_ne!(listing(&canary), before);
    println!("control falls: a write by name lands in the canary");
}
