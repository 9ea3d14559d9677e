//! Stores and layouts that are something else, or somebody else's, or that a killed run has left behind: nothing outside of
//! them is written to or removed, and nothing hangs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;

use crate::skip::skip;
use crate::support::*;

const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Runs tare-image, which must end by itself.
fn in_time(scratch: &Scratch, args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_tare-image");
    let output = Command::new("timeout")
        .args(["-s", "KILL", "20", program])
        .args(args)
        .current_dir(scratch.path())
        .output()
        .unwrap();
    assert_ne!(output.status.signal(), Some(9), "{args:?}: hangs: {}", stderr(&output));
    assert_ne!(output.status.code(), Some(137), "{args:?}: hangs: {}", stderr(&output));
    output
}

fn succeeds(scratch: &Scratch, args: &[&str]) {
    let output = in_time(scratch, args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
}

fn fails(scratch: &Scratch, args: &[&str], words: &str) {
    let output = in_time(scratch, args);
    assert!(!output.status.success() && stderr(&output).contains(words), "{args:?}: {}", stderr(&output));
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn a_directory_with_other_things_in_it_is_no_store() {
    let scratch = Scratch::new("no-store");
    image(&scratch, &[&[file("a", "")]]);
    let layer = format!("sha256-{HEX}");
    for (name, things) in [
        ("project", &["tmp/build/object", "layers/photos/1.jpg", "notes"][..]),
        ("layers-only", &["layers/photos/1.jpg"]),
        ("tmp-only", &["tmp/1-2/canary"]),
        ("all-but-one", &["layers/x", "tmp/1-2/c", "bundles/notes"]),
        ("all-with-more", &["layers/photos/1.jpg", "tmp/1-2/canary", "bundles/b", "images/i"]),
        ("with-a-note", &[&format!("layers/{layer}/fs/a"), "tmp/1-2/c", "bundles/b", "images/i", "note"]),
    ] {
        things.iter().for_each(|thing| write(&scratch.join(name).join(thing), "canary"));
        fs::create_dir_all(scratch.join(name).join("layers")).unwrap();
        let before = listing(&scratch.join(name));
        for args in [
            &["prune", "--store", name][..],
            &["prune", "--all", "--store", name],
            &["pull", "--store", name, "oci:image"],
            &["unpack", "--overlay", "--store", name, "oci:image", "bundle"],
        ] {
            fails(&scratch, args, "is not empty, and no store of tare-image");
            assert_eq!(listing(&scratch.join(name)), before, "{name}: {args:?}");
        }
    }
    assert!(!scratch.join("bundle").exists());
}

#[test]
fn a_store_is_made_where_nothing_is_and_one_of_before_is_taken_over() {
    let scratch = Scratch::new("old-store");
    image(&scratch, &[&[file("a", "")]]);
    fs::create_dir_all(scratch.join("mounted/lost+found")).unwrap();
    fs::set_permissions(scratch.join("mounted"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(scratch.join("empty")).unwrap();
    for store in ["new/below", "empty", "mounted"] {
        succeeds(&scratch, &["pull", "--store", store, "oci:image"]);
        assert!(scratch.join(store).join("tare-image-store").is_file(), "{store}");
        assert_eq!(names(&scratch.join(store).join("layers")).len(), 1, "{store}");
    }
    fs::remove_file(scratch.join("empty/tare-image-store")).unwrap();
    // A run of before, killed: it had a session, and was writing a record.
    write(&scratch.join("empty/tmp/1-2/canary"), "");
    write(&scratch.join(&format!("empty/bundles/{HEX}.tare-1-0")), "{");
    succeeds(&scratch, &["prune", "--all", "--store", "empty"]);
    for dir in ["layers", "tmp", "bundles", "images"] {
        assert_eq!(names(&scratch.join("empty").join(dir)), [""; 0], "{dir}");
    }
    assert!(scratch.join("empty/tare-image-store").is_file());
}

#[test]
fn links_in_a_store_are_not_followed() {
    let scratch = Scratch::new("store-links");
    image(&scratch, &[&[file("a", "")]]);
    let layer = format!("sha256-{HEX}");
    for part in ["layers", "tmp", "bundles", "images"] {
        let store = format!("store-{part}");
        succeeds(&scratch, &["pull", "--store", &store, "oci:image"]);
        // Elsewhere has what would be removed in a store.
        let elsewhere = scratch.join(&format!("elsewhere-{part}"));
        write(&elsewhere.join(&layer).join("canary"), "");
        write(&elsewhere.join("1-2/canary"), "");
        write(&elsewhere.join(format!("{HEX}.partial")), "");
        fs::remove_dir_all(scratch.join(&store).join(part)).unwrap();
        symlink(&elsewhere, scratch.join(&store).join(part)).unwrap();
        let before = listing(&elsewhere);
        for args in [&["prune", "--all", "--store", &store][..], &["pull", "--store", &store, "oci:image"]] {
            fails(&scratch, args, "it is a symlink, and is not followed");
            assert_eq!(listing(&elsewhere), before, "{part}: {args:?}");
        }
    }
    // A link to a store is as good as the store, if it is ours.
    succeeds(&scratch, &["pull", "--store", "store", "oci:image"]);
    symlink("store", scratch.join("link")).unwrap();
    succeeds(&scratch, &["prune", "--store", "link"]);
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::lchown(scratch.join("link"), Some(1000), Some(1000)).unwrap();
        for name in ["link", "link/", "link/."] {
            fails(&scratch, &["prune", "--all", "--store", name], "is a symlink of user 1000");
        }
        assert_eq!(names(&scratch.join("store/layers")).len(), 1);
    }
}

#[test]
fn what_is_strange_in_a_store_is_left_and_not_waited_for() {
    let scratch = Scratch::new("strange");
    image(&scratch, &[&[file("a", "")]]);
    succeeds(&scratch, &["pull", "--store", "store", "oci:image"]);
    let kept =
        ["tmp/fifo", "tmp/1-2", "tmp/notes/canary", "layers/photos/1.jpg", "layers/fifo", "bundles/fifo"];
    for name in kept {
        let path = scratch.join("store").join(name);
        match name.ends_with("fifo") || name == "tmp/1-2" {
            true => mkfifo(&path, Mode::S_IRWXU).unwrap(),
            false => write(&path, ""),
        }
    }
    write(&scratch.join("elsewhere/canary"), "");
    symlink("../../elsewhere", scratch.join("store/tmp/3-4")).unwrap();
    mkfifo(&scratch.join(&format!("store/images/{HEX}.partial")), Mode::S_IRWXU).unwrap();
    // What is ours, and of no living process.
    write(&scratch.join("store/tmp/5-6/canary"), "");
    write(&scratch.join(&format!("store/tmp/sha256-{HEX}/fs/a")), "");
    write(&scratch.join(&format!("store/images/{}.partial", HEX.replace('0', "f"))), "");
    succeeds(&scratch, &["prune", "--all", "--store", "store"]);
    kept.iter().for_each(|name| assert!(scratch.join("store").join(name).exists(), "{name}"));
    assert!(scratch.join("elsewhere/canary").exists());
    assert_eq!(names(&scratch.join("store/tmp")), ["1-2", "3-4", "fifo", "notes"]);
    assert_eq!(names(&scratch.join("store/layers")), ["fifo", "photos"]);
    assert_eq!(names(&scratch.join("store/images")), [format!("{HEX}.partial")]);
    // The places of the store's own files: nothing is waited for, and nothing pruned that may be needed.
    succeeds(&scratch, &["pull", "--store", "store", "oci:image"]);
    for name in [&format!("images/{HEX}"), "lock"] {
        let path = scratch.join("store").join(name);
        let _ = fs::remove_file(&path);
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        fails(&scratch, &["prune", "--store", "store"], "not a regular file");
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(names(&scratch.join("store/layers")).len(), 3);
}

/// An image in `image`, and an empty layout of user 1000 in `theirs`, which `change` prepares.
fn into_theirs(name: &str, change: impl FnOnce(&Path)) -> Scratch {
    let scratch = Scratch::new(name);
    image(&scratch, &[&[file("a", "x")], &[file("b", "y")]]);
    fs::create_dir_all(scratch.join("elsewhere")).unwrap();
    write(&scratch.join("theirs/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
    change(&scratch.join("theirs"));
    fs::set_permissions(scratch.join("theirs"), fs::Permissions::from_mode(0o755)).unwrap();
    if nix::unistd::geteuid().is_root() {
        chown(scratch.join("theirs"), Some(1000), Some(1000)).unwrap();
    }
    scratch
}

#[test]
fn links_in_a_layout_are_not_followed_when_it_is_written_to() {
    const LINK: &str = "it is a symlink, and is not followed";
    type Link = (&'static str, &'static str, fn(&Path));
    let all: [Link; 3] = [
        ("blobs", LINK, |theirs| symlink("../elsewhere", theirs.join("blobs")).unwrap()),
        ("sha256", LINK, |theirs| {
            fs::create_dir(theirs.join("blobs")).unwrap();
            symlink("../../elsewhere", theirs.join("blobs/sha256")).unwrap();
        }),
        ("index", LINK, |theirs| {
            fs::write(theirs.join("../elsewhere/index.json"), "{\"schemaVersion\":2,\"manifests\":[]}")
                .unwrap();
            symlink("../elsewhere/index.json", theirs.join("index.json")).unwrap();
        }),
    ];
    for (name, words, change) in all {
        let scratch = into_theirs(&format!("layout-{name}"), change);
        let before = listing(&scratch.join("elsewhere"));
        fails(&scratch, &["pull", "oci:image", "oci:theirs:tag"], words);
        assert_eq!(listing(&scratch.join("elsewhere")), before, "{name}");
    }
    // A blob that is a link is replaced by the blob.
    let scratch = into_theirs("layout-blob", |theirs| {
        let blobs = theirs.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        for name in names(&theirs.join("../image/blobs/sha256")) {
            symlink(Path::new("../../../elsewhere").join(&name), blobs.join(name)).unwrap();
        }
    });
    succeeds(&scratch, &["pull", "oci:image", "oci:theirs:tag"]);
    assert_eq!(names(&scratch.join("elsewhere")), [""; 0]);
    succeeds(&scratch, &["verify", "oci:theirs:tag"]);
}

#[test]
fn pipes_and_devices_in_a_layout_are_not_waited_for() {
    let scratch = Scratch::new("layout-fifo");
    image(&scratch, &[&[file("a", "x")]]);
    succeeds(&scratch, &["pull", "oci:image", "oci:good:tag"]);
    let fifo = |path: &Path| mkfifo(path, Mode::S_IRWXU).unwrap();
    let zero = |path: &Path| symlink("/dev/zero", path).unwrap();
    // To stat(2) a regular and empty file; to read(2) hundreds of gigabytes.
    let pagemap = |path: &Path| symlink("/proc/self/pagemap", path).unwrap();
    for (number, make) in [&fifo as &dyn Fn(&Path), &zero, &pagemap].into_iter().enumerate() {
        for name in ["oci-layout", "index.json"] {
            let path = scratch.join("good").join(name);
            let kept = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            make(&path);
            for args in
                [&["list", "oci:good"][..], &["verify", "oci:good"], &["pull", "oci:image", "oci:good:b"]]
            {
                let output = in_time(&scratch, args);
                assert!(!output.status.success(), "{number} {name} {args:?}");
            }
            fs::remove_file(&path).unwrap();
            fs::write(&path, kept).unwrap();
        }
        for name in names(&scratch.join("image/blobs/sha256")) {
            let path = scratch.join("good/blobs/sha256").join(name);
            fs::remove_file(&path).unwrap();
            make(&path);
        }
        assert!(!in_time(&scratch, &["verify", "oci:good:tag"]).status.success());
        make(&scratch.join("file"));
        for source in ["oci:file", "oci-archive:file", "docker-archive:file"] {
            assert!(!in_time(&scratch, &["inspect", source]).status.success(), "{number} {source}");
        }
        fs::remove_file(scratch.join("file")).unwrap();
        // Written anew in their place.
        succeeds(&scratch, &["pull", "oci:image", "oci:good:tag"]);
        succeeds(&scratch, &["verify", "oci:good:tag"]);
    }
}

fn blobs(layout: &Path) -> Vec<PathBuf> {
    let dir = layout.join("blobs/sha256");
    names(&dir).into_iter().map(|name| dir.join(name)).collect()
}

#[test]
fn a_blob_with_wrong_content_is_not_published() {
    let scratch = Scratch::new("wrong-blob");
    image(&scratch, &[&[file("a", "x")], &[file("b", "y")]]);
    succeeds(&scratch, &["pull", "oci:image", "oci:copy:tag"]);
    for blob in blobs(&scratch.join("copy")) {
        let size = fs::metadata(&blob).unwrap().len();
        // As a crash leaves it, and as a partial blob of a crash.
        fs::write(&blob, vec![0; usize::try_from(size).unwrap()]).unwrap();
        fs::write(format!("{}.partial", blob.display()), "00").unwrap();
        let output = in_time(&scratch, &["pull", "oci:image", "oci:copy:tag"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let told = stderr(&output).matches("its content is wrong, and is replaced").count();
        assert_eq!(told, 1, "{}", stderr(&output));
        succeeds(&scratch, &["verify", "oci:copy:tag"]);
    }
    assert_eq!(blobs(&scratch.join("copy")).len(), blobs(&scratch.join("image")).len());
}

#[test]
fn what_is_there_already_is_not_written_over() {
    let scratch = Scratch::new("there-already");
    image(&scratch, &[&[file("a", "x")]]);
    write(&scratch.join("directory/notes"), "canary");
    write(&scratch.join("file"), "canary");
    let before = listing(scratch.path());
    fails(&scratch, &["pull", "oci:image", "oci:directory:tag"], "is not empty, and no image layout");
    for form in ["oci-archive", "docker-archive"] {
        fails(&scratch, &["pull", "oci:image", &format!("{form}:file:tag")], "file exists");
    }
    assert_eq!(listing(scratch.path()).len(), before.len());
    assert_eq!(fs::read_to_string(scratch.join("file")).unwrap(), "canary");
}

#[test]
fn what_a_killed_run_left_is_taken_away_by_the_next() {
    let scratch = Scratch::new("leftovers");
    image(&scratch, &[&[file("a", "x")]]);
    succeeds(&scratch, &["pull", "oci:image", "oci:copy:tag"]);
    let copy = scratch.join("copy");
    let before = listing(&copy).len();
    for name in ["index.tare-12-0", "oci-layout.tare-12-3", "index.json.partial"] {
        write(&copy.join(name), "{");
        write(&copy.join(format!("blobs/sha256/{HEX}.tare-12-0")), "");
        succeeds(&scratch, &["pull", "oci:image", "oci:copy:tag"]);
        assert_eq!(listing(&copy).len(), before, "{name}: {:?}", names(&copy));
    }
    if !nix::unistd::geteuid().is_root() {
        return skip("the rest needs root");
    }
    // Of another user, of a living process, of another name.
    for name in ["index.tare-12-0", "index.tare-13-0", "index.tare-notes", "index.old"] {
        write(&copy.join(name), "");
    }
    chown(copy.join("index.tare-12-0"), Some(1000), Some(1000)).unwrap();
    let living = fs::File::open(copy.join("index.tare-13-0")).unwrap();
    let lock = nix::fcntl::Flock::lock(living, nix::fcntl::FlockArg::LockExclusive).unwrap();
    succeeds(&scratch, &["pull", "oci:image", "oci:copy:tag"]);
    assert_eq!(listing(&copy).len(), before + 4, "{:?}", names(&copy));
    drop(lock);
}

/// Everything in the scratch directory, with partial files.
fn everything(scratch: &Scratch) -> Vec<String> {
    let mut all = Vec::new();
    let mut dirs = vec![scratch.path().to_owned()];
    while let Some(dir) = dirs.pop() {
        for name in names(&dir) {
            let path = dir.join(name);
            all.push(path.strip_prefix(scratch.path()).unwrap().display().to_string());
            if path.is_dir() {
                dirs.push(path);
            }
        }
    }
    all.sort();
    all
}

#[test]
fn a_kill_at_any_moment_of_a_pull_leaves_nothing_to_the_next() {
    let scratch = Scratch::new("kill-pull");
    let text = |seed: usize| (0..60_000).map(|at| (at * seed % 9973).to_string()).collect::<String>();
    let layers: Vec<_> = (1..4).map(|seed| vec![file(&format!("f{seed}"), &text(seed))]).collect();
    image(&scratch, &layers.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let rounds = std::env::var("TARE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(24);
    for args in [
        &["pull", "-q", "oci:image", "oci:out:tag"][..],
        &["pull", "-q", "oci:image", "oci-archive:out:tag"],
        &["pull", "-q", "oci:image", "docker-archive:out:tag"],
        &["pull", "-q", "--store", "out", "oci:image"],
    ] {
        let began = Instant::now();
        succeeds(&scratch, args);
        let whole = began.elapsed();
        let clear = || {
            let out = scratch.join("out");
            let _ = if out.is_dir() { fs::remove_dir_all(out) } else { fs::remove_file(out) };
        };
        let expected = everything(&scratch);
        for round in 0..rounds {
            clear();
            let mut child = Command::new(env!("CARGO_BIN_EXE_tare-image"))
                .args(args)
                .current_dir(scratch.path())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(whole * round / rounds + Duration::from_micros(u64::from(round * 37)));
            child.kill().unwrap();
            child.wait().unwrap();
            let output = in_time(&scratch, args);
            // An archive is whole, or not there at all.
            assert!(output.status.success() || stderr(&output).contains("out exists"), "{}", stderr(&output));
            assert_eq!(everything(&scratch), expected, "{args:?}, round {round}");
            if let Some(name) = args.iter().find(|arg| arg.contains(":out")) {
                succeeds(&scratch, &["verify", name.trim_end_matches(":tag")]);
            }
        }
        clear();
    }
    let index: Value = serde_json::from_slice(&fs::read(scratch.join("image/index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
}
