//! Attacks on those who unpack and copy images, which are none of paths: programs and users of the image, labels, lengths.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::*;

fn control_falls(what: &str) {
    println!("control falls: {what}");
}

/// Programs and libraries by the names that copying tools execute or load, which tell that they were.
fn traps(canary: &Path) -> Vec<Item> {
    let script = format!("#!/bin/sh\necho $0 >> {}\nexit 1\n", canary.display());
    let names =
        ["gzip", "unpigz", "pigz", "xz", "zstd", "tar", "igzip", "newuidmap", "newgidmap", "mount", "cp"];
    let programs = names.iter().map(|name| file(&format!("bin/{name}"), &script).mode(0o755));
    let libraries = ["libnss_files.so.2", "libnss_dns.so.2", "ld.so.preload"]
        .iter()
        .map(|name| file(&format!("lib/{name}"), &script));
    let settings =
        [file("etc/nsswitch.conf", "passwd: evil\n"), file("etc/ld.so.preload", "/lib/libnss_files.so.2\n")];
    [dir("bin"), dir("lib"), dir("etc")]
        .into_iter()
        .chain(programs)
        .chain(libraries)
        .chain(settings)
        .collect()
}

#[test]
fn no_program_of_the_image_is_executed() {
    // CVE-2019-14271, CVE-2026-41567: decompressors and libraries were found in the container.
    let scratch = Scratch::new("programs");
    let canary = scratch.join("canary");
    fs::write(&canary, "").unwrap();
    let mut fixture = Fixture::new(&scratch);
    fixture.config = json!({"User": "somebody"});
    let traps = traps(&canary);
    let passwd = [file("etc/passwd", "somebody:x:7:7::/:/bin/sh\n"), file("etc/group", "somebody:x:7:\n")];
    fixture.layer(Packing::Gzip, &archive(&[traps, passwd.to_vec()].concat()));
    fixture.layer(Packing::Zstd, &archive(&[file("second", "x")])).finish();
    let root = scratch.unpack();
    let inside = |args: &[&str]| {
        let path = format!("{0}/bin:{0}/lib", root.display());
        let mut call = Command::new(program());
        call.args(args).current_dir(scratch.path()).env("PATH", &path).env("LD_LIBRARY_PATH", &path);
        call.output().unwrap()
    };
    fs::write(root.join("changed"), "x").unwrap();
    for args in [
        &["unpack", "oci:image", "another"][..],
        &["unpack", "--overlay", "--store", "store", "oci:image", "shared"],
        &["diff", "bundle"],
        &["repack", "bundle", "oci:image:new"],
        &["verify", "oci:image"],
        &["inspect", "oci:image"],
    ] {
        let output = inside(args);
        assert_eq!(
            fs::read_to_string(&canary).unwrap(),
            "",
            "{args:?}: a program of the image ran: {}",
            stderr(&output)
        );
    }
    fs::write(scratch.join("archive.gz"), Packing::Gzip.pack(&archive(&[file("a", "x")]))).unwrap();
    let mut tar = Command::new("/usr/bin/tar");
    tar.args(["-tzf", "archive.gz"]).current_dir(scratch.path()).env("PATH", root.join("bin"));
    assert!(!tar.output().unwrap().status.success());
    assert_ne!(fs::read_to_string(&canary).unwrap(), "");
    control_falls("tar -z executes the gzip that PATH has first");
}

#[test]
fn a_user_that_is_a_number_too_large_is_no_name() {
    // CVE-2024-40635, CVE-2026-46680.
    for user in ["4294967296", "2147483648", "-1", "99999999999999999999", "+0", "1:4294967296", "4294967295"]
    {
        let scratch = Scratch::new("numbers");
        let mut fixture = Fixture::new(&scratch);
        fixture.config = json!({ "User": user });
        let (name, group) = user.split_once(':').unwrap_or((user, user));
        let passwd = file("etc/passwd", &format!("{name}:x:0:0::/:/bin/sh\n"));
        let group = file("etc/group", &format!("{group}:x:0:\n"));
        fixture.layer(Packing::Gzip, &archive(&[dir("etc"), passwd, group])).finish();
        let output = scratch.run(&["unpack", "oci:image", "bundle"]);
        let config = fs::read(scratch.join("bundle/config.json")).unwrap_or_else(|_| b"{}".to_vec());
        let config: Value = serde_json::from_slice(&config).unwrap();
        let as_root = config["process"]["user"]["uid"] == 0 || config["process"]["user"]["gid"] == 0;
        assert!(!as_root, "{user} is root: {}", config["process"]["user"]);
        assert_eq!(output.status.code(), Some(1), "{user}: {}", stderr(&output));
    }
}

#[test]
fn no_label_commands_a_runtime() {
    // CVE-2026-53488, CVE-2026-53492, CVE-2024-3154.
    let scratch = Scratch::new("labels");
    let mut fixture = Fixture::new(&scratch);
    let names = [
        "org.systemd.property.ExecStopPost",
        "run.oci.hooks.stdout",
        "run.oci.handler",
        "io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel",
        "io.katacontainers.config.hypervisor.path",
        "cdi.k8s.io/device",
        "module.wasm.image/variant",
        "org.criu.config",
    ];
    let labels: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).into(), json!("/bin/evil"))).collect();
    fixture.config = json!({ "Labels": labels });
    fixture.layer(Packing::Gzip, &archive(&[file("a", "x")])).finish();
    scratch.unpack();
    let config = fs::read_to_string(scratch.join("bundle/config.json")).unwrap();
    for name in names {
        assert!(!config.contains(name), "the label {name} is an annotation");
    }
    assert!(!config.contains("/bin/evil"), "a label is in the configuration");
    assert!(serde_json::from_str::<Value>(&config).unwrap()["hooks"].is_null());
}

#[test]
fn a_link_is_not_looked_up_from_where_the_program_runs() {
    // CVE-2026-50163: the target was checked in the root, and linked to from the working directory.
    let scratch = Scratch::new("relative");
    fs::create_dir_all(scratch.join("etc")).unwrap();
    fs::write(scratch.join("etc/shadow"), "secret of the host").unwrap();
    let items = [
        dir("etc"),
        file("etc/shadow", "of the image"),
        hard_link("h", "etc/shadow"),
        file("etc/shadow", "x"),
    ];
    Fixture::new(&scratch).layer(Packing::Gzip, &archive(&items)).finish();
    let root = scratch.unpack();
    assert_eq!(fs::read_to_string(root.join("h")).unwrap(), "of the image");
    assert_eq!(fs::metadata(scratch.join("etc/shadow")).unwrap().nlink(), 1);
    let mut naive = Command::new("ln");
    naive.args(["etc/shadow", root.join("naive").to_str().unwrap()]).current_dir(scratch.path());
    assert!(naive.status().unwrap().success());
    assert_eq!(fs::read_to_string(root.join("naive")).unwrap(), "secret of the host");
    control_falls("link(2) with the name of the image is of the file below the working directory");
}

#[test]
fn a_mode_is_set_on_what_was_made_and_on_nothing_else() {
    // CVE-2021-32760, CVE-2026-33056: a directory over a symlink to one, a file over a link to the host's.
    let scratch = Scratch::new("modes");
    let canary = scratch.join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("secret"), "").unwrap();
    let close = |mode| {
        fs::set_permissions(&canary, PermissionsExt::from_mode(mode)).unwrap();
        fs::set_permissions(canary.join("secret"), PermissionsExt::from_mode(mode)).unwrap();
    };
    let modes = || {
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        (mode(&canary), mode(&canary.join("secret")))
    };
    close(0o700);
    let items = [
        symlink("l", "../../canary"),
        dir("l").mode(0o777),
        symlink("s", "../../canary/secret"),
        file("s", "").mode(0o6777),
        symlink("t", "../../canary/secret"),
        hard_link("u", "t"),
        file("u", "").mode(0o777),
    ];
    Fixture::new(&scratch).layer(Packing::Gzip, &archive(&items)).finish();
    let root = scratch.unpack();
    assert_eq!(modes(), (0o700, 0o700), "the mode of the host's file has changed");
    for name in ["l", "s", "u"] {
        let _ = fs::remove_dir(root.join(name)).or_else(|_| fs::remove_file(root.join(name)));
    }
    crate::naive::Naive { root: &root, within: scratch.path() }.unpack(&items);
    assert_ne!(modes(), (0o700, 0o700));
    control_falls("chmod(2) by name changes the host's");
}

#[test]
fn marks_of_an_overlay_and_of_a_security_module_are_left_out() {
    let scratch = Scratch::new("marks");
    let marks = [
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "user.overlay.opaque",
        "user.overlay.redirect",
    ];
    let mut item = dir("d");
    for mark in marks {
        item = item.pax(&format!("SCHILY.xattr.{mark}"), b"y");
    }
    Fixture::new(&scratch).layer(Packing::Gzip, &archive(&[item, file("d/x", "")])).finish();
    let root = scratch.unpack();
    let mut list = Command::new("getfattr");
    list.args(["-d", "-m", "-", "--absolute-names"]).arg(root.join("d"));
    let Ok(listed) = list.output() else { return crate::skip::skip("needs getfattr") };
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(!listed.contains("overlay"), "a mark of the overlay is there: {listed}");
}

#[test]
fn another_blob_of_the_same_size_is_not_the_one_that_was_named() {
    // CVE-2024-3727 and the like: what is used is what was verified.
    let scratch = Scratch::new("another-blob");
    let mut fixture = Fixture::new(&scratch);
    let (named, other) = (archive(&[file("a", "named")]), archive(&[file("a", "other")]));
    let blob = fixture.blob(&named, "application/vnd.oci.image.layer.v1.tar");
    // The configuration is of the same mind as the one who exchanged the blob.
    let id = tare::testing::image::blob::digest::sha256_of(&other).to_string();
    let digest = blob["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    fixture.raw_layer(blob, &id).finish();
    fs::write(fixture.path.join("blobs/sha256").join(digest), &other).unwrap();
    let output = scratch.run(&["unpack", "oci:image", "bundle"]);
    assert_ne!(output.status.code(), Some(0), "bytes that nobody named were unpacked");
    assert!(stderr(&output).contains("content has digest"), "{}", stderr(&output));
}
