//! Layers that try to reach outside the root: whether they are refused or not, a canary tree beside the root stays as it
//! was.

use std::fs;
use std::path::Path;

use tar::EntryType;

use crate::naive::Naive;
use crate::support::*;

/// The one layer that integration/security/test asks for by TARE_CASE, with its control; all of them, without, else.
fn is_asked_for(name: &str, items: &[Item]) -> bool {
    let Ok(one) = std::env::var("TARE_CASE") else { return true };
    if one == name {
        naive_control(name, items);
    }
    one == name
}

/// The same layer, unpacked as one should not.
fn naive_control(name: &str, items: &[Item]) {
    let scratch = Scratch::new(&format!("hostile-{name}"));
    let (canary, root) = (with_canary(&scratch), scratch.join("bundle/rootfs"));
    fs::create_dir_all(&root).unwrap();
    let before = (listing(&canary), changes(&canary));
    Naive { root: &root, within: scratch.path() }.unpack(items);
    let whole = ["secret", "dir/file"].iter().all(|name| fs::exists(canary.join(name)).unwrap());
    if !whole || (listing(&canary), changes(&canary)) != before {
        println!("control falls: {name}: joined to the root and followed, it reaches the canary");
    }
}

fn with_canary(scratch: &Scratch) -> std::path::PathBuf {
    let canary = scratch.join("canary");
    fs::create_dir_all(canary.join("dir")).unwrap();
    fs::write(canary.join("secret"), "secret").unwrap();
    fs::write(canary.join("dir/file"), "file").unwrap();
    canary
}

/// Unpacks layers beside a canary, as a private tree and as an overlay. Returns whether the private tree was refused.
fn attack(name: &str, layers: &[Vec<u8>]) -> Result<(), String> {
    let scratch = Scratch::new(&format!("hostile-{name}"));
    let canary = with_canary(&scratch);
    let before = (listing(&canary), changes(&canary));
    let mut fixture = Fixture::new(&scratch);
    for layer in layers {
        fixture.layer(Packing::Gzip, layer);
    }
    fixture.finish();
    let unpacked = |args: &[&str], left: &[&str]| {
        let output = scratch.run(&[&["unpack", "oci:image"], args].concat());
        assert_eq!((listing(&canary), changes(&canary)), before, "{name}: the canary has changed");
        match output.status.code() {
            Some(0) => Ok(()),
            Some(1) => {
                assert_eq!(names(scratch.path()), left, "{name}: something is left behind");
                Err(stderr(&output))
            }
            code => panic!("{name}: ended with {code:?}: {}", stderr(&output)),
        }
    };
    let copy = unpacked(&["bundle"], &["canary", "image"]);
    let _ = fs::remove_dir_all(scratch.join("bundle"));
    let shared = unpacked(&["--overlay", "--store", "store", "shared"], &["canary", "image", "store"]);
    assert_eq!(names(&scratch.join("store/tmp")), [""; 0], "{name}: half a layer is left behind");
    if shared.is_err() {
        assert_eq!(names(&scratch.join("store/bundles")), [""; 0], "{name}: a bundle is left behind");
    }
    copy
}

/// The change times of the canary: they show even a chmod to the same mode.
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

/// The path to the canary from any depth: up to `/`, and down again.
fn far(name: &str) -> String {
    format!("{}{}", "../".repeat(20), &canary_path(name)[1..])
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
            vec![symlink("a", ".."), symlink("b", "a/.."), symlink("c", "b/canary"), file("c/secret", "x")],
        ),
        ("whiteout-link", vec![symlink("l", up), file("l/.wh.secret", ""), file("l/.wh.dir", "")]),
        ("whiteout-leaf", vec![symlink("l", &format!("{up}/dir")), file(".wh.l", "")]),
        ("opaque-link", vec![symlink("l", up), file("l/.wh..wh..opq", "")]),
        ("opaque-leaf", vec![dir("d"), symlink("d/l", up), file("d/.wh..wh..opq", "")]),
        (
            "deep-up",
            vec![symlink("l", &far("deep-up")), file("l/secret", "x"), dir("l/dir").mode(0).ids(5, 5)],
        ),
        (
            "deep-name",
            vec![
                file(&format!("{}/secret", far("deep-name")), "x"),
                file(&format!("{}/new", far("deep-name")), "x"),
            ],
        ),
        ("deep-whiteout", vec![dir("a"), file(&format!("{}/.wh.secret", far("deep-whiteout")), "")]),
        ("deep-opaque", vec![dir("a"), file(&format!("{}/.wh..wh..opq", far("deep-opaque")), "")]),
        ("whiteout-up", vec![dir("a"), file("../../.wh.canary", ""), file("../.wh.rootfs", "")]),
        ("opaque-up", vec![dir("a"), file("a/../../../.wh..wh..opq", "")]),
        ("opaque-itself", vec![symlink("l", &far("opaque-itself")), file("l/./.wh..wh..opq", "")]),
        ("link-then-dir", vec![symlink("l", up), dir("l").mode(0o777), file("l/secret", "x")]),
        ("link-slash", vec![symlink("l/", up), file("l//secret", "x"), symlink("l/secret/", "x")]),
        ("link-loop", vec![symlink("a", "b"), symlink("b", "a"), file("a/x", "x"), file("b", "x")]),
        ("link-self", vec![symlink("a", "a"), file("a/x", "x"), dir("a"), file("a/y", "")]),
        ("link-parent", vec![dir("a"), symlink("a/b", ".."), file("a/b/a/b/a/b/../canary/secret", "x")]),
        ("link-dangling", vec![symlink("l", "../../canary/new"), file("l/made", "x"), dir("l")]),
        ("link-dots", vec![symlink("l", ".../...//..//../canary"), file("l/secret", "x")]),
        (
            "replaced-dir",
            vec![dir("d"), file("d/a", ""), symlink("d", up), file("d/secret", "x"), file("d/.wh.dir", "")],
        ),
        (
            "replaced-cached",
            vec![
                dir("d"),
                dir("d/dir"),
                file("d/dir/a", ""),
                file(".wh.d", ""),
                symlink("d", up),
                file("d/dir/file", "x"),
            ],
        ),
        (
            "hard-link-swap",
            vec![symlink("s", up), hard_link("d", "s"), file("d/secret", "x"), file("s/secret", "x")],
        ),
        (
            "device-through",
            vec![node("n", EntryType::Char, 1, 1).mode(0o777), file("n", "x"), file("n/x", "x")],
        ),
        (
            "device-linked",
            vec![node("n", EntryType::Block, 7, 99), hard_link("m", "n"), file("m", "x"), file("n", "x")],
        ),
        (
            "fifo-through",
            vec![node("p", EntryType::Fifo, 0, 0), file("p", "x"), hard_link("q", "p"), file("q", "x")],
        ),
        ("setid", vec![file("s", "x").mode(0o6777), symlink("t", &far("setid")), dir("t/dir").mode(0o7777)]),
        (
            "xattr-through",
            vec![
                symlink("l", &format!("{up}/secret"))
                    .pax("SCHILY.xattr.trusted.a", b"1")
                    .pax("SCHILY.xattr.security.capability", b"1"),
            ],
        ),
        (
            "acl-through",
            vec![symlink("l", &format!("{up}/dir")), dir("l").pax("SCHILY.xattr.trusted.a", b"1").mtime(1)],
        ),
        (
            "sparse-through",
            vec![
                symlink("l", &format!("{up}/secret")),
                file("l", "data").pax("GNU.sparse.size", b"10").pax("GNU.sparse.map", b"0,4"),
            ],
        ),
        (
            "sparse-name",
            vec![
                file("l", "data")
                    .pax("GNU.sparse.size", b"10")
                    .pax("GNU.sparse.map", b"0,4")
                    .pax("GNU.sparse.name", b"../../canary/secret"),
            ],
        ),
        (
            "pax-name",
            vec![
                file("a", "x").pax("path", b"../../canary/secret"),
                symlink("s", "x").pax("linkpath", up.as_bytes()),
                file("s/secret", "x"),
            ],
        ),
        (
            "plnk-up",
            vec![
                file(".wh..wh.plnk/../../../canary/secret", "x"),
                file(".wh..wh.plnk/a/../../../../canary/new", "x"),
            ],
        ),
        (
            "plnk-link",
            vec![
                symlink(".wh..wh.plnk", up),
                file(".wh..wh.plnk/secret", "x"),
                symlink(".wh..wh.plnk/s", up),
                file(".wh..wh.plnk/s/secret", ""),
            ],
        ),
        (
            "proc-fd",
            vec![
                symlink("l", "/proc/self/fd/3"),
                file("l/x", "x"),
                symlink("m", "/proc/1/root/etc"),
                file("m/tare-image-hostile", "x"),
            ],
        ),
        (
            "dev-fd",
            vec![
                symlink("dev", "/dev"),
                file("dev/tare-image-hostile", "x"),
                node("dev/null", EntryType::Char, 1, 5),
            ],
        ),
        ("proc", vec![symlink("l", "/proc/self/root"), file("l/etc/tare-image-hostile", "x")]),
        ("proc-cwd", vec![symlink("l", "/proc/self/cwd/canary"), file("l/secret", "x")]),
    ] {
        if !is_asked_for(name, &items) {
            continue;
        }
        let _ = attack(name, &[archive(&items)]);
        // The same in two layers: what the first made is below for the second.
        let _ = attack(name, &[archive(&items[..1]), archive(&items[1..])]);
    }
    for outside in ["/etc/tare-image-hostile", "/dev/tare-image-hostile"] {
        assert!(!Path::new(outside).exists());
    }
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
        ("hard-deep", vec![hard_link("h", &format!("{}/secret", far("hard-deep")))]),
        ("hard-proc", vec![hard_link("h", "/proc/self/exe")]),
        ("hard-dots", vec![hard_link("h", "..")]),
        ("hard-whiteout", vec![hard_link("h", ".wh.x/../../../canary/secret")]),
        ("hard-plnk", vec![hard_link("h", ".wh..wh.plnk/../../../canary/secret")]),
        ("hard-empty", vec![hard_link("h", "")]),
        ("hard-itself", vec![hard_link("h", "h")]),
        ("hard-early", vec![hard_link("h", "later"), file("later", "x")]),
    ] {
        if !is_asked_for(name, &items) {
            continue;
        }
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
        ("root-link", symlink(".", "../canary")),
        ("root-link-slash", symlink("/.", "../canary")),
        ("root-file", file("./", "x")),
        ("root-dots", symlink("a/..", "../canary")),
        ("root-empty", symlink("", "../canary")),
        ("root-node", node("/", EntryType::Fifo, 0, 0)),
    ] {
        let items = [item, file("secret", "x")];
        if !is_asked_for(name, &items) {
            continue;
        }
        let error = attack(name, &[archive(&items)]).expect_err(name);
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
    let mut cut_record = archive(&[file("a", "data").pax("path", b"b")]);
    cut_record[512..520].copy_from_slice(b"99 path=");
    let chain: Vec<Item> = (0..45)
        .map(|n| symlink(&format!("l{n}"), &format!("l{}", n + 1)))
        .chain([file("l0/x", "x")])
        .collect();
    for (name, bytes, words) in [
        ("checksum", change(0, b"z"), "checksum"),
        ("cut-data", good[..1000].to_vec(), "cut off"),
        ("cut-header", good[..2600].to_vec(), "cut off"),
        ("no-archive", b"#!/bin/sh\n".repeat(100), "it is no tar archive"),
        ("zero-block", lone, "single block of zeros"),
        ("type", archive(&[unknown]), "type 'Z' has no place"),
        ("pax-alone", bare, "ends after an extended header"),
        ("pax-twice", twice, "two extended headers"),
        ("pax-size", pax("size", b"-5"), "is not a number"),
        ("pax-size-huge", pax("size", b"99999999999999999999999"), "is not a number"),
        ("pax-size-more", pax("size", b"4000000000"), "cut off"),
        ("pax-nul", pax("path", b"a\0b"), "is not a name"),
        ("pax-uid", pax("uid", b"4294967295"), "uid 4294967295 is out of range"),
        ("pax-uid-huge", pax("uid", b"4294967296"), "is out of range"),
        ("pax-cut", cut_record, "extended header is damaged"),
        ("pax-no-end", [&endless("L")[..], &good].concat(), "two extended headers"),
        ("pax-mtime", pax("mtime", b"99999999999999999999"), "is not a number"),
        ("pax-xattr-name", pax("SCHILY.xattr.", b"x"), "set extended attribute"),
        ("pax-xattr-long", pax("SCHILY.xattr.trusted.x", &[b'x'; 70_000]), "set extended attribute"),
        ("pax-xattrs", many_attributes(1), "more than 1024 extended attributes"),
        ("pax-xattrs-global", many_attributes(5), "a global header sets SCHILY.xattr"),
        ("pax-global-sparse", global_sparse(), "a global header sets GNU.sparse"),
        ("size-negative", with_header(|header| header.as_old_mut().size = [0xff; 12]), "is negative"),
        (
            "size-letters",
            with_header(|header| header.as_old_mut().size = *b"0000000000z\0"),
            "is not a number",
        ),
        (
            "size-huge",
            with_header(|header| header.as_old_mut().size = *b"\x80\0\0\0\x7f\0\0\0\0\0\0\0"),
            "cut off",
        ),
        ("uid-negative", with_header(|header| header.as_old_mut().uid = [0xff; 8]), "uid -1 is out of range"),
        ("name-nothing", archive(&[symlink("l", "")]), "l: symlink"),
        ("link-long", archive(&[symlink("l", &"t".repeat(5000))]), "file name too long"),
        ("link-many", archive(&chain), "too many levels of symbolic links"),
        ("pax-huge", pax("comment", &vec![b'x'; 2 << 20]), "larger than"),
        ("long-path", pax("path", &[b"d/".repeat(3000), vec![b'f']].concat()), "file name too long"),
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

/// A file with these headers in front of it.
fn behind(kind: &[u8], data: &[u8], more: &[u8]) -> Vec<u8> {
    let mut item = file("././@LongLink", "");
    (item.kind, item.data) = (EntryType::new(kind[0]), data.to_vec());
    let mut header = item.header();
    header.as_mut_bytes()[257..265].copy_from_slice(b"ustar  \0");
    header.set_cksum();
    let mut out = Vec::new();
    block(&header, &item.data, &mut out);
    [&out, more].concat()
}

#[test]
fn archives_that_name_an_entry_twice_over_are_refused() {
    let global =
        |key: &str, value: &[u8]| headers_before_a_file(EntryType::XGlobalHeader, &[record(key, value)]);
    let sparse = |items: &[Item]| archive(items);
    let none = "it has records of a sparse file, and is none";
    // What the readers of containers (Go) make of each is another tree than that of POSIX's.
    for (name, bytes, words) in [
        ("global-path", global("path", b"other"), "a global header sets path"),
        ("global-link", global("linkpath", b"other"), "a global header sets linkpath"),
        ("global-size", global("size", b"0"), "a global header sets size"),
        ("global-uid", global("uid", b"7"), "a global header sets uid"),
        ("global-gid", global("gid", b"7"), "a global header sets gid"),
        ("global-xattr", global("SCHILY.xattr.user.a", b"7"), "a global header sets SCHILY.xattr"),
        ("global-name", global("GNU.sparse.name", b"other"), "a global header sets GNU.sparse"),
        ("sparse-name", sparse(&[file("a", "x").pax("GNU.sparse.name", b"other")]), none),
        ("sparse-size", sparse(&[file("a", "x").pax("GNU.sparse.size", b"5")]), none),
        ("sparse-dir", sparse(&[dir("a").pax("GNU.sparse.name", b"other")]), none),
        ("sparse-link", sparse(&[symlink("a", "b").pax("GNU.sparse.map", b"0,1")]), none),
        (
            "long-and-pax",
            behind(b"L", b"one\0", &archive(&[file("a", "x").pax("path", b"other")])),
            "an entry has two names: \"one\" and \"other\"",
        ),
        (
            "link-and-pax",
            behind(b"K", b"one\0", &archive(&[symlink("a", "b").pax("linkpath", b"other")])),
            "an entry has two names: \"one\" and \"other\"",
        ),
    ] {
        let error = attack(name, &[bytes]).expect_err(name);
        assert!(error.contains(words), "{name}: {error}");
    }
    // Said twice in the same words, it is one name; a comment and a time for all entries are nobody's danger.
    for (name, bytes) in [
        ("same", behind(b"L", b"other\0", &archive(&[file("a", "x").pax("path", b"other")]))),
        ("comment", global("comment", b"0123")),
        ("mtime", global("mtime", b"5")),
    ] {
        attack(name, &[bytes]).expect(name);
    }
}

#[test]
fn whiteouts_that_are_repeated_cost_no_more_than_other_entries() {
    let files = || (0..3000).map(|number| file(&format!("d/{number}"), ""));
    let many = |item: Item| -> Vec<Item> { files().chain(std::iter::repeat_n(item, 3000)).collect() };
    let took = |name: &str, items: &[Item]| {
        let layers = [archive(&[dir("d"), file("d/lower", "")]), archive(items)];
        let began = std::time::Instant::now();
        attack(name, &layers).expect(name);
        let unpacked = began.elapsed();
        // Those that apply layers in memory too.
        let scratch = Scratch::new(&format!("repeated-{name}"));
        let mut fixture = Fixture::new(&scratch);
        for layer in &layers {
            fixture.layer(Packing::Gzip, layer);
        }
        fixture.finish();
        let began = std::time::Instant::now();
        assert!(scratch.run(&["explain", "oci:image"]).status.success(), "{name}");
        (unpacked, began.elapsed())
    };
    let plain = took("plain", &many(file("e", "")));
    for (name, item) in [("opaque", file("d/.wh..wh..opq", "")), ("whiteouts", file(".wh.d", ""))] {
        let whiteouts = took(name, &many(item));
        assert!(whiteouts.0 < plain.0 * 4, "{name}: {whiteouts:?}, and {plain:?} without");
        assert!(whiteouts.1 < plain.1 * 4, "{name}: {whiteouts:?}, and {plain:?} without");
    }
}

/// A header with a field that is wrong, and a valid checksum.
fn with_header(change: impl FnOnce(&mut tar::Header)) -> Vec<u8> {
    let mut header = file("a", "").header();
    change(&mut header);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// A thousand GNU long name (or link) entries, one after the other.
fn endless(kind: &str) -> Vec<u8> {
    let mut item = file("././@LongLink", &"n".repeat(1000));
    item.kind = EntryType::new(kind.as_bytes()[0]);
    let mut out = Vec::new();
    (0..1000).for_each(|_| block(&item.header(), &item.data, &mut out));
    out
}

fn headers_before_a_file(kind: EntryType, all: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for records in all {
        let mut item = file("pax", "");
        (item.kind, item.data) = (kind, records.clone());
        block(&item.header(), &item.data, &mut out);
    }
    [out, archive(&[file("a", "x")])].concat()
}

/// More extended attributes than an entry may have: in one pax header, or summed over several global ones.
fn many_attributes(headers: usize) -> Vec<u8> {
    let value = vec![b'x'; if headers == 1 { 1 } else { 1500 }];
    let records = |from: usize, to: usize| -> Vec<u8> {
        (from..to).flat_map(|n| record(&format!("SCHILY.xattr.user.{n}"), &value)).collect()
    };
    match headers {
        1 => headers_before_a_file(EntryType::XHeader, &[records(0, 5000)]),
        _ => {
            let all: Vec<_> = (0..headers).map(|n| records(n * 200, n * 200 + 200)).collect();
            headers_before_a_file(EntryType::XGlobalHeader, &all)
        }
    }
}

/// A sparse map that grows from one global pax header to the next.
fn global_sparse() -> Vec<u8> {
    let pair = [record("GNU.sparse.offset", b"0"), record("GNU.sparse.numbytes", b"0")].concat();
    headers_before_a_file(EntryType::XGlobalHeader, &vec![pair.repeat(15_000); 6])
}

#[test]
fn an_archive_inside_a_file_is_its_content() {
    // CVE-2025-62518: the pax size counts, for the data and for the way to the next header, whatever the header says.
    let inner = archive(&[file("smuggled", "x")]);
    let mut item = file("outer", "").pax("size", inner.len().to_string().as_bytes());
    item.data = inner;
    let mut bytes = archive(&[item, file("after", "")]);
    // The header itself claims to have no data: it is the third block, behind the extended one and its records.
    let header: &mut [u8] = &mut bytes[1024..1536];
    header[124..136].copy_from_slice(b"00000000000\0");
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let scratch = Scratch::new("smuggled");
    Fixture::new(&scratch).layer(Packing::Gzip, &bytes).finish();
    assert_eq!(names(&scratch.unpack()), ["after", "outer"]);
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
