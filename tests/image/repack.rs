//! `tare-image diff` and `repack`: the changes of a bundle are listed, and become an image that other engines load.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::fcntl::{Flock, FlockArg};
use serde_json::{Value, json};

use crate::skip::skip;
use crate::support::*;

fn ok(scratch: &Scratch, args: &[&str]) -> String {
    let output = scratch.run(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// An image with a file of every type, in two layers.
fn rich(scratch: &Scratch) {
    let below = [
        dir("./"),
        dir("d"),
        dir("d/sub"),
        file("d/one", "1"),
        file("d/two", "2"),
        file("d/sub/deep", "deep"),
        dir("gone"),
        dir("gone/below"),
        file("gone/below/file", "x"),
        file("hard", "linked"),
        hard_link("hard2", "hard"),
        file("becomes-dir", "x"),
        dir("becomes-file"),
        file("becomes-file/inside", "x"),
        symlink_("link", "d"),
        file("same", "same"),
        file("mode", "mode"),
        dir("tmp").mode(0o1777),
        dir("emptied"),
        file("emptied/a", "a"),
        file("emptied/b", "b"),
        dir("emptied/c"),
        file("emptied/c/d", "d"),
    ];
    let above = [file("top", "top"), dir("d"), file("d/.wh.two", ""), file("d/three", "3")];
    image(scratch, &[&below, &above]);
}

fn symlink_(name: &str, target: &str) -> Item {
    crate::support::symlink(name, target)
}

fn set(path: &Path, name: &std::ffi::CStr, value: &[u8]) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    tare::sys::xattr::lsetxattr(&path, name, value).unwrap();
}

fn node(path: &Path, kind: nix::sys::stat::SFlag, device: (u64, u64)) {
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o640);
    nix::sys::stat::mknod(path, kind, mode, nix::sys::stat::makedev(device.0, device.1)).unwrap();
}

/// Makes a change of every kind in the tree.
fn change(root: &Path) {
    use nix::sys::stat::SFlag;
    fs::write(root.join("d/one"), "changed").unwrap();
    fs::write(root.join("d/sub/new"), "new").unwrap();
    fs::remove_dir_all(root.join("gone")).unwrap();
    fs::remove_file(root.join("becomes-dir")).unwrap();
    fs::create_dir_all(root.join("becomes-dir/inside")).unwrap();
    fs::write(root.join("becomes-dir/inside/file"), "x").unwrap();
    fs::remove_dir_all(root.join("becomes-file")).unwrap();
    fs::write(root.join("becomes-file"), "now a file").unwrap();
    fs::remove_file(root.join("link")).unwrap();
    symlink("/nowhere", root.join("link")).unwrap();
    fs::set_permissions(root.join("mode"), fs::Permissions::from_mode(0o4711)).unwrap();
    // An opaque directory, to an overlay.
    fs::remove_dir_all(root.join("emptied")).unwrap();
    fs::create_dir_all(root.join("emptied/c")).unwrap();
    fs::write(root.join("emptied/a"), "again").unwrap();
    fs::write(root.join("emptied/c/e"), "e").unwrap();
    // New things.
    let new = root.join("new");
    fs::create_dir(&new).unwrap();
    fs::write(new.join("a"), "a").unwrap();
    fs::hard_link(new.join("a"), new.join("b")).unwrap();
    fs::write(new.join("owned"), "owned").unwrap();
    std::os::unix::fs::chown(new.join("owned"), Some(3_000_000_000), Some(2)).unwrap();
    fs::set_permissions(new.join("owned"), fs::Permissions::from_mode(0o2750)).unwrap();
    set(&new.join("a"), c"user.test", b"value\n=\0");
    // cap_net_raw+ep, version 2
    set(
        &new.join("owned"),
        c"security.capability",
        &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    node(&new.join("null"), SFlag::S_IFCHR, (1, 3));
    node(&new.join("loop"), SFlag::S_IFBLK, (7, 300));
    node(&new.join("fifo"), SFlag::S_IFIFO, (0, 0));
    symlink("x".repeat(300), new.join("long-link")).unwrap();
    fs::write(new.join(std::ffi::OsString::from_vec(b"bad\xff\xfe\nname\\".to_vec())), "x").unwrap();
    let long = new.join("n".repeat(200)).join("m".repeat(200));
    fs::create_dir_all(&long).unwrap();
    fs::write(long.join("file"), "deep").unwrap();
    let sparse = fs::File::create(new.join("sparse")).unwrap();
    sparse.set_len(4 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"middle", 2 << 20).unwrap();
    let old = std::time::UNIX_EPOCH - std::time::Duration::from_millis(1500);
    fs::File::open(new.join("a")).unwrap().set_modified(old).unwrap();
    fs::write(root.join("tmp/x"), "").unwrap();
}

const FORMS: [&[&str]; 2] = [&[], &["--overlay", "--store", "store"]];

fn unpack(scratch: &Scratch, source: &str, bundle: &str, form: &[&str]) -> PathBuf {
    ok(scratch, &[&["unpack", "-q", source, bundle], form].concat());
    scratch.join(bundle).join("rootfs")
}

#[test]
fn nothing_has_changed_after_unpacking() {
    for form in FORMS {
        let scratch = Scratch::new(&format!("unchanged-{}", form.len()));
        let mut fixture = Fixture::new(&scratch);
        fixture.config = json!({ "WorkingDir": "/work/here" });
        fixture.layer(Packing::Gzip, &archive(&[file("a", "1"), dir("w"), file("w/x", "")])).finish();
        unpack(&scratch, "oci:image", "bundle", form);
        assert_eq!(ok(&scratch, &["diff", "bundle"]), "", "{form:?}");
        let digest = ok(&scratch, &["repack", "-q", "bundle", "oci:out:same"]);
        assert_eq!(digest, "");
        assert_eq!(
            ok(&scratch, &["inspect", "--raw", "oci:out:same"]),
            ok(&scratch, &["inspect", "--raw", "oci:image"])
        );
    }
}

#[test]
fn changes_are_listed() {
    for form in FORMS {
        let scratch = Scratch::new(&format!("list-{}", form.len()));
        rich(&scratch);
        let root = unpack(&scratch, "oci:image", "bundle", form);
        fs::write(root.join("d/one"), "changed").unwrap();
        fs::remove_dir_all(root.join("gone")).unwrap();
        fs::remove_dir_all(root.join("emptied")).unwrap();
        fs::create_dir(root.join("emptied")).unwrap();
        fs::write(root.join("emptied/a"), "again").unwrap();
        fs::remove_dir_all(root.join("becomes-file")).unwrap();
        fs::write(root.join("becomes-file"), "now a file").unwrap();
        fs::write(root.join("new\nname"), "").unwrap();
        let expected = [
            "C /",
            "C /becomes-file",
            "C /d/one",
            "C /emptied",
            "C /emptied/a",
            "D /emptied/b",
            "D /emptied/c",
            "D /gone",
            "A /new\\nname",
        ];
        let found = ok(&scratch, &["diff", "bundle"]);
        assert_eq!(found.lines().collect::<Vec<_>>(), expected, "{form:?}");
        let json = ok(&scratch, &["diff", "--json", "bundle"]);
        let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[8], json!({ "kind": "added", "path": "/new\\nname" }));
        assert_eq!(lines.len(), expected.len());
        let masks = ["--mask", "/emptied/", "--mask", "d/one", "--mask", "/new"];
        let found = ok(&scratch, &[&["diff", "bundle"], &masks[..]].concat());
        assert_eq!(found, "C /\nC /becomes-file\nD /gone\nA /new\\nname\n");
        ok(&scratch, &[&["repack", "-q", "bundle", "oci:masked:x"], &masks[..]].concat());
        let again = unpack(&scratch, "oci:masked:x", "masked-bundle", &[]);
        assert_eq!(names(&again.join("emptied")), ["a", "b", "c"]);
        assert!(!names(&again).contains(&"gone".to_owned()));
    }
}

#[test]
fn an_overlay_copies_up_what_it_does_not_change() {
    let scratch = Scratch::new("copied-up");
    rich(&scratch);
    let root = unpack(&scratch, "oci:image", "bundle", FORMS[1]);
    for name in ["same", "d/sub/deep"] {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    assert!(scratch.join("bundle/upper/d/sub/deep").exists());
    assert_eq!(ok(&scratch, &["diff", "bundle"]), "");
}

#[test]
fn a_changed_bundle_becomes_an_image_with_the_same_tree() {
    let mut trees = Vec::new();
    for form in FORMS {
        let scratch = Scratch::new(&format!("repack-{}", form.len()));
        rich(&scratch);
        let root = unpack(&scratch, "oci:image", "bundle", form);
        change(&root);
        let expected = listing(&root);
        for (number, compress) in ["gzip", "zstd", "none"].into_iter().enumerate() {
            let to = format!("oci:out:{compress}");
            ok(&scratch, &["repack", "-q", "--compress", compress, "bundle", &to]);
            ok(&scratch, &["verify", &to]);
            let again = unpack(&scratch, &to, &format!("own-{number}"), &[]);
            assert_eq!(listing(&again), expected, "{form:?} {compress}");
            let again = unpack(&scratch, &to, &format!("over-{number}"), FORMS[1]);
            assert_eq!(listing(&again), expected, "{form:?} {compress}");
        }
        trees.push(expected.len());
    }
    assert_eq!(trees[0], trees[1]);
}

#[test]
fn the_layer_has_what_changed_and_the_directories_on_the_way() {
    for form in FORMS {
        let scratch = Scratch::new(&format!("content-{}", form.len()));
        rich(&scratch);
        let root = unpack(&scratch, "oci:image", "bundle", form);
        fs::write(root.join("d/sub/deep"), "changed").unwrap();
        fs::remove_file(root.join("d/three")).unwrap();
        ok(&scratch, &["repack", "-q", "--compress", "none", "bundle", "oci:out:new"]);
        let about: Value = serde_json::from_str(&ok(&scratch, &["inspect", "oci:out:new"])).unwrap();
        let layers = about["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 3);
        let digest = layers[2]["digest"].as_str().unwrap().replace(':', "/");
        let bytes = fs::read(scratch.join("out/blobs").join(digest)).unwrap();
        let mut layer = tar::Archive::new(&bytes[..]);
        let names: Vec<String> = layer
            .entries()
            .unwrap()
            .map(|entry| String::from_utf8(entry.unwrap().path_bytes().into_owned()).unwrap())
            .collect();
        assert_eq!(names, ["d/", "d/sub/", "d/sub/deep", "d/.wh.three"], "{form:?}");
    }
}

#[test]
fn the_configuration_says_what_was_done() {
    let scratch = Scratch::new("history");
    let mut fixture = Fixture::new(&scratch);
    fixture.config = json!({ "Cmd": ["x"], "OnBuild": ["kept"] });
    fixture.layer(Packing::Gzip, &archive(&[file("a", "1")]));
    let mut config = fixture.config_json();
    config["history"] = json!([{ "created_by": "first" }]);
    config["docker_version"] = json!("kept");
    fixture.finish_with(&config, "latest");
    let root = unpack(&scratch, "oci:image", "bundle", &[]);
    fs::write(root.join("a"), "2").unwrap();
    let repack = |tag: &str| -> Output {
        Command::new(env!("CARGO_BIN_EXE_tare-image"))
            .args(["repack", "--created-by", "by hand", "--author", "me", "--comment", "why", "bundle", tag])
            .env("SOURCE_DATE_EPOCH", "1000000000")
            .current_dir(scratch.path())
            .output()
            .unwrap()
    };
    let first = repack("oci:image:new");
    assert!(first.status.success(), "{}", stderr(&first));
    let config: Value =
        serde_json::from_str(&ok(&scratch, &["inspect", "--config", "oci:image:new"])).unwrap();
    let created = "2001-09-09T01:46:40Z";
    assert_eq!(config["created"], created);
    assert_eq!(config["author"], "me");
    assert_eq!(config["docker_version"], "kept");
    assert_eq!(config["config"]["OnBuild"], json!(["kept"]));
    assert_eq!(config["history"][0]["created_by"], "first");
    assert_eq!(
        config["history"][1],
        json!({ "created": created, "created_by": "by hand", "author": "me", "comment": "why" })
    );
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
    // The same changes at the same time are the same image, and other tags of the layout stay.
    assert_eq!(repack("oci:image:again").stdout, first.stdout);
    assert_eq!(ok(&scratch, &["list", "oci:image"]).lines().count(), 4);
    let digest = String::from_utf8(first.stdout).unwrap();
    assert!(ok(&scratch, &["list", "oci:image"]).contains(digest.trim()));
}

#[test]
fn the_image_is_found_where_it_was_or_where_it_is_said_to_be() {
    let scratch = Scratch::new("base");
    rich(&scratch);
    let root = unpack(&scratch, "oci:image:latest", "bundle", &[]);
    fs::write(root.join("same"), "changed").unwrap();
    ok(&scratch, &["pull", "-q", "oci:image", "oci-archive:moved.tar:x"]);
    fs::rename(scratch.join("image"), scratch.join("elsewhere")).unwrap();
    let output = scratch.run(&["repack", "bundle", "oci:out:new"]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("say with --base where the image is now"), "{}", stderr(&output));
    assert_eq!(names(scratch.path()), ["bundle", "elsewhere", "moved.tar"]);
    for base in ["oci:elsewhere", "oci-archive:moved.tar"] {
        for to in
            ["oci:out:new", "oci-archive:out.tar:new", "docker-archive:docker.tar:new", "oci:elsewhere:new"]
        {
            ok(&scratch, &["repack", "-q", "--base", base, "bundle", to]);
            let again = unpack(&scratch, to, "again", &[]);
            assert_eq!(listing(&again), listing(&root));
            ok(&scratch, &["remove", "again"]);
            let _ = fs::remove_file(scratch.join("out.tar"));
            let _ = fs::remove_file(scratch.join("docker.tar"));
        }
    }
}

#[test]
fn a_copied_bundle_is_compared_by_size_and_time() {
    let scratch = Scratch::new("copied");
    rich(&scratch);
    unpack(&scratch, "oci:image", "bundle", &[]);
    let copied =
        Command::new("cp").args(["-a", "bundle", "copy"]).current_dir(scratch.path()).status().unwrap();
    assert!(copied.success());
    fs::write(scratch.join("copy/rootfs/same"), "changed").unwrap();
    let output = scratch.run(&["diff", "copy"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "C /same\n");
    assert!(stderr(&output).contains("a copy of the unpacked tree"), "{}", stderr(&output));
}

#[test]
fn what_an_image_cannot_hold_is_told() {
    let scratch = Scratch::new("cannot");
    rich(&scratch);
    let root = unpack(&scratch, "oci:image", "bundle", &[]);
    let socket = std::os::unix::net::UnixListener::bind(root.join("d/socket")).unwrap();
    let output = scratch.run(&["repack", "-q", "bundle", "oci:out:new"]);
    assert!(output.status.success());
    assert!(
        stderr(&output).contains("d/socket: left out: an image cannot have a socket"),
        "{}",
        stderr(&output)
    );
    drop(socket);
    fs::write(root.join("d/.wh.x"), "").unwrap();
    let error = stderr(&scratch.run(&["repack", "bundle", "oci:out:bad"]));
    assert!(error.contains("d/.wh.x: an image cannot have a file of this name"), "{error}");
    assert_eq!(ok(&scratch, &["list", "oci:out"]).lines().count(), 2);
    let error = stderr(&scratch.run(&["diff", "image"]));
    assert!(error.contains("not a bundle made by tare-image"), "{error}");
}

/// The image of integration/image/make-image, made once; None where a tool for it is missing.
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

/// Runs a peer; None, with a message, where it is not installed.
fn peer(program: &str, args: &[&str]) -> Option<String> {
    let Ok(output) = Command::new(program).args(args).output() else {
        skip(&format!("needs {program}"));
        return None;
    };
    assert!(output.status.success(), "{program} {args:?}: {}", stderr(&output));
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Fails with the lines that differ, except for those that `known` names.
fn same(ours: &[String], theirs: &[String], known: impl Fn(&str) -> bool) {
    let missing =
        theirs.iter().filter(|line| !ours.contains(line) && !known(line)).map(|line| format!("- {line}"));
    let extra =
        ours.iter().filter(|line| !theirs.contains(line) && !known(line)).map(|line| format!("+ {line}"));
    let all: Vec<String> = missing.chain(extra).collect();
    assert!(all.is_empty(), "{} lines differ:\n{}", all.len(), all[..all.len().min(40)].join("\n"));
}

/// The image of make-image, changed and repacked to `docker-archive:` and `oci:`; with the tree it must have.
fn repacked(scratch: &Scratch) -> Option<Vec<String>> {
    let image = realistic()?;
    let root = unpack(scratch, &format!("oci:{}/oci:gz", image.display()), "bundle", FORMS[1]);
    change_realistic(&root);
    for to in ["oci:out:new", "docker-archive:out.tar:example.org/new:tag"] {
        ok(scratch, &["repack", "-q", "bundle", to]);
    }
    Some(listing(&root))
}

fn change_realistic(root: &Path) {
    fs::remove_dir_all(root.join("usr/share/doc")).unwrap();
    fs::remove_file(root.join("srv/many/f2")).unwrap();
    fs::write(root.join("etc/hostname"), "changed\n").unwrap();
    fs::remove_dir_all(root.join("srv/kinds/absolute")).unwrap();
    fs::create_dir(root.join("srv/kinds/absolute")).unwrap();
    fs::create_dir(root.join("opt/new"))
        .unwrap_or_else(|_| fs::create_dir_all(root.join("opt/new")).unwrap());
    fs::write(root.join("opt/new/file"), "x").unwrap();
    fs::hard_link(root.join("opt/new/file"), root.join("opt/new/link")).unwrap();
    set(&root.join("opt/new/file"), c"user.test", b"value");
    let cap = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    fs::copy(root.join("srv/kinds/capable"), root.join("opt/new/capable")).unwrap();
    set(&root.join("opt/new/capable"), c"security.capability", &cap);
    node(&root.join("opt/new/null"), nix::sys::stat::SFlag::S_IFCHR, (1, 3));
    let sparse = fs::File::create(root.join("opt/new/sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
}

/// How Docker and Podman differ: a directory that no layer has an entry for gets the time of its making; the
/// root's own time and times before 1970 are not kept.
fn known(line: &str) -> bool {
    line.starts_with("/usr/lib64 ") || line.starts_with("/ ") || line.starts_with("/srv/kinds/old ")
}

#[test]
fn podman_loads_and_runs_it() {
    let scratch = Scratch::new("podman-loads");
    let Some(expected) = repacked(&scratch) else { return };
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
    for source in ["oci:out:new", "docker-archive:out.tar"] {
        let path = source.replacen(':', &format!(":{}/", scratch.path().display()), 1);
        let Some(id) = podman(&["pull", "-q", &path]) else { return };
        let mounted = podman(&["image", "mount", &id]).unwrap();
        let theirs = listing(Path::new(&mounted));
        podman(&["image", "umount", &id]);
        same(&expected, &theirs, |line| known(line) || line.starts_with("/srv/app "));
        // More open files than this process may have need a privilege that not every machine gives.
        let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000"];
        let group = format!("tare-image-podman-{}", std::process::id());
        let tare = env!("CARGO_BIN_EXE_tare");
        let run = ["--cgroup-manager=cgroupfs", "--runtime", tare, "run", "--rm", "--network=none"];
        let parent = format!("--cgroup-parent=/{group}");
        let said = podman(&[&run[..], &limits, &[&parent, &id, "cat", "/opt/new/file"]].concat());
        remove_groups(&group);
        assert_eq!(said.unwrap(), "x");
        podman(&["image", "rm", "-f", &id]);
    }
}

/// Removes the cgroups that an engine leaves, once its monitor has ended.
fn remove_groups(name: &str) {
    fn gone(dir: &Path) -> bool {
        let below = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        for path in below.filter(|path| path.is_dir()) {
            gone(&path);
        }
        // Where a hierarchy is not mounted, Podman leaves an ordinary file.
        let _ = fs::remove_file(dir.join("tasks"));
        fs::remove_dir(dir).is_ok()
    }
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut left: Vec<PathBuf> = hierarchies.chain([root.to_owned()]).map(|dir| dir.join(name)).collect();
    for _ in 0..50 {
        left.retain(|dir| dir.exists() && !gone(dir));
        if left.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// Starts dockerd with directories of its own, loads the image into it and runs a container of it.
const DOCKER: &str = r#"
mount --make-rslave / && mount -t tmpfs run /run && ip link set lo up
docker="docker -H unix://$PWD/docker.sock"
dockerd --host unix://$PWD/docker.sock --data-root $PWD/data --exec-root $PWD/exec --pidfile $PWD/pid \
    --bridge none --iptables=false --ip6tables=false --storage-driver vfs --cgroup-parent "/$1" \
    --add-runtime tare="$TARE" --default-runtime tare >dockerd.log 2>&1 &
dockerd=$!
for i in $(seq 300); do $docker version >/dev/null 2>&1 && break; sleep 0.1; done
$docker load -qi out.tar >&2 || { tail -5 dockerd.log >&2; exit 1; }
$docker run --rm --network none --ulimit nofile=1024:1024 example.org/new:tag cat /opt/new/file || { tail -5 dockerd.log >&2; exit 1; }
kill $dockerd; wait $dockerd
exit 0
"#;

#[test]
fn docker_loads_and_runs_it() {
    if !Path::new("/usr/sbin/dockerd").exists() {
        return skip("needs dockerd");
    }
    let scratch = Scratch::new("docker-loads");
    let Some(expected) = repacked(&scratch) else { return };
    let about: Value = serde_json::from_str(&ok(&scratch, &["inspect", "oci:out:new"])).unwrap();
    let group = format!("tare-image-docker-{}", std::process::id());
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", DOCKER, "sh", &group])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("TARE", env!("CARGO_BIN_EXE_tare"))
        .current_dir(scratch.path())
        .output()
        .unwrap();
    remove_groups(&group);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "x");
    // The layer that Docker made of ours, with all that is below it.
    let diff_id = about["layers"].as_array().unwrap().last().unwrap()["diffId"].as_str().unwrap().to_owned();
    let db = scratch.join("data/image/vfs/layerdb/sha256");
    let layer = names(&db).into_iter().map(|name| db.join(name));
    let layer = layer.into_iter().find(|dir| fs::read_to_string(dir.join("diff")).unwrap() == diff_id);
    let cache = fs::read_to_string(layer.unwrap().join("cache-id")).unwrap();
    let theirs = listing(&scratch.join("data/vfs/dir").join(cache));
    same(&expected, &theirs, |line| {
        // Its vfs driver copies the layers below without user attributes; our own layer has some too.
        known(line) || line.starts_with("/srv/app ") || line.starts_with("/srv/kinds/attribute ")
    });
}
