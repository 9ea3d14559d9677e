//! The resolver of paths, step by step, against the kernel's openat2(2) with RESOLVE_IN_ROOT.

use std::ffi::CString;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat};

use crate::inroot::{Root, walk};

/// The names of which trees and paths are made. Few, so that they meet.
const NAMES: [&str; 8] = ["a", "b", "c", "..", ".", "", "d", "a/b"];

/// The first part of the input makes a tree of directories, files and symlinks, the second one a path in it.
pub(super) fn path(input: &[u8]) {
    let scratch = Scratch::new();
    let (tree, path) = super::halves(input);
    for step in tree.chunks_exact(3).take(24) {
        make(&scratch.0, step);
    }
    let Ok(root) = Root::open(&scratch.0) else { return };
    let path = words(path);
    // "" is the root to `Root`, which never asks the walk for it.
    let path = CString::new(if path.is_empty() { "." } else { &path }).unwrap();
    for flags in [OFlag::O_PATH, OFlag::O_PATH | OFlag::O_NOFOLLOW, OFlag::O_RDONLY | OFlag::O_DIRECTORY] {
        let theirs = root.resolve(&path, flags).map(|found| fstat(&found).unwrap().st_ino);
        let ours = walk::open(root.as_fd(), &path, flags, Mode::empty());
        let ours = ours.map(|found| fstat(&found).unwrap().st_ino);
        if theirs != Err(Errno::EAGAIN) {
            assert_eq!(ours, theirs, "{path:?} with {flags:?} in {:?}", list(&scratch.0));
        }
    }
}

/// One node: its kind, its place, and where it leads if it is a symlink.
fn make(root: &Path, step: &[u8]) {
    let place = |byte: u8| ["a", "b", "c", "d", "a/a", "a/b", "b/c", "a/b/c"][usize::from(byte & 7)];
    let path = root.join(place(step[1]));
    let _ = match step[0] % 4 {
        0 => fs::create_dir_all(&path),
        1 => fs::write(&path, b"x"),
        2 => symlink(words(&step[2..]), &path),
        _ => symlink(format!("/{}", words(&[step[2], step[0] >> 2])), &path),
    };
}

fn words(bytes: &[u8]) -> String {
    let names = bytes.iter().take(12).map(|byte| NAMES[usize::from(byte & 7)]);
    let absolute = if bytes.first().is_some_and(|byte| byte & 8 != 0) { "/" } else { "" };
    format!("{absolute}{}", names.collect::<Vec<_>>().join("/"))
}

/// What is in a directory, for a message.
fn list(dir: &Path) -> Vec<(PathBuf, Option<PathBuf>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        found.push((path.clone(), fs::read_link(&path).ok()));
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(list(&path));
        }
    }
    found
}

/// A directory that goes with this value.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tare-fuzz-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
