//! Overlay bundles, which mount the layers of a store.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tar::EntryType;

use crate::skip::skip;
use crate::support::*;

fn ok(scratch: &Scratch, args: &[&str]) -> String {
    let output = scratch.run(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn shared(scratch: &Scratch, bundle: &str) {
    ok(scratch, &["unpack", "-q", "--overlay", "--store", "store", "oci:image", bundle]);
}

fn layers(scratch: &Scratch) -> Vec<String> {
    names(&scratch.join("store/layers"))
}

/// The bytes on disk below `path`, without what is mounted there.
fn disk(path: &Path) -> u64 {
    let output = Command::new("du").args(["-sxB1"]).arg(path).output().unwrap();
    String::from_utf8_lossy(&output.stdout).split_whitespace().next().unwrap().parse().unwrap()
}

fn large(scratch: &Scratch) {
    let layer = |number: usize| archive(&[file(&format!("f{number}"), &"x".repeat(3 << 20))]);
    let mut fixture = Fixture::new(scratch);
    (0..3).for_each(|number| drop(fixture.layer(Packing::Gzip, &layer(number)).path.clone()));
    fixture.finish();
}

/// The bytes and inodes on disk below `path`.
fn taken(path: &Path) -> (u64, u64) {
    let inodes = Command::new("du").args(["-sx", "--inodes"]).arg(path).output().unwrap();
    let inodes = String::from_utf8_lossy(&inodes.stdout).split_whitespace().next().unwrap().parse().unwrap();
    (disk(path), inodes)
}

/// Removes the layers from the layout, so that a later unpacking can only take them from the store.
fn forget_layers(scratch: &Scratch) {
    let index: Value = serde_json::from_slice(&fs::read(scratch.join("image/index.json")).unwrap()).unwrap();
    let blobs = scratch.join("image/blobs/sha256");
    let hex = |descriptor: &Value| descriptor["digest"].as_str().unwrap()[7..].to_owned();
    let manifest = fs::read(blobs.join(hex(&index["manifests"][0]))).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    for layer in manifest["layers"].as_array().unwrap() {
        let _ = fs::remove_file(blobs.join(hex(layer)));
    }
}

#[test]
fn a_second_bundle_reads_no_layer_and_takes_no_disk() {
    let scratch = Scratch::new("second");
    large(&scratch);
    shared(&scratch, "one");
    forget_layers(&scratch);
    let (store, all) = (listing(&scratch.join("store/layers")), taken(scratch.path()));
    shared(&scratch, "two");
    let now = taken(scratch.path());
    // The bundle's own files, empty directories for its changes, and its claim on the layers.
    assert!(now.0 - all.0 < 100_000 && now.1 - all.1 < 15, "{all:?} {now:?}");
    assert_eq!(listing(&scratch.join("store/layers")), store);
    assert_eq!(listing(&scratch.join("one/rootfs")), listing(&scratch.join("two/rootfs")));
    // Changes of one are not seen by the other.
    fs::write(scratch.join("one/rootfs/f1"), "changed").unwrap();
    fs::remove_file(scratch.join("one/rootfs/f2")).unwrap();
    assert_eq!(fs::metadata(scratch.join("two/rootfs/f1")).unwrap().len(), 3 << 20);
    assert!(scratch.join("two/rootfs/f2").exists());
}

#[test]
fn a_bundle_is_unmounted_mounted_again_and_removed() {
    let scratch = Scratch::new("again");
    image(&scratch, &[&[file("a", "1")], &[file("b", "2")]]);
    shared(&scratch, "one");
    shared(&scratch, "two");
    fs::write(scratch.join("one/rootfs/new"), "kept").unwrap();
    ok(&scratch, &["umount", "one"]);
    ok(&scratch, &["umount", "one"]);
    assert_eq!(names(&scratch.join("one/rootfs")), [""; 0]);
    ok(&scratch, &["mount", "one"]);
    ok(&scratch, &["mount", "one"]);
    assert_eq!(names(&scratch.join("one/rootfs")), ["a", "b", "new"]);
    assert_eq!(ok(&scratch, &["prune", "--store", "store"]), "");
    ok(&scratch, &["remove", "one"]);
    assert_eq!(ok(&scratch, &["prune", "--store", "store"]), "");
    assert_eq!(names(&scratch.join("two/rootfs")), ["a", "b"]);
    ok(&scratch, &["remove", "two"]);
    assert_eq!(names(scratch.path()), ["image", "store"]);
    assert_eq!(ok(&scratch, &["prune", "--dry-run", "--store", "store"]).lines().count(), 2);
    assert_eq!(ok(&scratch, &["prune", "--store", "store"]).lines().count(), 2);
    assert_eq!(layers(&scratch), [""; 0]);
    let output = scratch.run(&["remove", "image"]);
    assert_eq!(stderr(&output), "tare-image: image: not a bundle made by tare-image\n");
}

#[test]
fn the_store_is_closed_and_layers_have_the_names_of_what_they_are() {
    let scratch = Scratch::new("names");
    let complete = archive(&[dir("a"), file("a/b", "x")]);
    let taking = archive(&[file("a/c", "y")]);
    Fixture::new(&scratch).layer(Packing::Gzip, &complete).layer(Packing::Gzip, &taking).finish();
    shared(&scratch, "one");
    assert_eq!(fs::metadata(scratch.join("store")).unwrap().permissions().mode() & 0o7777, 0o700);
    let (first, second) = (
        tare::testing::image::blob::digest::sha256_of(&complete),
        tare::testing::image::blob::digest::sha256_of(&taking),
    );
    let chain = tare::testing::image::blob::digest::sha256_of(format!("{first} {second}").as_bytes());
    assert_eq!(
        layers(&scratch),
        [format!("chain-sha256-{}", chain.digest()), format!("sha256-{}", first.digest())]
    );
    assert_eq!(names(&scratch.join("store/tmp")), [""; 0]);
    let about: Value =
        serde_json::from_slice(&fs::read(scratch.join("one/tare-image.json")).unwrap()).unwrap();
    assert_eq!(about["reference"], format!("oci:{}", scratch.join("image").display()));
    assert_eq!(about["shared"]["layers"].as_array().unwrap().len(), 2);
}

#[test]
fn what_a_layer_takes_for_granted_it_gets_from_those_below() {
    let scratch = Scratch::new("debts");
    let below = [
        dir("a").mode(0o2710).ids(5, 6).mtime(TIME + 1).pax("SCHILY.xattr.user.x", b"1"),
        dir("usr"),
        dir("usr/lib").mode(0o711).ids(7, 8),
        file("usr/lib/old", "old"),
        symlink("lib", "usr/lib"),
        file("original", "content").mode(0o4755).ids(9, 9),
        symlink("link", "original"),
        dir("gone"),
        file("gone/x", ""),
        file("plain", ""),
    ];
    let above = [
        file("a/new", ""),
        file("lib/new", "through the link"),
        dir("lib/sub"),
        hard_link("lib/h1", "original"),
        hard_link("h2", "original"),
        hard_link("h3", "h2"),
        hard_link("h4", "link"),
        file("gone/.wh.x", ""),
        file("gone/y/z", ""),
        file("nowhere/.wh.x", ""),
        file("plain/x", ""),
        file("nothing/.wh..wh..opq", ""),
    ];
    image(&scratch, &[&below, &above]);
    // Both names of a file of the layer below too: overlayfs copies it up and links the copy.
    assert_eq!(listing(&scratch.unpack_shared()), listing(&scratch.unpack()));
    let root = scratch.join("shared/rootfs");
    let inode = |name: &str| fs::symlink_metadata(root.join(name)).unwrap().ino();
    for name in ["h3", "lib/h1", "original"] {
        assert_eq!(inode(name), inode("h2"), "{name}");
    }
}

#[test]
fn a_link_to_a_file_below_is_the_same_file_in_both_forms() {
    let scratch = Scratch::new("links-below");
    let below = [dir("d").mode(0o711), file("d/original", "content").mode(0o4755).ids(9, 9), dir("e")];
    image(&scratch, &[&below, &[dir("e"), hard_link("e/link", "d/original"), hard_link("again", "e/link")]]);
    assert_eq!(listing(&scratch.unpack_shared()), listing(&scratch.unpack()));
    let inode = |name: &str| fs::metadata(scratch.join("shared/rootfs").join(name)).unwrap().ino();
    assert_eq!((inode("e/link"), inode("again")), (inode("d/original"), inode("d/original")));
}

#[test]
fn a_layer_cannot_forge_the_marks_of_an_overlay() {
    let below = [dir("d"), file("d/secret", "x"), file("f", "x")];
    for (name, above) in [
        ("opaque", dir("d").pax("SCHILY.xattr.trusted.overlay.opaque", b"y")),
        ("user-opaque", dir("d").pax("SCHILY.xattr.user.overlay.opaque", b"y")),
        ("base64", dir("d").pax("LIBARCHIVE.xattr.user.overlay.opaque", b"eQ")),
        ("escaped", dir("d").pax("SCHILY.xattr.trusted.overlay.overlay.opaque", b"y")),
        ("redirect", dir("e").pax("SCHILY.xattr.trusted.overlay.redirect", b"/d")),
        ("metacopy", file("f", "").pax("SCHILY.xattr.trusted.overlay.metacopy", b"")),
        ("whiteout", file("d/secret", "").pax("SCHILY.xattr.trusted.overlay.whiteout", b"y")),
        ("root", dir("./").pax("SCHILY.xattr.user.overlay.opaque", b"y")),
    ] {
        let scratch = Scratch::new(&format!("forge-{name}"));
        image(&scratch, &[&below, &[above]]);
        let flat = listing(&scratch.unpack());
        // A copy may become a layer of somebody's overlay, in this mount or in a container's own.
        assert!(!flat.iter().any(|line| line.contains(".overlay.")), "{name}: {flat:?}");
        assert_eq!(listing(&scratch.unpack_shared()), flat, "{name}");
    }
    let scratch = Scratch::new("forge-device");
    image(&scratch, &[&below, &[node("f", EntryType::Char, 0, 0)]]);
    for form in [&[][..], &["--overlay", "--store", "../forge-device-store"]] {
        let error = scratch.refused(form);
        assert!(error.contains("the device 0:0 would be a whiteout"), "{error}");
    }
    let _ = fs::remove_dir_all(scratch.path().parent().unwrap().join("forge-device-store"));
}

#[test]
fn a_layer_that_is_there_twice_counts_where_it_is_topmost() {
    let one = archive(&[file("a", "1"), file("b", "1")]);
    let two = archive(&[file(".wh.a", ""), file("b", "2")]);
    let taking = archive(&[file("d/x", "")]);
    let scratch = Scratch::new("thrice");
    let mut fixture = Fixture::new(&scratch);
    for layer in [&one, &taking, &two, &one, &taking] {
        fixture.layer(Packing::Gzip, layer);
    }
    fixture.finish();
    assert_eq!(listing(&scratch.unpack_shared()), listing(&scratch.unpack()));
    assert_eq!(layers(&scratch).len(), 4);
}

#[test]
fn five_hundred_layers_mount() {
    let scratch = Scratch::new("many");
    let mut fixture = Fixture::new(&scratch);
    for number in 0..500 {
        fixture.layer(
            Packing::Plain,
            &archive(&[dir("d"), file(&format!("d/{number}"), "x"), file("top", &number.to_string())]),
        );
    }
    fixture.finish();
    let root = scratch.unpack_shared();
    assert_eq!(names(&root.join("d")).len(), 500);
    assert_eq!(fs::read_to_string(root.join("top")).unwrap(), "499");
    // A second bundle of all these, and the first one after a reboot.
    forget_layers(&scratch);
    let (disk, inodes) = taken(scratch.path());
    shared(&scratch, "second");
    let now = taken(scratch.path());
    assert!(now.0 - disk < 200_000 && now.1 - inodes < 15, "{disk} {inodes} {now:?}");
    assert_eq!(names(&scratch.join("second/rootfs/d")).len(), 500);
    ok(&scratch, &["umount", "second"]);
    assert_eq!(names(&scratch.join("second/rootfs")), [""; 0]);
    ok(&scratch, &["mount", "second"]);
    assert_eq!(fs::read_to_string(scratch.join("second/rootfs/top")).unwrap(), "499");
}

#[test]
fn an_older_kernel_mounts_all_layers_in_one_string() {
    let scratch = Scratch::new("old-mount");
    let mut fixture = Fixture::new(&scratch);
    for number in 0..60 {
        fixture.layer(Packing::Plain, &archive(&[file(&format!("d/{number}"), "x")]));
    }
    fixture.finish();
    let flat = listing(&scratch.unpack());
    let output = without_call(nix::libc::SYS_fsopen, || {
        scratch.run(&["unpack", "--debug", "--overlay", "--store", "store", "oci:image", "shared"])
    });
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("the kernel does not take layers one by one"), "{}", stderr(&output));
    assert_eq!(listing(&scratch.join("shared/rootfs")), flat);
}

#[test]
fn a_layer_that_went_away_is_told_at_the_mount() {
    let scratch = Scratch::new("went-away");
    image(&scratch, &[&[file("a", "1")], &[file("b", "2")]]);
    shared(&scratch, "one");
    ok(&scratch, &["umount", "one"]);
    let layer = scratch.join("store/layers").join(&layers(&scratch)[0]);
    fs::remove_dir_all(&layer).unwrap();
    let error = stderr(&scratch.run(&["mount", "one"]));
    assert!(error.contains("this layer is no longer in the store"), "{error}");
}

#[test]
fn nothing_is_left_of_a_failed_unpacking_into_the_store() {
    let scratch = Scratch::new("failed");
    let mut fixture = Fixture::new(&scratch);
    fixture.layer(Packing::Gzip, &archive(&[file("a", &"x".repeat(100_000))]));
    let bytes = Packing::Gzip.pack(&archive(&[file("b", &"y".repeat(100_000))]));
    let blob = fixture.blob(&bytes, "application/vnd.oci.image.layer.v1.tar+gzip");
    fixture.raw_layer(blob, tare::testing::image::blob::digest::sha256_of(b"other").as_ref()).finish();
    let output = scratch.run(&["unpack", "--overlay", "--store", "store", "oci:image", "one"]);
    assert!(stderr(&output).contains("layer 2 of 2"), "{}", stderr(&output));
    assert_eq!(names(scratch.path()), ["image", "store"]);
    for dir in ["layers", "tmp", "bundles"] {
        assert_eq!(names(&scratch.join("store").join(dir)), [""; 0], "{dir}");
    }
}

#[test]
fn what_running_processes_want_is_not_pruned() {
    let scratch = Scratch::new("race");
    let image_of = |number: usize| {
        let scratch = Scratch::new(&format!("race-{number}"));
        image(&scratch, &[&[file("same", "1")], &[file(&format!("own{number}"), "2")]]);
        scratch
    };
    let images: Vec<Scratch> = (0..4).map(image_of).collect();
    let store = scratch.join("store");
    let store = store.to_str().unwrap();
    std::thread::scope(|scope| {
        for (number, image) in images.iter().enumerate() {
            scope.spawn(move || {
                for round in 0..10 {
                    ok(image, &["unpack", "-q", "--overlay", "--store", store, "oci:image", "b"]);
                    assert_eq!(
                        names(&image.join("b/rootfs")),
                        [format!("own{number}"), "same".into()],
                        "{round}"
                    );
                    ok(image, &["remove", "b"]);
                }
            });
        }
        scope.spawn(|| {
            // The last directory that is made: `prune` makes no store.
            let is_made = || Path::new(store).join("images").is_dir();
            for _ in (0..10_000).take_while(|_| !is_made()) {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            (0..40).for_each(|_| drop(ok(&scratch, &["prune", "--store", store])));
        });
    });
    ok(&scratch, &["prune", "--store", store]);
    assert_eq!(layers(&scratch), [""; 0]);
}

#[test]
fn a_bundle_over_layers_runs() {
    let Some(busybox) = ["/bin/busybox", "/usr/bin/busybox"].iter().find_map(|path| fs::read(path).ok())
    else {
        return skip("needs busybox");
    };
    let scratch = Scratch::new("shared-runs");
    let mut fixture = Fixture::new(&scratch);
    fixture.config =
        json!({ "Cmd": ["sh", "-c", "echo new >/file; cat /file; pwd"], "WorkingDir": "/work/here" });
    let sh = Item { data: busybox, ..file("bin/sh", "").mode(0o755) };
    let links = ["cat"].map(|name| hard_link(&format!("bin/{name}"), "bin/sh"));
    fixture.layer(Packing::Gzip, &archive(&[&[dir("bin"), sh][..], &links].concat()));
    fixture
        .layer(Packing::Gzip, &archive(&[dir("proc"), dir("dev"), dir("sys"), file("file", "old")]))
        .finish();
    shared(&scratch, "one");
    let Ok(output) = Command::new("runc")
        .arg("--root")
        .arg(scratch.join("state"))
        .args(["run", "-b"])
        .arg(scratch.join("one"))
        .arg(format!("tare-image-shared-{}", std::process::id()))
        .output()
    else {
        return skip("needs runc");
    };
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "new\n/work/here\n");
    assert_eq!(fs::read_to_string(scratch.join("one/upper/file")).unwrap(), "new\n");
}
