//! Directories in which others may put, move and mount what they like while bundles are made and removed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::skip::skip;
use crate::support::*;

/// A directory with a file in it that has to stay.
fn plant(path: &Path, owner: u32, mode: u32) {
    fs::create_dir_all(path.join("rootfs")).unwrap();
    fs::write(path.join("rootfs/canary"), "").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    chown(path, Some(owner), Some(owner)).unwrap();
}

const FOREIGN: &str = "it is there already, and not what an earlier run of this user left";

#[test]
fn a_staging_directory_of_somebody_else_is_not_emptied() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("planted");
    image(&scratch, &[&[file("a", "")]]);
    scratch.unpack();
    fs::rename(scratch.join("bundle"), scratch.join("other")).unwrap();
    // Another user's; one with the mode that ours have; our own one that no run has left; a finished bundle of ours.
    for (owner, mode) in [(1000, 0o700), (1000, 0o1700), (0, 0o755), (0, 0o700)] {
        let planted = scratch.join(".bundle.partial");
        plant(&planted, owner, mode);
        for args in [&["unpack", "oci:image", "bundle"][..], &["remove", "bundle"]] {
            if args[0] == "remove" {
                fs::rename(scratch.join("other"), scratch.join("bundle")).unwrap();
            }
            let output = scratch.run(args);
            assert!(stderr(&output).contains(FOREIGN), "{owner} {mode:o} {args:?}: {}", stderr(&output));
            assert!(planted.join("rootfs/canary").exists(), "{owner} {mode:o} {args:?}");
        }
        assert!(scratch.join("bundle/rootfs/a").exists());
        fs::rename(scratch.join("bundle"), scratch.join("other")).unwrap();
        fs::remove_dir_all(planted).unwrap();
    }
    symlink("other", scratch.join(".bundle.partial")).unwrap();
    assert!(stderr(&scratch.run(&["unpack", "oci:image", "bundle"])).contains(FOREIGN));
    assert!(scratch.join("other/rootfs/a").exists());
}

#[test]
fn a_bundle_that_somebody_else_calls_unfinished_is_not_removed() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("unfinished");
    image(&scratch, &[&[file("a", "")]]);
    let planted = scratch.join("bundle");
    plant(&planted, 1000, 0o1700);
    fs::write(planted.join(".tare-image-mounting"), "").unwrap();
    chown(planted.join(".tare-image-mounting"), Some(1000), Some(1000)).unwrap();
    let error = stderr(&scratch.run(&["unpack", "oci:image", "bundle"]));
    assert!(error.contains("it exists and is not empty"), "{error}");
    assert!(planted.join("rootfs/canary").exists());
}

#[test]
fn partial_files_of_somebody_else_are_not_written_to() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("partial-files");
    image(&scratch, &[&[file("a", "x")]]);
    fs::write(scratch.join("canary"), "canary").unwrap();
    let index: Value = serde_json::from_slice(&fs::read(scratch.join("image/index.json")).unwrap()).unwrap();
    let manifest = index["manifests"][0]["digest"].as_str().unwrap()[7..].to_owned();
    let blobs = scratch.join("copy/blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(scratch.join("copy/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    for blob in names(&scratch.join("image/blobs/sha256")) {
        if blob != manifest {
            symlink(scratch.join("canary"), blobs.join(format!("{blob}.partial"))).unwrap();
        }
    }
    for name in [".copy.tar.partial", ".copy.docker.partial"] {
        fs::hard_link(scratch.join("canary"), scratch.join(name)).unwrap();
    }
    for destination in ["oci:copy", "oci-archive:copy.tar", "docker-archive:copy.docker:a"] {
        let output = scratch.run(&["pull", "-q", "oci:image", destination]);
        assert!(stderr(&output).contains(FOREIGN), "{destination}: {}", stderr(&output));
        assert_eq!(fs::read_to_string(scratch.join("canary")).unwrap(), "canary", "{destination}");
    }
}

#[test]
fn a_store_of_somebody_else_is_not_used() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("foreign-store");
    image(&scratch, &[&[file("a", "")]]);
    for (owner, mode, reason) in [(1000, 0o700, "belongs to user 1000"), (0, 0o777, "others may write to")] {
        let store = scratch.join("store");
        // Made by us, and then somebody else's.
        assert!(scratch.run(&["pull", "--store", "store", "oci:image"]).status.success());
        fs::create_dir_all(store.join("tmp/session")).unwrap();
        fs::write(store.join("tmp/session/canary"), "").unwrap();
        fs::set_permissions(&store, fs::Permissions::from_mode(mode)).unwrap();
        chown(&store, Some(owner), Some(owner)).unwrap();
        let pull = ["pull", "--store", "store", "oci:image"];
        for args in [&pull[..], &["prune", "--store", "store"]] {
            let error = stderr(&scratch.run(args));
            assert!(error.contains(reason), "{args:?}: {error}");
        }
        assert!(store.join("tmp/session/canary").exists());
        fs::remove_dir_all(store).unwrap();
    }
}

#[test]
fn what_is_mounted_in_a_bundle_is_not_removed_with_it() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("mounted-inside");
    image(&scratch, &[&[dir("a"), dir("a/mnt")]]);
    let remove = || {
        scratch.unpack();
        fs::create_dir_all(scratch.join("canary")).unwrap();
        fs::write(scratch.join("canary/file"), "").unwrap();
        let script = "mount --bind canary bundle/rootfs/a/mnt && exec \"$0\" remove bundle";
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", script, env!("CARGO_BIN_EXE_tare-image")])
            .current_dir(scratch.path())
            .output()
            .unwrap();
        assert!(stderr(&output).contains("mounted inside the bundle"), "{}", stderr(&output));
        assert!(scratch.join("canary/file").exists());
        // What is left is taken away by the next run.
        scratch.unpack();
        let output = scratch.run(&["remove", "bundle"]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(names(scratch.path()), ["canary", "image"]);
    };
    remove();
    without_call(nix::libc::SYS_openat2, remove);
}

#[test]
fn a_bundle_that_a_container_runs_in_is_not_removed() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let Ok(busybox) = fs::read("/bin/busybox") else { return skip("needs /bin/busybox") };
    let scratch = Scratch::new("live");
    let sh = Item { data: busybox, ..file("bin/busybox", "").mode(0o755) };
    image(&scratch, &[&[dir("bin"), sh, symlink_to_busybox()]]);
    let tare = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tare"));
        command.args(["--root", "state"]).args(args).current_dir(scratch.path());
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        command.stderr(std::process::Stdio::null());
        command.status().unwrap()
    };
    let id = format!("tare-image-live-{}", std::process::id());
    for overlay in [&[][..], &["--overlay", "--store", "store"]] {
        let unpack = [&["unpack", "-q"], overlay, &["oci:image", "bundle"]];
        let output = scratch.run(&unpack.concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let config = scratch.join("bundle/config.json");
        let mut text: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
        text["process"]["terminal"] = false.into();
        text["process"]["args"] = serde_json::json!(["/bin/sleep", "1000"]);
        fs::write(&config, text.to_string()).unwrap();
        assert!(tare(&["create", "--bundle", "bundle", &id]).success());
        let refused = || {
            let output = scratch.run(&["remove", "bundle"]);
            assert!(stderr(&output).contains("a container runs in it"), "{}", stderr(&output));
            assert!(scratch.join("bundle/rootfs/bin/busybox").exists());
        };
        refused();
        assert!(tare(&["start", &id]).success());
        refused();
        assert!(tare(&["delete", "--force", &id]).success());
        let output = scratch.run(&["remove", "bundle"]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
}

fn symlink_to_busybox() -> Item {
    crate::support::symlink("bin/sleep", "busybox")
}

#[test]
fn a_bundle_whose_record_is_no_file_is_told_and_not_waited_for() {
    let scratch = Scratch::new("record");
    fs::create_dir(scratch.join("bundle")).unwrap();
    let record = scratch.join("bundle/tare-image.json");
    nix::unistd::mkfifo(&record, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = stderr(&scratch.run(&["remove", "bundle"]));
    assert_eq!(error, "tare-image: read bundle/tare-image.json: it is no regular file\n");
}
