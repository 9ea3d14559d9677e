//! Layers made to reach outside the root: whatever becomes of them, a canary tree beside the root stays as it was.

use std::fs;
use std::path::Path;

use tar::EntryType;

use crate::support::*;

/// Unpacks each layer list beside a canary, and tells whether it was refused.
fn attack(name: &str, layers: &[Vec<u8>]) -> Result<(), String> {
    let scratch = Scratch::new(&format!("hostile-{name}"));
    let canary = scratch.join("canary");
    fs::create_dir_all(canary.join("dir")).unwrap();
    fs::write(canary.join("secret"), "secret").unwrap();
    fs::write(canary.join("dir/file"), "file").unwrap();
    let before = (listing(&canary), changes(&canary));
    let mut fixture = Fixture::new(&scratch);
    for layer in layers {
        fixture.layer(Packing::Gzip, layer);
    }
    fixture.finish();
    let output = scratch.run(&["unpack", "oci:image", "bundle"]);
    assert_eq!((listing(&canary), changes(&canary)), before, "{name}: the canary has changed");
    match output.status.code() {
        Some(0) => Ok(()),
        Some(1) => {
            assert_eq!(names(scratch.path()), ["canary", "image"], "{name}: something is left behind");
            Err(stderr(&output))
        }
        code => panic!("{name}: ended with {code:?}: {}", stderr(&output)),
    }
}

/// Change times: even a chmod to the same mode shows here.
fn changes(canary: &Path) -> Vec<(i64, i64)> {
    use std::os::unix::fs::MetadataExt;
    ["", "secret", "dir", "dir/file"]
        .iter()
        .map(|name| fs::symlink_metadata(canary.join(name)).unwrap())
        .map(|meta| (meta.ctime(), meta.ctime_nsec()))
        .collect()
}

fn canary_path(name: &str) -> String {
    let path = base().join(format!("tare-image-hostile-{name}-{}/canary", std::process::id()));
    path.to_str().unwrap().to_owned()
}

#[test]
fn layers_that_aim_outside_stay_inside() {
    let up = "../../canary";
    for (name, items) in [
        ("dotdot", vec![file("../../canary/secret", "x"), file("a/../../../../canary/dir/file", "x")]),
        ("absolute", vec![file(&format!("{}/secret", canary_path("absolute")), "x")]),
        ("link-up", vec![symlink("l", up), file("l/secret", "x"), file("l/new", "x")]),
        (
            "link-abs",
            vec![symlink("l", &canary_path("link-abs")), file("l/secret", "x"), dir("l/dir").mode(0)],
        ),
        ("link-leaf", vec![symlink("l", &format!("{up}/secret")), file("l", "x")]),
        ("link-leaf-dir", vec![symlink("l", &format!("{up}/dir")), dir("l").mode(0o777).ids(5, 5)]),
        (
            "link-leaf-node",
            vec![symlink("l", &format!("{up}/secret")), node("l", EntryType::Fifo, 0, 0).mode(0o777)],
        ),
        ("link-chain", vec![symlink("a", "b"), symlink("b", "c"), symlink("c", up), file("a/secret", "x")]),
        (
            "link-of-dots",
            vec![
                symlink("a", ".."),
                symlink("b", "a/.."),
                symlink("c", "b/../canary"),
                file("c/secret", "x"),
            ],
        ),
        ("whiteout-link", vec![symlink("l", up), file("l/.wh.secret", ""), file("l/.wh.dir", "")]),
        ("whiteout-leaf", vec![symlink("l", &format!("{up}/dir")), file(".wh.l", "")]),
        ("opaque-link", vec![symlink("l", up), file("l/.wh..wh..opq", "")]),
        ("opaque-leaf", vec![dir("d"), symlink("d/l", up), file("d/.wh..wh..opq", "")]),
        ("proc", vec![symlink("l", "/proc/self/root"), file("l/etc/tare-image-hostile", "x")]),
        ("proc-cwd", vec![symlink("l", "/proc/self/cwd/canary"), file("l/secret", "x")]),
    ] {
        let _ = attack(name, &[archive(&items)]);
        // The same in two layers: what the first made is below for the second.
        let _ = attack(name, &[archive(&items[..1]), archive(&items[1..])]);
    }
    assert!(!Path::new("/etc/tare-image-hostile").exists());
}

#[test]
fn links_that_aim_outside_are_refused() {
    let up = "../../canary/secret";
    for (name, items) in [
        ("hard-up", vec![hard_link("h", up)]),
        ("hard-abs", vec![hard_link("h", &format!("{}/secret", canary_path("hard-abs")))]),
        ("hard-through", vec![symlink("l", "../../canary"), hard_link("h", "l/secret"), file("h", "x")]),
        ("hard-relative", vec![hard_link("h", "canary/secret"), file("h", "x")]),
        ("hard-root", vec![hard_link("h", "/")]),
        ("hard-dir", vec![dir("d"), hard_link("h", "d")]),
        ("hard-early", vec![hard_link("h", "later"), file("later", "x")]),
    ] {
        let error = attack(name, &[archive(&items)]).expect_err(name);
        assert!(error.contains(": link to \""), "{error}");
    }
}

#[test]
fn a_hard_link_to_a_symlink_links_the_symlink() {
    let items = [symlink("l", "../../canary/secret"), hard_link("h", "l"), file("h", "x")];
    attack("hard-symlink", &[archive(&items)]).unwrap();
}

#[test]
fn the_root_stays_a_directory() {
    for (name, item) in [
        ("root-link", symlink(".", "../../canary")),
        ("root-link-slash", symlink("/.", "../../canary")),
        ("root-file", file("./", "x")),
        ("root-dots", symlink("a/..", "../../canary")),
        ("root-empty", symlink("", "../../canary")),
        ("root-node", node("/", EntryType::Fifo, 0, 0)),
    ] {
        let error = attack(name, &[archive(&[item, file("secret", "x")])]).expect_err(name);
        assert!(error.contains("the root can only be a directory"), "{error}");
    }
}

#[test]
fn whiteouts_of_nothing_are_refused() {
    for (name, path) in
        [("wh-empty", ".wh."), ("wh-dot", "a/.wh.."), ("wh-dots", "a/.wh..."), ("wh-in", ".wh.a/b")]
    {
        assert!(attack(name, &[archive(&[dir("a"), file(path, "")])]).is_err(), "{name}");
    }
}

#[test]
fn damaged_archives_are_refused() {
    let good = archive(&[file("a", &"x".repeat(2000)), file("b", "y")]);
    let change = |at: usize, to: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    let pax = |key: &str, value: &[u8]| archive(&[file("a", "data").pax(key, value)]);
    let mut lone = archive(&[file("a", "x")]);
    lone.truncate(lone.len() - 512);
    file("b", "y").write(&mut lone);
    let mut unknown = file("a", "x");
    unknown.kind = EntryType::new(b'Z');
    let mut bare = Vec::new();
    let mut header = file("pax", "");
    header.kind = EntryType::XHeader;
    header.data = record("path", b"x");
    block(&header.header(), &header.data, &mut bare);
    let twice = [&bare[..], &archive(&[file("a", "x").pax("path", b"z")])].concat();
    for (name, bytes, words) in [
        ("checksum", change(0, b"z"), "checksum"),
        ("cut-data", good[..1000].to_vec(), "cut off"),
        ("cut-header", good[..2600].to_vec(), "cut off"),
        ("no-archive", b"#!/bin/sh\n".repeat(100), "checksum"),
        ("zero-block", lone, "single block of zeros"),
        ("type", archive(&[unknown]), "type 'Z' has no place"),
        ("pax-alone", bare, "ends after an extended header"),
        ("pax-twice", twice, "two extended headers"),
        ("pax-size", pax("size", b"-5"), "is not a number"),
        ("pax-size-huge", pax("size", b"99999999999999999999999"), "is not a number"),
        ("pax-size-more", pax("size", b"4000000000"), "cut off"),
        ("pax-nul", pax("path", b"a\0b"), "is not a name"),
        ("pax-uid", pax("uid", b"4294967295"), "uid 4294967295 is out of range"),
        ("pax-uid-huge", pax("uid", b"4294967296"), "is not an id"),
        ("pax-huge", pax("comment", &vec![b'x'; 2 << 20]), "larger than"),
        ("long-path", pax("path", &b"d/".repeat(3000)), "file name too long"),
        ("long-name", pax("path", &vec![b'n'; 300]), "file name too long"),
        ("sparse-size", pax("GNU.sparse.map", b"0,4"), "has no size"),
        (
            "sparse-overlap",
            archive(&[file("a", "data").pax("GNU.sparse.size", b"10").pax("GNU.sparse.map", b"0,2,1,2")]),
            "overlap",
        ),
        (
            "sparse-huge",
            archive(&[file("a", "data")
                .pax("GNU.sparse.size", b"9223372036854775807")
                .pax("GNU.sparse.map", b"0,4")]),
            "--max-size",
        ),
    ] {
        let error = attack(name, &[bytes]).expect_err(name);
        assert!(error.contains(words), "{name}: {error}");
        assert!(error.starts_with("tare-image: layer 1 of 1 (sha256:"), "{name}: {error}");
    }
}

#[test]
fn a_passwd_file_that_points_outside_or_blocks_is_not_read() {
    let long = "x".repeat(2 << 20);
    for (name, passwd) in [
        ("passwd-up", symlink("etc/passwd", "../../../canary/secret")),
        ("passwd-fifo", node("etc/passwd", EntryType::Fifo, 0, 0)),
        ("passwd-zero", node("etc/passwd", EntryType::Char, 1, 5)),
        ("passwd-dir", dir("etc/passwd")),
        ("passwd-long", file("etc/passwd", &long)),
    ] {
        let scratch = Scratch::new(name);
        let mut fixture = Fixture::new(&scratch);
        fixture.config = serde_json::json!({ "User": "secret" });
        fixture.layer(Packing::Gzip, &archive(&[dir("etc"), passwd])).finish();
        let error = scratch.refused(&[]);
        assert!(error.contains("user \"secret\""), "{name}: {error}");
    }
}
