//! `tare-image unpack`: what it verifies, writes and refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::skip::skip;
use crate::support::*;

fn config(scratch: &Scratch) -> Value {
    serde_json::from_slice(&fs::read(scratch.join("bundle/config.json")).unwrap()).unwrap()
}

#[test]
fn a_bundle_is_closed_to_other_users_and_has_its_configuration() {
    let scratch = Scratch::new("bundle");
    let mut fixture = Fixture::new(&scratch);
    fixture.config = json!({
        "User": "app", "WorkingDir": "/srv/app", "Entrypoint": ["/bin/app"], "Cmd": ["run"], "Env": ["A=1"],
    });
    let items = [
        dir("etc"),
        file("etc/passwd", "root:x:0:0::/:\napp:x:1000:1001::/:\n"),
        file("etc/group", "app:x:1001:\nadm:x:4:app\n"),
    ];
    fixture.layer(Packing::Gzip, &archive(&items)).finish();
    let root = scratch.unpack();
    assert_eq!(fs::metadata(scratch.join("bundle")).unwrap().permissions().mode() & 0o7777, 0o700);
    assert!(root.join("srv/app").is_dir());
    let config = config(&scratch);
    assert_eq!(config["process"]["user"], json!({ "uid": 1000, "gid": 1001, "additionalGids": [4] }));
    assert_eq!(config["process"]["args"], json!(["/bin/app", "run"]));
    assert_eq!(config["process"]["cwd"], "/srv/app");
    assert_eq!(config["process"]["noNewPrivileges"], true);
    assert_eq!(names(scratch.path()), ["bundle", "image"]);
}

#[test]
fn a_bundle_runs() {
    let Some(busybox) = ["/bin/busybox", "/usr/bin/busybox"].iter().find_map(|path| fs::read(path).ok())
    else {
        return skip("needs busybox");
    };
    if Command::new("runc").arg("--version").output().is_err() {
        return skip("needs runc");
    }
    let scratch = Scratch::new("runs");
    let mut fixture = Fixture::new(&scratch);
    fixture.config = json!({ "Cmd": ["sh", "-c", "echo $0 from inside; id -u; ls /data; grep Seccomp: /proc/self/status; unshare -m true 2>&1 || true"], "Volumes": { "/data": {} } });
    let mut sh = file("bin/busybox", "").mode(0o755);
    sh.data = busybox;
    let links =
        ["sh", "id", "ls", "grep", "unshare"].map(|name| hard_link(&format!("bin/{name}"), "bin/busybox"));
    let rest = [dir("proc"), dir("dev"), dir("sys"), dir("data"), file("data/seed", "")];
    fixture.layer(Packing::Gzip, &archive(&[&[dir("bin"), sh][..], &links, &rest].concat())).finish();
    scratch.unpack();
    let id = format!("tare-image-runs-{}", std::process::id());
    let root = scratch.join("state");
    let output = Command::new("runc")
        .arg("--root")
        .arg(&root)
        .args(["run", "-b"])
        .arg(scratch.join("bundle"))
        .arg(&id)
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "sh from inside\n0\nseed\nSeccomp:\t2\nunshare: unshare(0x20000): Operation not permitted\n"
    );
}

#[test]
fn a_blob_that_is_not_what_was_named_is_refused_with_its_layer() {
    let scratch = Scratch::new("digest");
    let mut fixture = Fixture::new(&scratch);
    let bytes = archive(&[file("a", &"x".repeat(100_000))]);
    let packed = Packing::Gzip.pack(&bytes);
    let diff_id = tare::testing::image::blob::digest::sha256_of(&bytes).to_string();
    let blob = fixture.blob(&packed, "application/vnd.oci.image.layer.v1.tar+gzip");
    let path = fixture
        .path
        .join("blobs/sha256")
        .join(tare::testing::image::blob::digest::sha256_of(&packed).digest());
    fixture.raw_layer(blob, &diff_id).finish();

    let mut flipped = packed.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&path, &flipped).unwrap();
    let error = scratch.refused(&[]);
    assert!(error.starts_with("tare-image: layer 1 of 1 (sha256:"), "{error}");
    fs::write(&path, &packed[..packed.len() - 10]).unwrap();
    assert!(scratch.refused(&[]).contains(&format!("its descriptor says {}", packed.len())));
    fs::write(&path, [&packed[..], b"x"].concat()).unwrap();
    assert!(scratch.refused(&[]).contains("size is at least"));
    fs::remove_file(&path).unwrap();
    assert!(scratch.refused(&[]).contains("no such file or directory"));
    fs::write(&path, &packed).unwrap();
    scratch.unpack();
}

#[test]
fn a_wrong_diff_id_is_refused() {
    for packing in PACKINGS {
        let scratch = Scratch::new(&format!("diff-id-{packing:?}"));
        let mut fixture = Fixture::new(&scratch);
        let other = tare::testing::image::blob::digest::sha256_of(b"other").to_string();
        fixture.layer(packing, &archive(&[file("a", "x")]));
        let mut config = fixture.config_json();
        config["rootfs"]["diff_ids"] = json!([other]);
        fixture.finish_with(&config, "latest");
        assert!(scratch.refused(&[]).contains("content has diff id"), "{packing:?}");
    }
}

#[test]
fn a_media_type_must_fit_the_content() {
    let bytes = archive(&[file("a", "x")]);
    let diff_id = tare::testing::image::blob::digest::sha256_of(&bytes).to_string();
    for (media_type, packing, words) in [
        ("application/vnd.oci.image.layer.v1.tar", Packing::Gzip, "the content is gzip"),
        (
            "application/vnd.oci.image.layer.v1.tar+gzip",
            Packing::Plain,
            "the content is an uncompressed archive",
        ),
        ("application/vnd.oci.image.layer.v1.tar+zstd", Packing::Gzip, "media type says zstd"),
        ("application/vnd.oci.image.layer.v1.tar+lz4", Packing::Plain, "no support for layers of media type"),
        ("application/vnd.oci.image.config.v1+json", Packing::Plain, "is not that of a layer"),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Packing::Gzip, "foreign layer"),
    ] {
        let scratch = Scratch::new("media");
        let mut fixture = Fixture::new(&scratch);
        let blob = fixture.blob(&packing.pack(&bytes), media_type);
        fixture.raw_layer(blob, &diff_id).finish();
        let error = scratch.refused(&[]);
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn limits_stop_an_image_that_asks_for_too_much() {
    let scratch = Scratch::new("limits");
    image(&scratch, &[&[file("a", &"x".repeat(5000)), file("b", "")]]);
    assert!(scratch.refused(&["--max-size", "4k"]).contains("hint: raise the limit with --max-size"));
    assert!(scratch.refused(&["--max-entries", "1"]).contains("more than 1 entries"));
    scratch.unpack();
}

#[test]
fn a_tag_or_a_digest_chooses_among_images() {
    let scratch = Scratch::new("tags");
    let mut fixture = Fixture::new(&scratch);
    fixture.layer(Packing::Plain, &archive(&[file("one", "")]));
    let one = fixture.finish_with(&fixture.config_json(), "one");
    fixture.layer(Packing::Plain, &archive(&[file("two", "")]));
    let two = fixture.finish_with(&fixture.config_json(), "two");
    fixture.index(&[one.clone(), two]);
    let digest = format!("oci:image@{}", one["digest"].as_str().unwrap());
    for (source, bundle, expected) in
        [("oci:image:one", "b1", 1), ("oci:image:two", "b2", 2), (&digest, "b3", 1)]
    {
        let output = scratch.run(&["unpack", source, bundle]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(names(&scratch.join(bundle).join("rootfs")).len(), expected);
    }
    let error = stderr(&scratch.run(&["unpack", "oci:image", "b"]));
    assert_eq!(error, "tare-image: oci:image: there are 2 images in it\nhint: the tags are: one, two\n");
    let error = stderr(&scratch.run(&["unpack", "oci:image:three", "b"]));
    assert!(error.starts_with("tare-image: oci:image:three: there is no image of this tag\n"), "{error}");
}

#[test]
fn an_index_is_searched_for_the_platform() {
    let scratch = Scratch::new("platform");
    let mut fixture = Fixture::new(&scratch);
    fixture.layer(Packing::Plain, &archive(&[file("here", "")]));
    let mut here = fixture.finish();
    let os_arch = fixture.config_json()["architecture"].clone();
    here["platform"] = json!({ "os": "linux", "architecture": os_arch });
    fixture.layer(Packing::Plain, &archive(&[file("there", "")]));
    let mut config = fixture.config_json();
    config["architecture"] = json!("s390x");
    let mut there = fixture.finish_with(&config, "there");
    there["platform"] = json!({ "os": "linux", "architecture": "s390x", "variant": "z9" });
    let index = json!({ "schemaVersion": 2, "manifests": [there, here] });
    let index = fixture.blob(&serde_json::to_vec(&index).unwrap(), "application/vnd.oci.image.index.v1+json");
    fixture.index(&[index]);
    assert_eq!(names(&scratch.unpack()), ["here"]);
    let output = scratch.run(&["unpack", "--platform", "linux/s390x", "oci:image", "other"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(names(&scratch.join("other/rootfs")), ["here", "there"]);
    let error = stderr(&scratch.run(&["unpack", "--platform", "linux/mips", "oci:image", "third"]));
    assert!(
        error.contains("there is no image for linux/mips\nhint: there are: linux/s390x/z9, linux/"),
        "{error}"
    );
    let rows: Value = serde_json::from_slice(&scratch.run(&["list", "--json", "oci:image"]).stdout).unwrap();
    assert_eq!((&rows[0]["platform"], rows[0]["size"].is_u64()), (&json!("linux/s390x"), true));

    // The only image may be looked at and copied whatever it is for.
    fixture.index(&[there]);
    for args in [
        &["inspect", "oci:image"][..],
        &["explain", "-q", "oci:image"],
        &["pull", "-q", "oci:image", "oci:x:y"],
    ] {
        let output = scratch.run(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    }
    for args in [&["unpack", "oci:image", "third"][..], &["inspect", "--platform", "linux/mips", "oci:image"]]
    {
        let error = stderr(&scratch.run(args));
        assert!(error.contains("the image is for linux/s390x, not for linux/"), "{args:?}: {error}");
    }
}

#[test]
fn documents_that_lie_about_themselves_are_refused() {
    let scratch = Scratch::new("documents");
    let mut fixture = Fixture::new(&scratch);
    fixture.layer(Packing::Plain, &archive(&[file("a", "")]));
    let good = fixture.finish();
    let manifest: Value = serde_json::from_slice(
        &fs::read(fixture.path.join("blobs/sha256").join(&good["digest"].as_str().unwrap()[7..])).unwrap(),
    )
    .unwrap();
    let with = |key: &str, value: Value| {
        let mut changed = manifest.clone();
        changed[key] = value;
        let bytes = serde_json::to_vec(&changed).unwrap();
        fixture.index(&[fixture.blob(&bytes, "application/vnd.oci.image.manifest.v1+json")]);
        scratch.refused(&[])
    };
    assert!(with("manifests", json!([])).contains("is an index and a manifest at once"));
    assert!(
        with("mediaType", json!("application/vnd.oci.image.index.v1+json"))
            .contains("the document itself application/vnd.oci.image.index.v1+json")
    );
    assert!(with("schemaVersion", json!(1)).contains("schemaVersion is not 2"));
    assert!(with("layers", json!([])).contains("has 0 layers, its configuration has 1 diff id"));
    let artifact =
        json!({ "mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "digest": good["digest"] });
    assert!(with("config", artifact).contains("is an artifact"));
    let huge = json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "size": 1u64 << 40, "digest": good["digest"] });
    assert!(with("config", huge).contains("too many for a document"));
}

#[test]
fn a_destination_that_is_in_use_is_left_alone() {
    let scratch = Scratch::new("in-use");
    image(&scratch, &[&[file("a", "")]]);
    fs::create_dir(scratch.join("bundle")).unwrap();
    scratch.unpack();
    let error = stderr(&scratch.run(&["unpack", "oci:image", "bundle"]));
    let hint = "hint: name a directory that is not there yet, or an empty one; `tare-image remove DIR` removes a bundle\n";
    assert_eq!(error, format!("tare-image: make bundle bundle: it exists and is not empty\n{hint}"));
    let output = scratch.run(&["unpack", "oci:image", "missing/bundle"]);
    assert_eq!(stderr(&output), "tare-image: open missing: no such file or directory\n");
}

#[test]
fn what_a_killed_run_left_is_taken_away_by_the_next() {
    let scratch = Scratch::new("killed");
    image(&scratch, &[&[file("a", "")]]);
    fs::create_dir_all(scratch.join(".bundle.partial/rootfs/deep")).unwrap();
    // The mode of a directory that is being filled.
    fs::set_permissions(scratch.join(".bundle.partial"), fs::Permissions::from_mode(0o1700)).unwrap();
    scratch.unpack();
    assert_eq!(names(scratch.path()), ["bundle", "image"]);
}

#[test]
fn mistakes_on_the_command_line_are_told() {
    let scratch = Scratch::new("usage");
    for args in [&["unpack", "ubuntu", "b"][..], &["unpack"], &["frobnicate"], &[]] {
        let output = scratch.run(args);
        assert!(!output.status.success() && !output.stderr.is_empty(), "{args:?}");
    }
    let help = scratch.run(&["unpack", "--help"]);
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("SOURCE"));
}

#[test]
fn the_default_seccomp_profile_names_only_calls_that_the_compiler_knows() {
    use oci_spec::runtime::{Arch, LinuxSeccomp};
    use tare::testing::plan::seccomp::compile;
    let profile: LinuxSeccomp =
        serde_json::from_value(tare::testing::image::bundle::seccomp::default_profile("amd64").unwrap())
            .unwrap();
    let filter = compile(&profile, Arch::ScmpArchX86_64, 0).unwrap();
    assert_eq!(filter.warnings, [""; 0]);
}

#[test]
fn a_kernel_without_openat2_gives_the_same_tree() {
    let scratch = Scratch::new("enosys");
    let below = [
        dir("./"),
        dir("usr"),
        dir("usr/lib"),
        symlink("lib", "/usr/lib"),
        file("lib/a", "1"),
        file("gone", ""),
        symlink("out", "../../../image"),
        symlink("run", "/var/run"),
    ];
    let above = [
        file("lib/b", "2"),
        file(".wh.gone", ""),
        file("out/x", "3"),
        file("run/y", ""),
        hard_link("h", "lib/a"),
    ];
    image(&scratch, &[&below, &above]);
    let with = listing(&scratch.unpack());
    fs::remove_dir_all(scratch.join("bundle")).unwrap();
    let without = listing(&without_call(nix::libc::SYS_openat2, || scratch.unpack()));
    assert_eq!(without, with);
    assert!(with.iter().any(|line| line.starts_with("/image/x ")), "{with:?}");
}

#[test]
fn names_that_are_not_there_are_told() {
    let scratch = Scratch::new("not-there");
    image(&scratch, &[&[file("a", "1")]]);
    let refused = |args: &[&str]| {
        let output = scratch.run(args);
        assert_ne!(output.status.code(), Some(0), "{args:?}");
        stderr(&output)
    };
    assert!(refused(&["explain", "oci:image", "/nope"]).contains("no layer of the image has /nope"));
    assert!(refused(&["explain", "oci:image", "/a", "/a/b"]).contains("/a/b"));
    assert!(refused(&["prune", "--store", "nope"]).contains("nope: there is no store"));
    assert_eq!(names(scratch.path()), ["image"]);
    // Told before the layers are read: they are gone.
    for blob in names(&scratch.join("image/blobs/sha256")) {
        let path = scratch.join("image/blobs/sha256").join(blob);
        let is_layer = fs::read(&path).unwrap().starts_with(b"\x1f\x8b");
        if is_layer {
            fs::remove_file(&path).unwrap();
        }
    }
    assert!(refused(&["unpack", "--seccomp", "nope.json", "oci:image", "b"]).contains("nope.json"));
    assert!(refused(&["unpack", "--user", "99999999999", "oci:image", "b"]).contains("out of range"));
    assert_eq!(names(scratch.path()), ["image"]);
}
