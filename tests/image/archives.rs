//! Images in tar files: `oci-archive:` and `docker-archive:`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::*;

fn layers() -> [Vec<u8>; 2] {
    [
        archive(&[dir("./"), dir("d"), file("d/a", "one"), file("d/b", &"two".repeat(9999))]),
        archive(&[file("d/.wh.a", ""), file("c", "three")]),
    ]
}

/// Packs the fixture's layout into a tar file, with paths as skopeo writes them.
fn as_oci_archive(layout: &Path) -> Vec<u8> {
    let mut items = vec![];
    let mut add =
        |name: String| items.push(Item { data: fs::read(layout.join(&name)).unwrap(), ..file(&name, "") });
    names(&layout.join("blobs/sha256")).into_iter().for_each(|hex| add(format!("blobs/sha256/{hex}")));
    ["oci-layout", "index.json"].into_iter().for_each(|name| add(name.into()));
    archive(&items)
}

/// Writes a docker-archive of these layers, as `docker save` does.
fn as_docker_archive(config: &Value, packing: Packing, tags: &Value) -> Vec<u8> {
    let config = serde_json::to_vec(config).unwrap();
    let name = format!("{}.json", tare::testing::image::blob::digest::sha256_of(&config).digest());
    let manifest =
        json!([{ "Config": name, "RepoTags": tags, "Layers": ["one/layer.tar", "two/layer.tar"] }]);
    let [one, two] = layers().map(|layer| packing.pack(&layer));
    let raw = |name: &str, data: Vec<u8>| Item { data, ..file(name, "") };
    archive(&[
        raw("real/layer.tar", one),
        dir("one"),
        symlink("one/layer.tar", "../real/layer.tar"),
        raw("two/layer.tar", two),
        raw(&name, config),
        raw("manifest.json", serde_json::to_vec(&manifest).unwrap()),
    ])
}

fn config(name: &str) -> (Scratch, Value) {
    let scratch = Scratch::new(name);
    let mut fixture = Fixture::new(&scratch);
    for layer in layers() {
        fixture.layer(Packing::Plain, &layer);
    }
    (scratch, fixture.config_json())
}

fn unpacked(scratch: &Scratch, source: &str) -> Vec<String> {
    let _ = fs::remove_dir_all(scratch.join("bundle"));
    let output = scratch.run(&["unpack", source, "bundle"]);
    assert!(output.status.success(), "{source}: {}", stderr(&output));
    listing(&scratch.join("bundle/rootfs"))
}

#[test]
fn an_image_is_the_same_from_a_layout_and_from_either_archive() {
    let scratch = Scratch::new("archives");
    let mut fixture = Fixture::new(&scratch);
    for layer in layers() {
        fixture.layer(Packing::Gzip, &layer);
    }
    fixture.finish();
    let expected = unpacked(&scratch, "oci:image:latest");
    let oci = as_oci_archive(&fixture.path);
    fs::write(scratch.join("a.tar"), &oci).unwrap();
    assert_eq!(unpacked(&scratch, "oci-archive:a.tar:latest"), expected);
    for packing in PACKINGS {
        fs::write(scratch.join("b.tar"), packing.pack(&oci)).unwrap();
        assert_eq!(unpacked(&scratch, "oci-archive:b.tar"), expected, "{packing:?}");
        let docker = as_docker_archive(&fixture.config_json(), packing, &json!(["test:1", "other:2"]));
        fs::write(scratch.join("c.tar"), &docker).unwrap();
        for name in ["", ":test:1", ":docker.io/library/other:2"] {
            assert_eq!(
                unpacked(&scratch, &format!("docker-archive:c.tar{name}")),
                expected,
                "{packing:?} {name}"
            );
        }
    }
}

/// The archive with more entries behind its own.
fn appended(tar: &[u8], items: &[Item]) -> Vec<u8> {
    [&tar[..tar.len() - 1024], &archive(items)].concat()
}

#[test]
fn an_archive_that_is_two_images_to_two_readers_is_refused() {
    let (scratch, config) = config("two-images");
    let docker = as_docker_archive(&config, Packing::Plain, &json!(null));
    let mut fixture = Fixture::new(&scratch);
    fixture.layer(Packing::Gzip, &layers()[0]).finish();
    let oci = as_oci_archive(&fixture.path);
    let other = r#"[{"Config":"other.json","RepoTags":null,"Layers":[]}]"#;
    let index = fs::read_to_string(fixture.path.join("index.json")).unwrap();
    let spaced = index.replacen('{', "{ ", 1);
    for (form, tar, items) in [
        ("docker-archive", &docker, vec![file("manifest.json", other)]),
        ("docker-archive", &docker, vec![file("./manifest.json", other)]),
        ("docker-archive", &docker, vec![file("/x/../manifest.json", other)]),
        ("docker-archive", &docker, vec![symlink("manifest.json", "other")]),
        ("docker-archive", &docker, vec![hard_link("manifest.json", "one/layer.tar")]),
        ("docker-archive", &docker, vec![dir("manifest.json")]),
        ("docker-archive", &docker, vec![symlink("one/layer.tar", "../two/layer.tar")]),
        ("docker-archive", &docker, vec![file("two/layer.tar", "other")]),
        ("docker-archive", &docker, vec![symlink("x", "."), file("x/manifest.json", other)]),
        ("docker-archive", &docker, vec![file("x/y/manifest.json", other), symlink("x", ".")]),
        ("oci-archive", &oci, vec![file("index.json", &spaced)]),
        ("oci-archive", &oci, vec![file("oci-layout", r#"{"imageLayoutVersion": "1.0.0"}"#)]),
    ] {
        fs::write(scratch.join("a.tar"), appended(tar, &items)).unwrap();
        for verb in [&["unpack"][..], &["verify"], &["list"]] {
            let target = if verb == ["unpack"] { &["bundle"][..] } else { &[] };
            let output = scratch.run(&[verb, &[&format!("{form}:a.tar")], target].concat());
            let error = stderr(&output);
            let is_told = error.contains("stands in it twice") || error.contains("which is no directory");
            assert!(is_told && !output.status.success(), "{form} {}: {error}", items.len());
        }
        assert!(!scratch.join("bundle").exists());
    }
    // The same again is the same to everybody.
    let again =
        vec![dir("one"), symlink("one/layer.tar", "../real/layer.tar"), file("more", "x"), file("more", "x")];
    fs::write(scratch.join("a.tar"), appended(&docker, &again)).unwrap();
    unpacked(&scratch, "docker-archive:a.tar");
    fs::write(scratch.join("a.tar"), appended(&oci, &[file("index.json", &index)])).unwrap();
    unpacked(&scratch, "oci-archive:a.tar");
}

#[test]
fn an_archive_that_is_none_is_refused() {
    let (scratch, config) = config("docker-none");
    let docker = as_docker_archive(&config, Packing::Plain, &json!(null));
    fs::write(scratch.join("docker.tar"), &docker).unwrap();
    fs::write(scratch.join("cut.tar"), &docker[..docker.len() - 3000]).unwrap();
    fs::write(scratch.join("text.tar"), "no archive at all").unwrap();
    fs::write(scratch.join("empty.tar"), "").unwrap();
    for (source, words) in [
        ("docker-archive:cut.tar", "archive cut.tar: "),
        ("oci-archive:docker.tar", "archive docker.tar: has no oci-layout: it is no OCI archive"),
        ("docker-archive:text.tar", "archive text.tar: it is no tar archive"),
        ("docker-archive:empty.tar", "archive empty.tar: has no manifest.json: it is no Docker archive"),
        ("docker-archive:missing.tar", "archive missing.tar: open missing.tar: no such file or directory"),
        ("docker-archive:docker.tar:other", "there is no image of this tag"),
        ("oci-archive:/dev/zero", "/dev/zero: not a regular file"),
    ] {
        let error = stderr(&scratch.run(&["unpack", source, "bundle"]));
        assert!(error.contains(words), "{source}: {error}");
        assert!(!scratch.join("bundle").exists());
    }
}

#[test]
fn a_configuration_or_layer_that_was_changed_in_a_docker_archive_is_refused() {
    let (scratch, config) = config("docker-changed");
    let mut docker = as_docker_archive(&config, Packing::Plain, &json!(null));
    let text = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).position(|part| part == text).unwrap();
    let at = text(&docker, b"three");
    docker[at] = b'T';
    fs::write(scratch.join("layer.tar"), &docker).unwrap();
    docker[at] = b't';
    let at = text(&docker, b"\"linux\"");
    docker[at + 1] = b'L';
    fs::write(scratch.join("config.tar"), &docker).unwrap();
    for (source, words) in [
        ("docker-archive:layer.tar", "layer 2 of 2"),
        ("docker-archive:config.tar", "content has digest sha256:"),
    ] {
        let error = stderr(&scratch.run(&["unpack", source, "bundle"]));
        assert!(error.contains(words), "{source}: {error}");
    }
}

/// A member of this size that is nothing but `byte`, compressed eight million bytes at a time.
fn junk(byte: u8, millions: usize) -> Vec<u8> {
    let mut header = file("junk", "").header();
    header.set_size((millions as u64) << 20);
    header.set_cksum();
    let mut block = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut block, &vec![byte; 8 << 20]).unwrap();
    [Packing::Gzip.pack(header.as_bytes()), block.finish().unwrap().repeat(millions / 8)].concat()
}

#[test]
fn names_without_end_are_refused() {
    let (scratch, config) = config("archive-names");
    let docker = as_docker_archive(&config, Packing::Plain, &json!(null));
    let deep = archive(&[file("f", "").pax("path", ("d/".repeat(400_000) + "f").as_bytes())]);
    let link = archive(&[symlink("l", "t").pax("linkpath", "t".repeat(5000).as_bytes())]);
    for bytes in [deep, link] {
        fs::write(scratch.join("a.tar"), [&bytes[..bytes.len() - 1024], &docker[..]].concat()).unwrap();
        let error = stderr(&scratch.run(&["inspect", "docker-archive:a.tar"]));
        assert!(error.contains("a name in it is longer than 4096 bytes"), "{error}");
    }
}

#[test]
fn a_bomb_is_not_decompressed_into_an_archive() {
    let scratch = Scratch::new("archive-of-a-bomb");
    let bomb = archive(&[Item { data: vec![b'x'; 4 << 20], ..file("f", "") }]);
    Fixture::new(&scratch).layer(Packing::Gzip, &bomb).finish();
    let before = names(scratch.path());
    for (option, value, words) in
        [("--max-size", "1000000", "is larger than 1000000 bytes"), ("--max-size", "2M", "is larger than")]
    {
        let output = scratch.run(&["pull", option, value, "oci:image", "docker-archive:a.tar"]);
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
        assert_eq!(names(scratch.path()), before);
    }
    assert!(scratch.run(&["pull", "oci:image", "docker-archive:a.tar"]).status.success());
}

#[test]
fn a_compressed_archive_that_is_a_bomb_is_refused() {
    let (scratch, config) = config("archive-bomb");
    let docker = Packing::Gzip.pack(&as_docker_archive(&config, Packing::Plain, &json!(null)));
    let inspect = || {
        std::process::Command::new("sh")
            // Blocks of 512 bytes: what is not refused soon ends the program.
            .args(["-c", "ulimit -f 1000000; exec $IMAGE inspect docker-archive:a.tar"])
            .env("IMAGE", env!("CARGO_BIN_EXE_tare-image"))
            .env("TMPDIR", scratch.path())
            .current_dir(scratch.path())
            .output()
            .unwrap()
    };
    fs::write(scratch.join("a.tar"), [junk(b'x', 2000), docker.clone()].concat()).unwrap();
    let error = stderr(&inspect());
    assert!(error.contains("more than 200 times") && error.contains("hint: if you trust it"), "{error}");
    // Zeros take no place.
    fs::write(scratch.join("a.tar"), [junk(0, 400), docker].concat()).unwrap();
    let output = inspect();
    assert!(output.status.success(), "{}", stderr(&output));
}
