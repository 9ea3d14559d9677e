//! The two forms of a bundle, and what `verify` says beforehand: one image, one outcome.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::json;

use crate::access_lists::acl;
use crate::skip::skip;
use crate::support::{
    Fixture, Item, Packing, Scratch, archive, dir, file, hard_link, image, listing, names, stderr, symlink,
};

const OVERLAY: [&str; 3] = ["--overlay", "--store", "store"];

#[test]
fn a_hard_link_to_nothing_is_refused_by_whatever_reads_it() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    const MISSING: &str = "there is no such file yet";
    let scratch = Scratch::new("dangling-links");
    let link = || hard_link("b", "a");
    let cases: Vec<(Vec<Vec<Item>>, &str)> = vec![
        (vec![vec![link()]], MISSING),
        (vec![vec![hard_link("b", "b")]], MISSING),
        (vec![vec![hard_link("b", "/")]], "the root"),
        (vec![vec![link(), file("a", "")]], MISSING),
        (vec![vec![link(), file("b", "")]], MISSING),
        (vec![vec![hard_link("d/b", "a"), file("d", "")]], MISSING),
        (vec![vec![file("x", "")], vec![link(), dir("b")]], MISSING),
        (vec![vec![file("a", "")], vec![file(".wh.a", ""), link()]], MISSING),
        (vec![vec![file("a", "")], vec![file(".wh.a", "")], vec![link()]], MISSING),
        (
            vec![vec![dir("d"), file("d/a", "")], vec![file("d/.wh..wh..opq", ""), hard_link("b", "d/a")]],
            MISSING,
        ),
        (vec![vec![file("a", "")], vec![file(".wh..wh..opq", ""), file("c", "")], vec![link()]], MISSING),
        (vec![vec![dir("d"), file("d/a", "")], vec![file("d", "")], vec![hard_link("b", "d/a")]], MISSING),
        (vec![vec![file("y", "")], vec![hard_link("c", "a"), hard_link("b", "c")]], MISSING),
        (vec![vec![dir("a")], vec![link()]], "a"),
    ];
    for (layers, reason) in cases {
        let shown = format!(
            "{:?}",
            layers
                .iter()
                .map(|items| items
                    .iter()
                    .map(|item| String::from_utf8_lossy(&item.name).into_owned())
                    .collect::<Vec<_>>())
                .collect::<Vec<_>>()
        );
        image(&scratch, &layers.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let place = format!("layer {0} of {0}", layers.len());
        for args in [
            &["unpack", "-q", "oci:image", "bundle"][..],
            &["unpack", "-q", "--overlay", "--store", "store", "oci:image", "bundle"],
            &["verify", "oci:image"],
            &["explain", "-q", "oci:image"],
        ] {
            let error = stderr(&scratch.run(args));
            assert!(
                error.contains(&place) && error.contains("link to \"") && error.contains(reason),
                "{shown} {args:?}: {error}"
            );
            assert!(!scratch.join("bundle").exists() && !scratch.join(".bundle.partial").exists());
        }
        fs::remove_dir_all(scratch.join("image")).unwrap();
        fs::remove_dir_all(scratch.join("store")).unwrap();
    }
}

#[test]
fn a_hard_link_that_is_good_is_good_everywhere() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("good-links");
    let below = [
        file("a", "x"),
        dir("usr"),
        dir("usr/lib"),
        file("usr/lib/c", "c"),
        symlink("lib", "usr/lib"),
        symlink("up", "usr/../usr"),
    ];
    for above in [
        vec![hard_link("b", "a"), file(".wh.a", "")],
        vec![hard_link("b", "lib/c"), hard_link("lib/d", "b")],
        vec![hard_link("b", "up/lib/c")],
        vec![hard_link("b", "a"), hard_link("b", "a"), hard_link("b", "usr/lib/c")],
        vec![hard_link("b", "a"), file("b", "other")],
        vec![hard_link("b", "lib")],
        vec![file(".wh..wh.plnk/1.2", "p"), hard_link("b", ".wh..wh.plnk/1.2")],
    ] {
        image(&scratch, &[&below, &above]);
        for args in [&["verify", "oci:image"][..], &["explain", "-q", "oci:image"]] {
            let output = scratch.run(args);
            assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        }
        let (copied, mounted) = (scratch.unpack(), scratch.unpack_shared());
        // A link to a file of a layer below is a copy of it in an overlay.
        let files = |root: &std::path::Path| -> Vec<String> {
            let lines = listing(root).into_iter();
            lines
                .map(|line| {
                    line.split(' ').filter(|word| !word.starts_with('=')).collect::<Vec<_>>().join(" ")
                })
                .map(|line| line.replace("  ", " "))
                .collect()
        };
        assert_eq!(files(&copied), files(&mounted));
        for bundle in ["bundle", "shared"] {
            let output = scratch.run(&["remove", bundle]);
            assert!(output.status.success(), "{bundle}: {}", stderr(&output));
        }
        for dir in ["image", "store"] {
            fs::remove_dir_all(scratch.join(dir)).unwrap();
        }
    }
}

#[test]
fn the_root_has_its_attributes_in_both_forms() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::new("root-attributes");
    let root = |mode, uid, user: &[u8]| {
        dir("./")
            .mode(mode)
            .ids(uid, 8)
            .mtime(12345)
            .pax("SCHILY.xattr.user.a", user)
            .pax("SCHILY.xattr.trusted.b", b"t")
            .pax("SCHILY.xattr.system.posix_acl_access", &acl(1000))
            .pax("SCHILY.xattr.system.posix_acl_default", &acl(1001))
    };
    let plain = dir("./").mode(0o711).ids(5, 6);
    let layers: [&[&[Item]]; 5] = [
        &[&[root(0o1770, 7, b"one"), file("f", "")]],
        &[&[root(0o750, 7, b"one")], &[file("f", "")]],
        &[&[root(0o750, 7, b"one"), file("f", "")], &[root(0o755, 9, b"two"), file("d/g", "")]],
        // What a lower layer gave, an upper one takes.
        &[&[root(0o750, 7, b"one"), file("f", "")], &[plain, file("g", "")]],
        &[
            &[root(0o750, 7, b"one"), file("f", "")],
            &[root(0o700, 3, b"two"), file(".wh..wh..opq", ""), file("g", "")],
        ],
    ];
    for (number, layers) in layers.iter().enumerate() {
        let mut fixture = Fixture::new(&scratch);
        fixture.config = json!({ "WorkingDir": "/made/here" });
        for items in *layers {
            fixture.layer(Packing::Gzip, &archive(items));
        }
        fixture.finish();
        for mapping in [&[][..], &["--uid-map", "0:100000:65536"]] {
            let unpack = |form: &[&str], bundle: &str| {
                let args = [&["unpack", "-q"], form, mapping, &["oci:image", bundle]].concat();
                let output = scratch.run(&args);
                assert!(output.status.success(), "{number} {args:?}: {}", stderr(&output));
                listing(&scratch.join(bundle).join("rootfs"))
            };
            let (copied, mounted) = (unpack(&[], "bundle"), unpack(&OVERLAY, "shared"));
            assert_eq!(copied, mounted, "{number} {mapping:?}");
            assert_eq!(copied[0].contains("system.posix_acl_access"), number != 3, "{}", copied[0]);
            assert_eq!(
                fs::metadata(scratch.join("bundle/rootfs")).unwrap().mtime(),
                if number == 3 { 1_000_000_000 } else { 12345 }
            );
            for bundle in ["bundle", "shared"] {
                let output = scratch.run(&["diff", bundle]);
                assert_eq!(
                    String::from_utf8_lossy(&output.stdout),
                    "",
                    "{number} {mapping:?}: {}",
                    stderr(&output)
                );
                let output = scratch.run(&["remove", bundle]);
                assert!(output.status.success(), "{bundle}: {}", stderr(&output));
            }
        }
        for dir in ["image", "store"] {
            fs::remove_dir_all(scratch.join(dir)).unwrap();
        }
    }
}

#[test]
fn a_user_that_the_image_does_not_have_leaves_no_bundle() {
    let scratch = Scratch::new("no-such-user");
    image(&scratch, &[&[dir("etc"), file("etc/passwd", "ann:x:5:5::/:/bin/sh\n")]]);
    let forms: &[&[&str]] = if nix::unistd::geteuid().is_root() { &[&[], &OVERLAY] } else { &[&[]] };
    for form in forms {
        for (user, reason) in
            [("bob", "has no bob"), ("ann:bobs", "has no bobs"), ("4294967296", "out of range")]
        {
            let output =
                scratch.run(&[&["unpack", "-q", "--user", user], *form, &["oci:image", "bundle"]].concat());
            assert!(!output.status.success() && stderr(&output).contains(reason), "{}", stderr(&output));
            let left: Vec<String> =
                names(scratch.path()).into_iter().filter(|name| name != "store").collect();
            assert_eq!(left, ["image"], "{form:?} {user}");
            let records = scratch.join("store/bundles");
            assert!(!records.exists() || names(&records).is_empty(), "{form:?} {user}");
        }
    }
    let help = scratch.run(&["unpack", "--help"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("a name is looked up in the image's /etc/passwd"));
    // The number of the image's own user is known before its layers.
    let mut fixture = Fixture::new(&scratch);
    fixture.config = json!({ "User": "99999999999" });
    fixture.layer(Packing::Gzip, b"no archive at all").finish();
    let error = stderr(&scratch.run(&["unpack", "-q", "oci:image", "bundle"]));
    assert!(error.contains("out of range"), "{error}");
}

#[test]
fn files_of_options_are_read_once_and_before_the_layers() {
    let scratch = Scratch::new("option-files");
    let mut fixture = Fixture::new(&scratch);
    fixture.layer(Packing::Gzip, b"no archive at all").finish();
    fs::write(scratch.join("bad.json"), "{").unwrap();
    for option in ["--merge", "--seccomp"] {
        for (path, reason) in [("missing.json", "no such file"), ("bad.json", "bad.json: ")] {
            let error = stderr(&scratch.run(&["unpack", "-q", option, path, "oci:image", "bundle"]));
            assert!(error.contains(reason) && !error.contains("layer"), "{option} {path}: {error}");
        }
    }
    fs::remove_dir_all(scratch.join("image")).unwrap();
    image(&scratch, &[&[file("a", "")]]);
    let script = "printf '{\"hostname\":\"piped\"}' | \"$0\" unpack -q --merge /dev/stdin oci:image one && \
                  printf '{\"defaultAction\":\"SCMP_ACT_LOG\"}' | \"$0\" unpack -q --seccomp /dev/stdin oci:image two";
    let output = std::process::Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_tare-image")])
        .current_dir(scratch.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(fs::read_to_string(scratch.join("one/config.json")).unwrap().contains("piped"));
    assert!(fs::read_to_string(scratch.join("two/config.json")).unwrap().contains("SCMP_ACT_LOG"));
}

#[test]
fn explain_follows_the_symlinks_of_the_image() {
    let scratch = Scratch::new("explain-links");
    image(
        &scratch,
        &[
            &[
                dir("usr"),
                dir("usr/lib"),
                file("usr/lib/a", ""),
                symlink("lib", "usr/lib"),
                symlink("sh", "/lib/a"),
                symlink("loop", "loop"),
            ],
            &[file("usr/lib/b", ""), file("usr/lib/.wh.gone", "")],
        ],
    );
    for (path, shown, hidden) in [
        ("/lib/a", &["/usr/lib/a"][..], "/usr/lib/b"),
        ("lib/b", &["/usr/lib/b"], "/usr/lib/a"),
        ("/lib", &["/lib -> usr/lib", "/usr/lib/a", "/usr/lib/b"], "/sh"),
        ("/sh", &["/sh -> /lib/a", "/usr/lib/a"], "/usr/lib/b"),
    ] {
        let output = scratch.run(&["explain", "-q", "oci:image", path]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{path}: {}", stderr(&output));
        assert!(shown.iter().all(|shown| text.contains(shown)) && !text.contains(hidden), "{path}: {text}");
    }
    for (path, reason) in [
        ("/lib/none", "no layer of the image has /lib/none"),
        ("/loop/x", "too many levels of symbolic links"),
    ] {
        let error = stderr(&scratch.run(&["explain", "-q", "oci:image", path]));
        assert!(error.contains(reason), "{path}: {error}");
    }
}
