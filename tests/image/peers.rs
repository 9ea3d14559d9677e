//! The same image unpacked by others gives the same tree, but for what they are known to do otherwise.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};

use crate::support::*;

/// The realistic image, made once; None where that cannot be.
fn realistic() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("realistic");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/image/make-image");
    let lock = fs::File::create(dir.with_extension("lock")).unwrap();
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
    let output = Command::new(script).arg(&dir).output().unwrap();
    match output.status.code() {
        Some(0) => Some(dir),
        Some(77) => {
            eprintln!("{}", stderr(&output).trim());
            None
        }
        _ => panic!("make-image: {}", stderr(&output)),
    }
}

fn ours(scratch: &Scratch, source: &str) -> Vec<String> {
    let output = scratch.run(&["unpack", source, "ours"]);
    assert!(output.status.success(), "{source}: {}", stderr(&output));
    let lines = listing(&scratch.join("ours/rootfs"));
    // The directory that the configuration asks for is no part of the image.
    fs::remove_dir_all(scratch.join("ours")).unwrap();
    lines.into_iter().filter(|line| !line.starts_with("/srv/app ")).collect()
}

/// Runs a peer; None, loudly, where it is not there.
fn peer(program: &str, args: &[&str]) -> Option<String> {
    let Ok(output) = Command::new(program).args(args).output() else {
        eprintln!("SKIP: no {program}");
        return None;
    };
    assert!(output.status.success(), "{program} {args:?}: {}", stderr(&output));
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Fails with the lines that differ, save those that `known` names.
fn same(ours: &[String], theirs: &[String], known: impl Fn(&str) -> bool) {
    let missing =
        theirs.iter().filter(|line| !ours.contains(line) && !known(line)).map(|line| format!("- {line}"));
    let extra =
        ours.iter().filter(|line| !theirs.contains(line) && !known(line)).map(|line| format!("+ {line}"));
    let all: Vec<String> = missing.chain(extra).collect();
    assert!(all.is_empty(), "{} lines differ:\n{}", all.len(), all[..all.len().min(40)].join("\n"));
}

#[test]
fn every_form_of_the_realistic_image_gives_one_tree() {
    let Some(image) = realistic() else { return };
    let scratch = Scratch::new("forms");
    let expected = ours(&scratch, &format!("oci:{}/oci:gz", image.display()));
    assert!(expected.len() > 3000);
    for form in [
        "oci:{}/oci:zst",
        "oci:{}/oci:tar",
        "oci-archive:{}/gz.oci.tar",
        "oci-archive:{}/zst.oci.tar",
        "docker-archive:{}/tar.docker.tar",
    ] {
        same(&ours(&scratch, &form.replace("{}", image.to_str().unwrap())), &expected, |_| false);
    }
}

/// A directory that no layer has an entry for: nobody says what its time is. Ours is always the same.
fn implied(line: &str) -> bool {
    line.starts_with("/usr/lib64 ")
}

#[test]
fn umoci_unpacks_the_same_tree() {
    let Some(image) = realistic() else { return };
    let scratch = Scratch::new("umoci");
    let theirs = scratch.join("theirs");
    let source = format!("{}/oci:gz", image.display());
    if peer("umoci", &["raw", "unpack", "--image", &source, theirs.to_str().unwrap()]).is_none() {
        return;
    }
    same(&ours(&scratch, &format!("oci:{source}")), &listing(&theirs), implied);
}

#[test]
fn podman_unpacks_the_same_tree() {
    let Some(image) = realistic() else { return };
    let scratch = Scratch::new("podman");
    let (root, runroot) = (scratch.join("root"), scratch.join("run"));
    let podman = |args: &[&str]| {
        let store = [
            "--root",
            root.to_str().unwrap(),
            "--runroot",
            runroot.to_str().unwrap(),
            "--storage-driver",
            "vfs",
        ];
        peer("podman", &[&store[..], args].concat())
    };
    let Some(id) = podman(&["pull", "-q", &format!("oci:{}/oci:gz", image.display())]) else { return };
    let mounted = podman(&["image", "mount", &id]).unwrap();
    let theirs = listing(Path::new(&mounted));
    podman(&["image", "umount", &id]);
    same(&ours(&scratch, &format!("oci:{}/oci:gz", image.display())), &theirs, |line| {
        // The root's own entry sets the mode, but Podman lets later writes change the time; times before 1970 it
        // cuts off, though pax headers have them. Here the archive is right, and umoci agrees with us.
        implied(line) || line.starts_with("/ ") || line.starts_with("/srv/kinds/old ")
    });
}
