//! `tare-image explain`: its output is compared with what unpacking makes.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Value, json};
use tar::EntryType;

use crate::support::*;

fn ok(scratch: &Scratch, args: &[&str]) -> String {
    let output = scratch.run(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn explained(scratch: &Scratch) -> Value {
    serde_json::from_str(&ok(scratch, &["explain", "--json", "oci:image"])).unwrap()
}

/// Collects path, permission bits and owner of everything that was unpacked.
fn unpacked(root: &Path, path: &Path, found: &mut Vec<(String, String, u64, u64)>) {
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let about = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().escape_ascii().to_string();
        let mode = format!("{:04o}", about.mode() & 0o7777);
        found.push((format!("/{name}"), mode, about.uid().into(), about.gid().into()));
        if about.is_dir() {
            unpacked(root, &path, found);
        }
    }
}

#[test]
fn the_paths_are_those_that_unpacking_makes() {
    let scratch = Scratch::new("explain-same");
    let below = [
        dir("./"),
        dir("usr"),
        dir("usr/lib"),
        symlink("lib", "usr/lib"),
        file("lib/a", "1").ids(5, 6),
        file("f", "1"),
        dir("d"),
        file("d/x", "1"),
        file("d.z", "1"),
        symlink("dangling", "run/lock"),
        dir("becomes-file"),
        file("becomes-file/x", ""),
        file("parent", "1"),
    ];
    let middle = [
        file("lib/b", "2").mode(0o4755),
        hard_link("hard", "lib/a"),
        file("d/new", "n"),
        file("d/.wh..wh..opq", ""),
        file(".wh.d.z", ""),
        file("becomes-file", "now"),
        file("dangling/in", "x"),
        file("parent/child", "x"),
        node("null", EntryType::Char, 1, 3),
        file(".wh..wh.plnk/1", ""),
        hard_link("link-link", "lib"),
    ];
    let above = [file(".wh.lib", ""), file("deep/er/implied", ""), file("d/sub/.wh.x", ""), file("f", "2")];
    image(&scratch, &[&below, &middle, &above]);
    let root = scratch.unpack();
    let mut expected = Vec::new();
    unpacked(&root, &root, &mut expected);
    expected.sort();
    let found = explained(&scratch);
    let mut paths: Vec<_> = found["paths"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["path"] != "/")
        .map(|one| {
            let text = |key: &str| one[key].as_str().unwrap().to_owned();
            (text("path"), text("mode"), one["uid"].as_u64().unwrap(), one["gid"].as_u64().unwrap())
        })
        .collect();
    paths.sort();
    assert_eq!(paths, expected);
    let layer = |path: &str| {
        found["paths"].as_array().unwrap().iter().find(|one| one["path"] == path).unwrap()["layer"].clone()
    };
    assert_eq!((layer("/f"), layer("/usr/lib/b"), layer("/usr/lib/a")), (json!(3), json!(2), json!(1)));
}

#[test]
fn marks_powers_and_reasons_are_told() {
    let scratch = Scratch::new("explain-text");
    let mut capability = vec![1, 0, 0, 2, 0, 0x20, 0, 0];
    capability.resize(20, 0);
    let mut fixture = Fixture::new(&scratch);
    fixture.config = json!({ "Cmd": ["x"], "User": "app", "Volumes": { "/data": {} } });
    let below = [
        file("su", "12345").mode(0o4755),
        file("ping", "1").mode(0o755).pax("SCHILY.xattr.security.capability", &capability),
        node("disk", EntryType::Block, 8, 0),
        file("gone", "123456789"),
    ];
    fixture.layer(Packing::Gzip, &archive(&below));
    fixture.layer(Packing::Gzip, &archive(&[file(".wh.gone", ""), file(".wh.nothing", ""), file("su", "1")]));
    fixture.finish();
    let text = ok(&scratch, &["explain", "oci:image"]);
    for line in [
        "   2  -0644       0:0      1 B /su",
        "   1  /ping: capabilities: cap_net_raw=ep",
        "   1  /disk: block device 8:0",
        "   2  takes away /gone (of layer 1, 9 B)",
        "   2  takes away /nothing (there is nothing)",
        "   2  replaces /su (of layer 1, 5 B)",
        "/process/args",
        "      the image's Cmd",
        "      \"app\"",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}\n{text}");
    }
    assert!(text.contains("14 B of it hidden"), "{text}");
    let found = explained(&scratch);
    let reason =
        found["config"].as_array().unwrap().iter().find(|one| one["pointer"] == "/mounts/7").unwrap();
    assert_eq!(reason["value"]["destination"], "/data");
    // Of one path only.
    let text = ok(&scratch, &["explain", "oci:image", "/ping"]);
    assert!(text.contains("/ping") && !text.contains("/disk") && !text.contains("/process"), "{text}");
}

#[test]
fn sizes_and_symlinks_of_an_image_that_cannot_be_are_told_as_by_unpack() {
    let huge = |name: &str| {
        let size = i64::MAX.to_string();
        file(name, "").pax("GNU.sparse.size", size.as_bytes()).pax("GNU.sparse.numblocks", b"0")
    };
    // Each symlink leads twice through the one before it.
    let links = (1..60).map(|number| symlink(&format!("s{number}"), &format!("s{0}/../s{0}", number - 1)));
    let links = [symlink("s0", "d")].into_iter().chain(links).chain([file("s59/f", "x")]);
    let implied = format!("{}f", "d/".repeat(200_000));
    for (name, layer, words) in [
        ("sizes", archive(&[huge("a"), huge("b"), huge("c")]), "is larger than"),
        ("links", archive(&links.collect::<Vec<_>>()), "too many levels of symbolic links"),
        ("implied", archive(&[file("f", "").pax("path", implied.as_bytes())]), "file name too long"),
    ] {
        let scratch = Scratch::new(&format!("explain-{name}"));
        Fixture::new(&scratch).layer(Packing::Gzip, &layer).finish();
        for args in
            [&["explain", "oci:image"][..], &["verify", "oci:image"], &["unpack", "oci:image", "bundle"]]
        {
            let output = scratch.run(args);
            let told = [String::from_utf8_lossy(&output.stdout), stderr(&output).into()].concat();
            assert_eq!(output.status.code(), Some(1), "{args:?}: {told}");
            assert!(told.contains(words), "{args:?}: {told}");
        }
    }
}
