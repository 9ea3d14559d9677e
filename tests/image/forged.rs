//! Bundles that somebody else can write, and directories that are exchanged while a bundle is made in them.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::skip::skip;
use crate::support::{Scratch, dir, file, image, listing, names, stderr};

const OVERLAY: [&str; 3] = ["--overlay", "--store", "store"];

/// The verbs that believe what a bundle says of itself.
const VERBS: [&[&str]; 5] = [
    &["mount", "bundle"],
    &["umount", "bundle"],
    &["diff", "bundle"],
    &["repack", "bundle", "oci:new"],
    &["remove", "bundle"],
];

fn unpack(scratch: &Scratch, form: &[&str]) {
    let output = scratch.run(&[&["unpack", "-q"], form, &["oci:image", "bundle"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
}

/// Removes the bundle as nobody's program would: what is mounted, then all files.
fn clear(path: &Path) {
    while nix::mount::umount2(&path.join("rootfs"), nix::mount::MntFlags::MNT_DETACH).is_ok() {}
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

fn give_away(path: &Path) {
    chown(path, Some(1000), Some(1000)).unwrap();
}

fn open_to_all(path: &Path) {
    let mode = fs::metadata(path).unwrap().mode() | 0o022;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn edit_info(bundle: &Path, edit: impl FnOnce(&mut Value)) {
    let path = bundle.join("tare-image.json");
    let mut info: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut info);
    fs::write(path, info.to_string()).unwrap();
}

/// The files of the scratch directory with their owners and modes, and what is mounted below it.
fn state(scratch: &Scratch) -> (Vec<String>, Vec<String>) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let here = scratch.path().to_str().unwrap();
    let mounts = mounts.lines().filter(|line| line.contains(here)).map(str::to_owned).collect();
    (listing(scratch.path()), mounts)
}

#[test]
fn a_bundle_that_others_can_write_is_not_believed() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("forged-owner");
    image(&scratch, &[&[file("a", "")]]);
    let bundle = scratch.join("bundle");
    let info = bundle.join("tare-image.json");
    let forgeries: [(&str, &dyn Fn()); 4] = [
        ("belongs to user 1000", &|| give_away(&info)),
        ("others may write to it", &|| open_to_all(&info)),
        ("belongs to user 1000", &|| give_away(&bundle)),
        ("others may write to it", &|| open_to_all(&bundle)),
    ];
    for form in [&[][..], &OVERLAY] {
        for (reason, forge) in &forgeries {
            unpack(&scratch, form);
            assert!(nix::mount::umount(&bundle.join("rootfs")).is_ok() || form.is_empty());
            forge();
            let before = state(&scratch);
            for verb in VERBS {
                let output = scratch.run(verb);
                assert!(
                    !output.status.success() && stderr(&output).contains(reason),
                    "{verb:?}: {}",
                    stderr(&output)
                );
                assert_eq!(state(&scratch), before, "{verb:?}: {reason}");
            }
            clear(&bundle);
        }
    }
}

#[test]
fn directories_of_a_bundle_that_are_symlinks_lead_nowhere() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("forged-links");
    image(&scratch, &[&[file("a", "")]]);
    let bundle = scratch.join("bundle");
    fs::create_dir_all(scratch.join("canary/sub")).unwrap();
    fs::write(scratch.join("canary/file"), "").unwrap();
    for (form, name, verbs) in [
        (&OVERLAY[..], "rootfs", &VERBS[..2]),
        (&OVERLAY, "upper", &[VERBS[0], VERBS[2], VERBS[3]]),
        (&OVERLAY, "work", &VERBS[..1]),
        (&OVERLAY, "tare-image.tree", &VERBS[2..4]),
        (&OVERLAY, "tare-image.json", &VERBS),
        (&[], "rootfs", &VERBS[2..4]),
        (&[], "tare-image.tree", &VERBS[2..4]),
    ] {
        unpack(&scratch, form);
        let _ = nix::mount::umount(&bundle.join("rootfs"));
        let is_dir = bundle.join(name).is_dir();
        let target = scratch.join(if is_dir { "canary" } else { "copy" });
        if !is_dir {
            fs::copy(bundle.join(name), &target).unwrap();
        }
        clear(&bundle.join(name));
        symlink(&target, bundle.join(name)).unwrap();
        let before = state(&scratch);
        for verb in verbs {
            let output = scratch.run(verb);
            let error = stderr(&output);
            let is_told = error.contains("it is no directory") || error.contains("it is no regular file");
            assert!(!output.status.success() && is_told, "{name} {verb:?}: {error}");
            assert_eq!(state(&scratch), before, "{name} {verb:?}");
        }
        // Whatever is there goes with the bundle, and nothing that it leads to.
        if name != "tare-image.json" {
            let output = scratch.run(&["remove", "bundle"]);
            assert!(output.status.success(), "{name}: {}", stderr(&output));
            assert!(scratch.join("canary/file").exists() && scratch.join("canary/sub").exists());
        }
        clear(&bundle);
        let _ = fs::remove_file(scratch.join("copy"));
    }
}

#[test]
fn a_store_that_a_bundle_names_is_neither_made_nor_taken_from_others() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("forged-store");
    image(&scratch, &[&[file("a", "")]]);
    let foreign = scratch.join("foreign");
    fs::create_dir_all(foreign.join("layers")).unwrap();
    give_away(&foreign);
    let empty = scratch.join("empty");
    fs::create_dir(&empty).unwrap();
    for (store, reason) in [
        (scratch.join("deep/new/store"), "no such file"),
        (empty, "it is no store of tare-image"),
        (foreign, "belongs to user 1000"),
        (PathBuf::from("store"), "is not absolute"),
    ] {
        unpack(&scratch, &OVERLAY);
        nix::mount::umount(&scratch.join("bundle/rootfs")).unwrap();
        edit_info(&scratch.join("bundle"), |info| info["shared"]["store"] = json!(store));
        let before = state(&scratch);
        for verb in [VERBS[0], VERBS[2], VERBS[3]] {
            let output = scratch.run(verb);
            assert!(stderr(&output).contains(reason), "{store:?} {verb:?}: {}", stderr(&output));
            assert_eq!(state(&scratch), before, "{store:?} {verb:?}");
        }
        let output = scratch.run(&["remove", "bundle"]);
        assert!(output.status.success(), "{store:?}: {}", stderr(&output));
        assert!(!scratch.join("deep").exists() && names(&scratch.join("empty")).is_empty());
    }
}

#[test]
fn a_bundle_is_read_through_a_symlink_and_changed_through_none() {
    let scratch = Scratch::new("symlinked");
    image(&scratch, &[&[file("a", "")]]);
    scratch.unpack();
    fs::write(scratch.join("bundle/rootfs/new"), "").unwrap();
    symlink("bundle", scratch.join("link")).unwrap();
    for link in ["link", "link/", "link/.", "./link//"] {
        let output = scratch.run(&["diff", link]);
        assert!(String::from_utf8_lossy(&output.stdout).contains("A /new"), "{link}: {}", stderr(&output));
        for verb in ["remove", "mount", "umount"] {
            let error = stderr(&scratch.run(&[verb, link]));
            let told = error.contains("it is a symlink") && error.contains("name the bundle itself: /");
            assert!(told, "{verb} {link}: {error}");
        }
        assert!(scratch.join("bundle/rootfs/a").exists());
    }
    let output = scratch.run(&["repack", "link", "oci:new"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

/// Where the directory or symlink with this inode is in `parent`.
fn find(parent: &Path, inode: u64) -> PathBuf {
    let paths = fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path());
    paths.into_iter().find(|path| fs::symlink_metadata(path).unwrap().ino() == inode).unwrap()
}

/// Unpacks `attempts` times while the owner of the directory above exchanges the staging directory with `evil`.
fn race(scratch: &Scratch, form: &[&str], attempts: usize) {
    let (mut made, mut refused) = (0, 0);
    let here: std::os::fd::OwnedFd = fs::File::open(scratch.path()).unwrap().into();
    let inode = fs::symlink_metadata(scratch.join("evil")).unwrap().ino();
    let canary = listing(&scratch.join("canary"));
    for attempt in 0..attempts {
        let ends = AtomicBool::new(false);
        let output = std::thread::scope(|scope| {
            scope.spawn(|| {
                let names = [".bundle.partial", "evil"].map(|name| CString::new(name).unwrap());
                while !ends.load(Ordering::Relaxed) {
                    use std::os::fd::AsFd;
                    let _ = tare::sys::file::exchange(here.as_fd(), &names[0], &names[1]);
                    // Each attempt is hit at other moments.
                    std::thread::sleep(std::time::Duration::from_micros((attempt % 50 * 40) as u64));
                }
            });
            let output = scratch.run(&[&["unpack", "-q"], form, &["oci:image", "bundle"]].concat());
            ends.store(true, Ordering::Relaxed);
            output
        });
        let evil = find(scratch.path(), inode);
        assert_ne!(evil, scratch.join("bundle"), "attempt {attempt}: it was published");
        assert_eq!(listing(&scratch.join("canary")), canary, "attempt {attempt}: {}", stderr(&output));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let canary = scratch.join("canary");
        assert!(!mounts.contains(canary.to_str().unwrap()), "attempt {attempt}: mounted outside");
        if output.status.success() {
            made += 1;
            assert!(
                scratch.join("bundle/rootfs/d/a").exists() && scratch.join("bundle/config.json").exists()
            );
        } else {
            refused += 1;
        }
        fs::rename(&evil, scratch.join("evil.kept")).unwrap();
        for name in ["bundle", ".bundle.partial", "evil"] {
            clear(&scratch.join(name));
        }
        fs::rename(scratch.join("evil.kept"), scratch.join("evil")).unwrap();
    }
    assert!(refused > 0, "{form:?}: the race was never met ({made} made)");
}

#[test]
fn an_exchanged_staging_directory_leads_nowhere() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("exchanged");
    image(&scratch, &[&[dir("d"), file("d/a", "a")]]);
    let canary = scratch.join("canary");
    for name in ["rootfs", "upper", "work", "scratch"] {
        fs::create_dir_all(canary.join(name).join("sub")).unwrap();
        fs::write(canary.join(name).join("file"), "").unwrap();
        give_away(&canary.join(name));
    }
    give_away(&canary);
    symlink("canary", scratch.join("evil")).unwrap();
    race(&scratch, &[], 350);
    race(&scratch, &OVERLAY, 250);
    // A directory of the attacker's own in its place.
    fs::remove_file(scratch.join("evil")).unwrap();
    fs::create_dir(scratch.join("evil")).unwrap();
    for name in ["rootfs", "upper", "work"] {
        symlink(canary.join(name), scratch.join("evil").join(name)).unwrap();
    }
    give_away(&scratch.join("evil"));
    race(&scratch, &[], 250);
    race(&scratch, &OVERLAY, 250);
}
