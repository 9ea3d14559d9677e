//! `store` lists what is in a store and who uses it, and changes nothing.

use serde_json::Value;

use crate::skip::skip;
use crate::support::{Scratch, file, image, listing, names, stderr};

fn ok(scratch: &Scratch, args: &[&str]) -> String {
    let output = scratch.run(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_store_tells_what_is_in_it_and_who_uses_it() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("store-list");
    image(&scratch, &[&[file("a", &"x".repeat(1 << 20))], &[file("b", "2")]]);
    ok(&scratch, &["pull", "-q", "--store", "store", "oci:image:latest"]);
    for bundle in ["one", "two", "three"] {
        ok(&scratch, &["unpack", "-q", "--overlay", "--store", "store", "oci:image", bundle]);
    }
    ok(&scratch, &["umount", "two"]);
    ok(&scratch, &["umount", "three"]);
    std::fs::remove_dir_all(scratch.join("three")).unwrap();
    let before = listing(&scratch.join("store"));
    let list = || {
        let found: Value =
            serde_json::from_str(&ok(&scratch, &["store", "--store", "store", "--json"])).unwrap();
        found[0].clone()
    };
    let state = |found: &Value, name: &str| {
        let path = scratch.join(name).display().to_string();
        let bundles = found["bundles"].as_array().unwrap();
        bundles.iter().find(|one| one["path"] == path.as_str()).unwrap()["state"].as_str().unwrap().to_owned()
    };
    // Another test's process that begins in a mount namespace of its own has a copy of our mounts for a moment.
    let reaches = |name: &str, wanted: &str| {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while state(&list(), name) != wanted {
            assert!(std::time::Instant::now() < until, "{name} is not {wanted}: {}", list());
        }
    };
    reaches("one", "mounted");
    reaches("two", "not mounted");
    reaches("three", "gone");
    let found = list();
    let layers: Vec<&str> =
        found["layers"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(layers, names(&scratch.join("store/layers")));
    assert!(found["images"][0]["size"].as_u64().unwrap() >= 1 << 20, "{found}");
    assert_eq!(found["layers"][0]["bundles"].as_array().unwrap().len(), 3);
    let mut child = std::process::Command::new("sh");
    child
        .args(["-c", "cd one/rootfs; read x"])
        .current_dir(scratch.path())
        .stdin(std::process::Stdio::piped());
    let mut child = child.spawn().unwrap();
    reaches("one", "in use");
    let table = ok(&scratch, &["store", "--store", "store"]);
    assert!(table.contains("in use: the working directory of a process is in it"), "{table}");
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(listing(&scratch.join("store")), before);
    // One that was moved while it is mounted keeps its layers, and is not gone.
    std::fs::rename(scratch.join("one"), scratch.join("elsewhere")).unwrap();
    reaches("one", "moved");
    let output = scratch.run(&["store", "--store", "missing"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!scratch.join("missing").exists());
}

/// Unpacking takes the process's umask away, so no file of the store's own may lean on it.
#[test]
fn nobody_else_may_write_a_file_of_the_store_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("store-umask");
    image(&scratch, &[&[file("a", "1"), file("d/b", "2")], &[file("d/b", "3")]]);
    for (form, store) in [("files", "files"), ("auto", "auto")] {
        let words = format!(
            "umask 0; exec \"$IMAGE\" unpack -q --overlay={form} --store {store} oci:image {store}-bundle"
        );
        let output = scratch.by_script("sh", &words);
        assert!(output.status.success(), "{}", stderr(&output));
        let mut found = Vec::new();
        let mut waiting = vec![scratch.join(store)];
        while let Some(dir) = waiting.pop() {
            for entry in std::fs::read_dir(&dir).unwrap() {
                let entry = entry.unwrap();
                let (path, kind) = (entry.path(), entry.file_type().unwrap());
                if kind.is_dir() && !path.ends_with("fs") {
                    waiting.push(path);
                } else if kind.is_file() {
                    found.push((entry.metadata().unwrap().permissions().mode(), path));
                }
            }
        }
        assert!(found.iter().any(|(_, path)| path.ends_with("about.json")), "{found:?}");
        for (mode, path) in found {
            assert_eq!(mode & 0o022, 0, "{}: {mode:o}", path.display());
        }
    }
}
