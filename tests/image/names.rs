//! Names of images: further ones by `tag`, one less by `rm`, in layouts and in the store.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::skip::skip;
use crate::support::{Fixture, Packing, Scratch, archive, file, image, listing, names, stderr};

const NAME: &str = "org.opencontainers.image.ref.name";

fn ok(scratch: &Scratch, args: &[&str]) -> String {
    let output = scratch.run(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    stderr(&output)
}

fn refused(scratch: &Scratch, args: &[&str]) -> String {
    let output = scratch.run(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", stderr(&output));
    stderr(&output)
}

/// The entries of the layout's index.
fn entries(scratch: &Scratch) -> Vec<Value> {
    let bytes = fs::read(scratch.join("image/index.json")).unwrap();
    serde_json::from_slice::<Value>(&bytes).unwrap()["manifests"].as_array().unwrap().clone()
}

/// The names in it, and the digest of each.
fn named(scratch: &Scratch) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found: Vec<_> = entries(scratch)
        .iter()
        .map(|entry| (text(&entry["annotations"][NAME]), text(&entry["digest"])))
        .collect();
    found.sort();
    found
}

/// A layout of two images: `latest` with a platform and further annotations, and `other`.
fn two_images(scratch: &Scratch) -> [Value; 2] {
    let mut fixture = Fixture::new(scratch);
    fixture.layer(Packing::Gzip, &archive(&[file("a", "1")]));
    let mut first = fixture.finish();
    first["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    first["annotations"]["example.org/kept"] = json!("yes");
    first["annotations"]["io.containerd.image.name"] = json!("docker.io/library/old:latest");
    fixture.layer(Packing::Gzip, &archive(&[file("b", "2")]));
    let second = fixture.finish_with(&fixture.config_json(), "other");
    fixture.index(&[first.clone(), second.clone()]);
    [first, second]
}

#[test]
fn names_are_given_and_removed_in_a_layout() {
    let scratch = Scratch::new("names");
    let [first, second] = two_images(&scratch);
    let digest = |entry: &Value| entry["digest"].as_str().unwrap().to_owned();
    let (one, two) = (digest(&first), digest(&second));
    let blobs = listing(&scratch.join("image/blobs"));
    assert_eq!(ok(&scratch, &["tag", "oci:image:latest", "v1"]), "");
    // The same directory under another path.
    let again = format!("oci:{}:example.org/a/b:1", scratch.join("image").display());
    assert_eq!(ok(&scratch, &["tag", "oci:image:latest", &again]), "");
    let tagged = entries(&scratch).into_iter().find(|entry| entry["annotations"][NAME] == "v1").unwrap();
    assert_eq!(tagged["platform"], first["platform"]);
    assert_eq!(tagged["annotations"], json!({ NAME: "v1", "example.org/kept": "yes" }));
    let is = |expected: &[(&str, &String)]| {
        let expected: Vec<_> = expected.iter().map(|&(name, digest)| (name.into(), digest.clone())).collect();
        assert_eq!(named(&scratch), expected);
    };
    is(&[("example.org/a/b:1", &one), ("latest", &one), ("other", &two), ("v1", &one)]);
    if let Ok(output) =
        Command::new("umoci").args(["ls", "--layout", "image"]).current_dir(scratch.path()).output()
    {
        let listed = String::from_utf8(output.stdout).unwrap();
        assert!(listed.lines().any(|line| line == "v1"), "{listed}");
    }
    // A name moves, which is told; what is so already is left as it stands.
    assert!(ok(&scratch, &["tag", "oci:image:other", "v1"]).contains(&one));
    let before = fs::metadata(scratch.join("image/index.json")).unwrap().modified().unwrap();
    assert_eq!(ok(&scratch, &["tag", "oci:image:other", "v1"]), "");
    assert_eq!(fs::metadata(scratch.join("image/index.json")).unwrap().modified().unwrap(), before);
    ok(&scratch, &["rm", "oci:image:v1"]);
    ok(&scratch, &["rm", "oci:image:example.org/a/b:1"]);
    is(&[("latest", &one), ("other", &two)]);
    let error = refused(&scratch, &["rm", "oci:image:v1"]);
    assert!(error.contains("no image of this tag") && error.contains("latest, other"), "{error}");
    // A digest is a name where it is the only one.
    ok(&scratch, &["tag", &format!("oci:image@{two}"), "third"]);
    let error = refused(&scratch, &["rm", &format!("oci:image@{two}")]);
    assert!(error.contains("the image has 2 names") && error.contains("other, third"), "{error}");
    ok(&scratch, &["rm", "oci:image:third"]);
    ok(&scratch, &["rm", &format!("oci:image@{two}")]);
    is(&[("latest", &one)]);
    // Without a tag it is the only image.
    ok(&scratch, &["tag", "oci:image", "v2"]);
    is(&[("latest", &one), ("v2", &one)]);
    assert_eq!(listing(&scratch.join("image/blobs")), blobs);
    assert_eq!(names(&scratch.join("image")), ["blobs", "index.json", "oci-layout"]);
}

#[test]
fn an_image_without_a_name_gets_one() {
    let scratch = Scratch::new("nameless");
    let mut fixture = Fixture::new(&scratch);
    fixture.layer(Packing::Gzip, &archive(&[file("a", "1")]));
    let mut image = fixture.finish();
    image.as_object_mut().unwrap().remove("annotations");
    fixture.index(&[image.clone()]);
    ok(&scratch, &["tag", "oci:image", "v1"]);
    assert_eq!(named(&scratch), [("v1".to_owned(), image["digest"].as_str().unwrap().to_owned())]);
    ok(&scratch, &["rm", "oci:image:v1"]);
    assert_eq!(entries(&scratch), [json!(null); 0]);
    // As Go writes an empty list.
    fs::write(scratch.join("image/index.json"), r#"{"schemaVersion":2,"manifests":null}"#).unwrap();
    let error = refused(&scratch, &["tag", "oci:image", "v1"]);
    assert!(error.contains("there is no image in it"), "{error}");
}

#[test]
fn what_is_pulled_into_an_index_of_null_is_listed() {
    let scratch = Scratch::new("null-index");
    image(&scratch, &[&[file("a", "1")]]);
    fs::create_dir(scratch.join("to")).unwrap();
    fs::copy(scratch.join("image/oci-layout"), scratch.join("to/oci-layout")).unwrap();
    fs::write(scratch.join("to/index.json"), r#"{"schemaVersion":2,"manifests":null}"#).unwrap();
    ok(&scratch, &["pull", "oci:image:latest", "oci:to:v1"]);
    ok(&scratch, &["unpack", "oci:to:v1", "bundle"]);
}

#[test]
fn what_is_no_name_changes_nothing() {
    let scratch = Scratch::new("no-name");
    two_images(&scratch);
    fs::create_dir(scratch.join("plain")).unwrap();
    let before = fs::read(scratch.join("image/index.json")).unwrap();
    let tag = |image: &'static str, name: &'static str| vec!["tag", image, name];
    for (args, said) in [
        (tag("oci:image:latest", ""), "name \"\""),
        (tag("oci:image:latest", "a b"), "name \"a b\""),
        (tag("oci:image:latest", "\u{1b}[2J"), "letters and digits"),
        (tag("oci:image:latest", "../x"), "letters and digits"),
        (tag("oci:image:latest", "oci:plain:x"), "in the same place"),
        (tag("oci:image:latest", "docker://x"), "in the same place"),
        (tag("oci:image", "x"), "there are 2 images in it"),
        (tag("oci:image:none", "x"), "the tags are: latest, other"),
        (tag("oci:plain:a", "x"), "no image layout"),
        (tag("oci:missing:a", "x"), "no such file or directory"),
        (vec!["rm", "oci:image"], "name one: oci:image:TAG"),
        (vec!["rm", "oci:plain:a"], "no image layout"),
        (vec!["rm", "--store", "missing", "docker://a"], "there is no store"),
        (vec!["rm", "--store", "plain", "docker://a"], "there is no store"),
    ] {
        let error = refused(&scratch, &args);
        assert!(error.contains(said), "{args:?}: {error}");
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
    assert_eq!(fs::read(scratch.join("image/index.json")).unwrap(), before);
    assert_eq!(names(scratch.path()), ["image", "plain"]);
    assert_eq!(names(&scratch.join("plain")), [""; 0]);
}

#[test]
fn nothing_of_others_is_changed_through_a_layout() {
    let scratch = Scratch::new("names-links");
    two_images(&scratch);
    let index = scratch.join("image/index.json");
    let (theirs, before) = (scratch.join("theirs"), fs::read(&index).unwrap());
    // The index, its temporary name, the version: each may lead elsewhere or be a pipe.
    for name in ["index.json", "index.json.partial", "oci-layout"] {
        for form in ["link", "hard link", "pipe"] {
            if form == "hard link" && name != "index.json.partial" {
                continue;
            }
            let path = scratch.join("image").join(name);
            let kept = fs::read(&path).ok();
            fs::write(&theirs, kept.as_deref().unwrap_or(b"theirs")).unwrap();
            let _ = fs::remove_file(&path);
            match form {
                "link" => symlink("../theirs", &path).unwrap(),
                "hard link" => fs::hard_link(&theirs, &path).unwrap(),
                _ => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            }
            for args in [&["tag", "oci:image:latest", "v1"][..], &["rm", "oci:image:latest"]] {
                let mut child = Command::new("timeout");
                child.args(["20", env!("CARGO_BIN_EXE_tare-image")]).args(args).current_dir(scratch.path());
                let output = child.output().unwrap();
                assert_eq!(output.status.code(), Some(1), "{name} {form} {args:?}: {}", stderr(&output));
            }
            assert_eq!(
                fs::read(&theirs).unwrap(),
                kept.clone().unwrap_or_else(|| b"theirs".to_vec()),
                "{name} {form}"
            );
            fs::remove_file(&path).unwrap();
            kept.map_or(Ok(()), |kept| fs::write(&path, kept)).unwrap();
        }
    }
    assert_eq!(fs::read(&index).unwrap(), before);
}

#[test]
fn many_at_once_lose_no_name_and_kills_leave_a_layout() {
    let scratch = Scratch::new("names-at-once");
    two_images(&scratch);
    let start = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tare-image"));
        command.args(args).current_dir(scratch.path()).stderr(Stdio::null()).spawn().unwrap()
    };
    let given: Vec<String> = (0..24).map(|number| format!("v{number}")).collect();
    let mut running: Vec<_> = given.iter().map(|name| start(&["tag", "oci:image:latest", name])).collect();
    // Some that are killed wherever they are.
    for round in 0..24 {
        let mut child = start(&["tag", "oci:image:other", "killed"]);
        std::thread::sleep(std::time::Duration::from_micros(300 * round));
        let _ = child.kill();
        let _ = child.wait();
    }
    assert!(running.iter_mut().all(|child| child.wait().unwrap().success()));
    let found = named(&scratch);
    assert!(given.iter().all(|name| found.iter().any(|(known, _)| known == name)), "{found:?}");
    let mut running: Vec<_> = given.iter().map(|name| start(&["rm", &format!("oci:image:{name}")])).collect();
    assert!(running.iter_mut().all(|child| child.wait().unwrap().success()));
    let mut left = named(&scratch);
    left.retain(|(name, _)| name != "killed");
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(names(&scratch.join("image")), ["blobs", "index.json", "oci-layout"]);
}

#[test]
fn a_name_in_the_store_keeps_the_layers() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("names-store");
    image(&scratch, &[&[file("a", "1")]]);
    let layers = || names(&scratch.join("store/layers")).len();
    let store = |args: &[&str]| ok(&scratch, &[args, &["--store", "store"]].concat());
    store(&["pull", "-q", "oci:image:latest"]);
    store(&["tag", "oci:image:latest", "kept"]);
    store(&["tag", "kept", "docker://alpine"]);
    store(&["tag", "kept", "docker://alpine"]);
    assert_eq!(names(&scratch.join("store/images")).len(), 3);
    store(&["rm", "oci:image:latest"]);
    // As Docker spells it in full.
    store(&["rm", "docker://docker.io/library/alpine:latest"]);
    store(&["prune"]);
    assert_eq!(layers(), 1);
    let error = refused(&scratch, &["rm", "--store", "store", "oci:image:latest"]);
    assert!(error.contains("has no image of this name") && error.contains("it has: kept"), "{error}");
    assert!(refused(&scratch, &["tag", "--store", "store", "other", "x"]).contains("it has: kept"));
    store(&["rm", "kept"]);
    assert_eq!(layers(), 1);
    store(&["prune"]);
    assert_eq!(layers(), 0);
    assert_eq!(names(&scratch.join("store/images")), [""; 0]);
    // The image in the layout has kept its name all the while.
    assert_eq!(named(&scratch).len(), 1);
}
