//! Several processes at work in one layout, one archive or one store.

use std::process::{Child, Command, Output, Stdio};

use crate::support::*;

fn start(scratch: &Scratch, args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tare-image"));
    command.args(args).current_dir(scratch.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn all(children: Vec<Child>) -> Vec<Output> {
    children.into_iter().map(|child| child.wait_with_output().unwrap()).collect()
}

fn layered(scratch: &Scratch) {
    let layers: Vec<Vec<Item>> = (0..4)
        .map(|layer| (0..20).map(|n| file(&format!("d{n}/{layer}"), &"x".repeat(20_000))).collect())
        .collect();
    image(scratch, &layers.iter().map(Vec::as_slice).collect::<Vec<_>>());
}

#[test]
fn six_pulls_into_one_layout_succeed() {
    let scratch = Scratch::new("parallel-layout");
    layered(&scratch);
    for round in 0..15 {
        let copy = format!("oci:copy{round}:tag");
        let pulls = (0..6).map(|_| start(&scratch, &["pull", "-q", "oci:image", &copy])).collect();
        for output in all(pulls) {
            assert!(output.status.success(), "round {round}: {}", stderr(&output));
        }
        let copy = scratch.join(&format!("copy{round}"));
        assert_eq!(names(&copy), ["blobs", "index.json", "oci-layout"]);
        assert_eq!(names(&copy.join("blobs/sha256")), names(&scratch.join("image/blobs/sha256")));
        assert!(scratch.run(&["verify", &format!("oci:copy{round}:tag")]).status.success());
    }
}

#[test]
fn of_several_pulls_into_one_archive_one_makes_it() {
    let scratch = Scratch::new("parallel-archive");
    layered(&scratch);
    for round in 0..5 {
        let copy = format!("oci-archive:copy{round}.tar");
        let pulls = (0..4).map(|_| start(&scratch, &["pull", "-q", "oci:image", &copy])).collect();
        let outputs = all(pulls);
        let made = outputs.iter().filter(|output| output.status.success()).count();
        assert_eq!(made, 1, "{:?}", outputs.iter().map(stderr).collect::<Vec<_>>());
        for output in outputs.iter().filter(|output| !output.status.success()) {
            assert!(stderr(output).contains("exists"), "{}", stderr(output));
        }
        let output = scratch.run(&["verify", &copy]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(!names(scratch.path()).iter().any(|name| name.ends_with(".partial")));
    }
}

#[test]
fn everything_at_once_in_one_store_succeeds() {
    if !nix::unistd::geteuid().is_root() {
        return crate::skip::skip("needs root");
    }
    let scratch = Scratch::new("parallel-store");
    layered(&scratch);
    let unpack = |bundle: &str| {
        start(&scratch, &["unpack", "-q", "--overlay", "--store", "store", "oci:image", bundle])
    };
    // A store must be there to be pruned, however late the others begin.
    assert!(scratch.run(&["pull", "-q", "oci:image", "--store", "store"]).status.success());
    for round in 0..10 {
        let bundles: Vec<String> = (0..3).map(|n| format!("bundle{round}-{n}")).collect();
        let mut children: Vec<Child> = bundles.iter().map(|bundle| unpack(bundle)).collect();
        for args in
            [&["pull", "-q", "oci:image"][..], &["prune"], &["prune", "--all"], &["pull", "-q", "oci:image"]]
        {
            children.push(start(&scratch, &[args, &["--store", "store"]].concat()));
        }
        if round > 0 {
            for n in 0..3 {
                children.push(start(&scratch, &["remove", &format!("bundle{}-{n}", round - 1)]));
            }
        }
        for output in all(children) {
            assert!(output.status.success(), "round {round}: {}", stderr(&output));
        }
        for bundle in &bundles {
            assert_eq!(names(&scratch.join(bundle).join("rootfs/d7")), ["0", "1", "2", "3"]);
        }
    }
    assert_eq!(names(&scratch.join("store/tmp")), [""; 0]);
}
