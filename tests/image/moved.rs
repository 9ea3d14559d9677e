//! Stores and bundles that somebody moves while they are used.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::credentials::{Listener, Served, path_of};
use crate::skip::skip;
use crate::support::*;

const MOUNT: [&str; 4] = ["--overlay", "-q", "--store", "store"];

fn ok(scratch: &Scratch, args: &[&str]) -> String {
    let output = scratch.run(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn shared(scratch: &Scratch, bundle: &str) {
    ok(scratch, &[&["unpack"], &MOUNT[..], &["oci:image", bundle]].concat());
}

fn layers(scratch: &Scratch) -> usize {
    names(&scratch.join("store/layers")).len()
}

fn mounts(path: &Path) -> usize {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    text.lines().filter(|line| line.split(' ').nth(4) == path.to_str()).count()
}

/// Moves the store away, as the owner of the directory above may, and puts in its place what leads to the canary.
fn exchange(base: &Path) {
    let real = base.join("real");
    if real.exists() {
        return;
    }
    let session: PathBuf =
        fs::read_dir(base.join("store/tmp")).unwrap().next().unwrap().unwrap().file_name().into();
    fs::rename(base.join("store"), real).unwrap();
    fs::create_dir_all(base.join("store/tmp")).unwrap();
    symlink(base.join("canary"), base.join("store/tmp").join(session)).unwrap();
    symlink(base.join("canary"), base.join("store/layers")).unwrap();
}

#[test]
fn a_store_that_is_moved_away_is_written_to_where_it_is() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    for verb in ["pull", "unpack"] {
        let scratch = Scratch::new("moved-store");
        let served = Arc::new(Served::new(&scratch));
        fs::create_dir_all(scratch.join("canary/0/fs")).unwrap();
        fs::write(scratch.join("canary/0/about.json"), "canary").unwrap();
        fs::write(scratch.join("canary/0/fs/file"), "").unwrap();
        let before = listing(&scratch.join("canary"));
        let base = scratch.path().to_owned();
        let registry = Listener::start(move |request| {
            if path_of(request).contains("/blobs/") && base.join("store/tmp").exists() {
                exchange(&base);
            }
            served.reply(&path_of(request))
        });
        let name = format!("docker://127.0.0.1:{}/test:v1", registry.port);
        let plain = ["--tls-verify=false", "--store", "store", "-q"];
        let output = match verb {
            "pull" => scratch.run(&[&["pull"], &plain[..], &[&name]].concat()),
            _ => scratch.run(&[&["unpack", "--overlay"], &plain[..], &[&name, "bundle"]].concat()),
        };
        assert!(scratch.join("real").exists(), "{verb}: the store was never moved");
        assert_eq!(listing(&scratch.join("canary")), before, "{verb}: {}", stderr(&output));
        let kept = names(&scratch.join("real/layers"));
        assert_eq!(kept.len(), 1, "{verb}: {}", stderr(&output));
        let is_there = |name: &str| scratch.join("real/layers").join(&kept[0]).join(name).exists();
        assert!(is_there("fs/a") || is_there("layer.erofs"), "{verb}");
        assert!(scratch.join("real/layers").join(&kept[0]).join("about.json").exists(), "{verb}");
        assert_eq!(names(&scratch.join("real/tmp")), [""; 0], "{verb}");
    }
}

#[test]
fn a_bundle_that_is_moved_keeps_its_layers() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("moved-bundle");
    image(&scratch, &[&[dir("d"), file("d/a", "1")]]);
    fs::create_dir(scratch.join("above")).unwrap();
    let prune = ["prune", "--store", "store"];
    // With what is mounted: its container may run.
    shared(&scratch, "above/bundle");
    fs::rename(scratch.join("above"), scratch.join("elsewhere")).unwrap();
    assert_eq!(ok(&scratch, &prune), "");
    assert!(scratch.join("elsewhere/bundle/rootfs/d/a").exists());
    ok(&scratch, &["umount", "elsewhere/bundle"]);
    // Mounted where it is now: it is known there, and a restart of the machine changes nothing in that.
    ok(&scratch, &["mount", "elsewhere/bundle"]);
    ok(&scratch, &["umount", "elsewhere/bundle"]);
    assert_eq!(ok(&scratch, &prune), "");
    ok(&scratch, &["mount", "elsewhere/bundle"]);
    assert!(scratch.join("elsewhere/bundle/rootfs/d/a").exists());
    // In a mount namespace of its own, and nowhere else.
    ok(&scratch, &["umount", "elsewhere/bundle"]);
    let script = "$IMAGE mount elsewhere/bundle && mv elsewhere again && $IMAGE prune --store store && cat again/bundle/rootfs/d/a";
    let output = scratch.by_script("sh", script);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1", "{}", stderr(&output));
    ok(&scratch, &["remove", "again/bundle"]);
    assert_eq!(ok(&scratch, &prune).lines().count(), 1);
}

#[test]
fn a_dry_run_forgets_no_bundle() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("dry-run");
    image(&scratch, &[&[file("a", "1")]]);
    shared(&scratch, "bundle");
    ok(&scratch, &["umount", "bundle"]);
    // As on a disk that is not there for the moment.
    fs::rename(scratch.join("bundle"), scratch.join("away")).unwrap();
    assert_eq!(ok(&scratch, &["prune", "--dry-run", "--store", "store"]).lines().count(), 1);
    fs::rename(scratch.join("away"), scratch.join("bundle")).unwrap();
    assert_eq!(ok(&scratch, &["prune", "--store", "store"]), "");
    assert_eq!(layers(&scratch), 1);
}

#[test]
fn a_record_that_a_crash_has_torn_is_told_with_what_to_do() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("torn-record");
    image(&scratch, &[&[file("a", "1")]]);
    shared(&scratch, "bundle");
    let records = scratch.join("store/bundles");
    fs::write(records.join(&names(&records)[0]), "").unwrap();
    let error = stderr(&scratch.run(&["prune", "--store", "store"]));
    assert!(
        error.contains(&names(&records)[0]) && error.contains("hint: a crash may have left it"),
        "{error}"
    );
    assert!(scratch.join("bundle/rootfs/a").exists() && layers(&scratch) == 1);
}

#[test]
fn several_mounts_of_a_bundle_at_once_are_one() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("mounts");
    image(&scratch, &[&[file("a", "1")]]);
    shared(&scratch, "bundle");
    let all = |verb: &str| {
        let start = || {
            Command::new(env!("CARGO_BIN_EXE_tare-image"))
                .args([verb, "bundle"])
                .current_dir(scratch.path())
                .spawn()
                .unwrap()
        };
        let children: Vec<_> = (0..6).map(|_| start()).collect();
        assert!(children.into_iter().all(|mut child| child.wait().unwrap().success()), "{verb}");
    };
    let place = scratch.join("bundle/rootfs");
    for round in 0..10 {
        all("umount");
        assert_eq!(mounts(&place), 0, "round {round}");
        all("mount");
        assert_eq!(mounts(&place), 1, "round {round}");
    }
}

/// The names in the bundle that begin with a dot.
fn hidden(scratch: &Scratch) -> Vec<String> {
    names(&scratch.join("bundle")).into_iter().filter(|name| name.starts_with('.')).collect()
}

#[test]
fn a_look_at_the_layers_makes_nothing_in_the_bundle() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("no-scratch");
    image(&scratch, &[&[dir("d"), file("d/a", "1")], &[file("b", "2")]]);
    for form in ["--overlay=files", "--overlay"] {
        ok(&scratch, &["unpack", "-q", form, "--store", "store", "oci:image", "bundle"]);
        look_at_layers(&scratch, form);
        ok(&scratch, &["remove", "bundle"]);
        fs::remove_dir_all(scratch.join("store")).unwrap();
    }
}

fn look_at_layers(scratch: &Scratch, form: &str) {
    fs::write(scratch.join("bundle/rootfs/d/a"), "changed").unwrap();
    let expected = ok(scratch, &["diff", "bundle"]);
    assert!(expected.contains("/d/a"), "{expected}");
    // In a directory that nothing can be made in; with the old way to mount too.
    let chattr = |flag: &str| {
        let status = Command::new("mount")
            .args(["-o", flag, "--bind", "bundle", "bundle"])
            .current_dir(scratch.path())
            .status();
        assert!(status.unwrap().success());
    };
    let read_only = |run: &dyn Fn() -> std::process::Output| {
        chattr("ro");
        let output = run();
        nix::mount::umount2(&scratch.join("bundle"), nix::mount::MntFlags::MNT_DETACH).unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        assert_eq!(hidden(scratch), [""; 0]);
    };
    read_only(&|| scratch.run(&["diff", "bundle"]));
    if form != "--overlay=files" {
        return;
    }
    read_only(&|| without_call(nix::libc::SYS_fsopen, || scratch.run(&["diff", "bundle"])));
}

#[test]
fn an_archive_that_appears_meanwhile_is_not_replaced() {
    for form in ["oci-archive", "docker-archive"] {
        let scratch = Scratch::new("appears");
        let served = Arc::new(Served::new(&scratch));
        let base = scratch.path().to_owned();
        let registry = Listener::start(move |request| {
            if base.join(".copy.tar.partial").exists() {
                fs::write(base.join("copy.tar"), "mine").unwrap();
            }
            served.reply(&path_of(request))
        });
        let name = format!("docker://127.0.0.1:{}/test:v1", registry.port);
        let output =
            scratch.run(&["pull", "-q", "--tls-verify=false", &name, &format!("{form}:copy.tar:x:t")]);
        assert!(stderr(&output).contains("copy.tar exists"), "{form}: {}", stderr(&output));
        assert_eq!(fs::read_to_string(scratch.join("copy.tar")).unwrap(), "mine");
        assert_eq!(names(scratch.path()), ["copy.tar", "image"], "{form}");
    }
}
