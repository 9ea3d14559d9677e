//! Layers that the kernel mounts: their trees against unpacked ones, the programs that judge the format, the commands
//! that prove and convert them, and that nothing is left mounted.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tar::EntryType;

use crate::skip::{skip, skip_part};
use crate::support::*;

fn ok(scratch: &Scratch, args: &[&str]) -> String {
    let output = scratch.run(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The directories of the layers in a store.
fn layers(store: &Path) -> Vec<PathBuf> {
    names(&store.join("layers")).into_iter().map(|name| store.join("layers").join(name)).collect()
}

fn is_indexed(layer: &Path) -> bool {
    assert!(layer.join("layer.erofs").exists() != layer.join("fs").exists(), "{}", layer.display());
    layer.join("layer.erofs").exists()
}

/// A header of one dialect, with its checksum.
fn header(name: &str, kind: u8, size: usize, magic: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000640");
    header[108..115].copy_from_slice(b"0001750");
    header[116..123].copy_from_slice(b"0000144");
    header[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    header[136..147].copy_from_slice(b"14000000000");
    header[156] = kind;
    header[257..257 + magic.len()].copy_from_slice(magic);
    change(&mut header);
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

fn padded(mut bytes: Vec<u8>, data: &[u8]) -> Vec<u8> {
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

const USTAR: &[u8] = b"ustar\x0000";
const GNU: &[u8] = b"ustar  \0";

/// Archives of one layer, as different writers make them.
fn dialects() -> Vec<(&'static str, Vec<u8>)> {
    let data = b"some data that is no block";
    let with_end = |mut bytes: Vec<u8>| {
        bytes.extend([0; 1024]);
        bytes
    };
    let one = |kind: u8, magic: &[u8]| padded(header("file", kind, data.len(), magic, |_| {}), data);
    let plain = |items: &[Item]| archive(items);
    let long = "n".repeat(200);
    let sparse_1 = |ranges: &str, size: &str, stored: usize| {
        let mut map = ranges.as_bytes().to_vec();
        map.resize(512, 0);
        map.extend((0..stored).map(|at| at as u8));
        let item = Item { data: map, ..file("GNUSparseFile.0/s", "") };
        item.pax("GNU.sparse.major", b"1")
            .pax("GNU.sparse.minor", b"0")
            .pax("GNU.sparse.name", b"sparse")
            .pax("GNU.sparse.realsize", size.as_bytes())
    };
    let old_sparse = header("old-sparse", b'S', 512, GNU, |header| {
        header[386..397].copy_from_slice(b"00000010000");
        header[398..409].copy_from_slice(b"00000001000");
        header[483..494].copy_from_slice(b"00000100000");
    });
    vec![
        ("v7", with_end(one(b'\0', b""))),
        ("ustar", with_end(one(b'0', USTAR))),
        ("gnu", with_end(one(b'0', GNU))),
        ("contiguous", with_end(one(b'7', USTAR))),
        (
            "prefix",
            with_end(padded(header("f", b'0', 3, USTAR, |it| it[345..349].copy_from_slice(b"a/bc")), b"abc")),
        ),
        ("v7-directory", with_end(header("old-dir/", b'\0', 0, b"", |_| {}))),
        ("no-end", one(b'0', USTAR)),
        ("no-padding", [header("f", b'0', data.len(), USTAR, |_| {}), data.to_vec()].concat()),
        ("behind-the-end", [with_end(one(b'0', USTAR)), vec![0; 9000], b"words".to_vec()].concat()),
        (
            "base-256",
            with_end(header("f", b'5', 0, GNU, |it| {
                it[108..116].copy_from_slice(b"\x80\0\0\0\x00\x1e\x84\x80");
            })),
        ),
        (
            "signed-ids",
            with_end(header("f", b'5', 0, GNU, |it| {
                it[108..116].copy_from_slice(&[0xff; 7].iter().chain(&[0xfe]).copied().collect::<Vec<u8>>());
            })),
        ),
        ("gnu-long-name", plain(&[file(&format!("d/{long}"), "x"), symlink("l", &long)])),
        ("pax-name", plain(&[file("short", "x").pax("path", format!("p/{long}/{long}").as_bytes())])),
        (
            "pax-times",
            plain(&[file("a", "x").pax("mtime", b"1700000.123456789"), file("b", "").pax("mtime", b"-1.5")]),
        ),
        ("pax-sparse-1", plain(&[sparse_1("2\n512\n512\n8192\n100\n", "20000", 612)])),
        ("pax-sparse-odd", plain(&[sparse_1("2\n100\n50\n8000\n13\n", "9000", 63)])),
        ("pax-sparse-empty", plain(&[sparse_1("0\n", "1000000", 0)])),
        ("gnu-sparse", with_end(padded(old_sparse, &[7; 512]))),
        ("zeros", plain(&[Item { data: vec![0; 1 << 20], ..file("zeros", "") }])),
        (
            "names",
            plain(&[
                file("x", "").raw_name(b"\xff\xfe"),
                file(" ", ""),
                file("-", ""),
                file("!", ""),
                file("~", ""),
            ]),
        ),
        (
            "wide",
            plain(
                &(0..700).map(|n| file(&format!("w/{n:03}{}", "x".repeat(n % 90)), "")).collect::<Vec<_>>(),
            ),
        ),
        ("deep", plain(&[file(&format!("{}f", "d/".repeat(90)), "deep")])),
        ("large-directory-name", plain(&[file(&"m".repeat(255), "").pax("path", &[b'm'; 255])])),
        (
            "kinds",
            plain(&[
                dir("./").mode(0o711).ids(3, 4),
                node("null", EntryType::Char, 1, 3).mode(0o666),
                node("disk", EntryType::Block, 259, 70_000).mode(0o660).ids(0, 6),
                node("pipe", EntryType::Fifo, 0, 0),
                symlink("here", "null"),
                symlink("long", &"t/".repeat(49)),
                file("suid", "x").mode(0o6755).ids(70_000, 80_000),
                hard_link("other", "suid"),
                hard_link("third", "other"),
            ]),
        ),
        (
            "attributes",
            plain(&[
                file("a", "x").pax("SCHILY.xattr.user.a", b"1").pax("SCHILY.xattr.trusted.b", &[9; 3000]),
                file("b", "x")
                    .pax("SCHILY.xattr.user.a", b"1")
                    .pax("SCHILY.xattr.security.capability", &capability()),
                dir("d").pax("LIBARCHIVE.xattr.user.%61b", b"aGVsbG8"),
                symlink("l", "a")
                    .pax("SCHILY.xattr.trusted.on-a-link", b"2")
                    .pax("SCHILY.xattr.user.not", b"3"),
            ]),
        ),
        ("implied", plain(&[file("x/y/z", "1"), dir("x"), file("q/r", "2")])),
        (
            "twice",
            plain(&[
                file("a", "1"),
                dir("a"),
                file("a/b", "2"),
                file("a", "3"),
                hard_link("l", "a"),
                file("a", "4"),
            ]),
        ),
        (
            "marks",
            plain(&[file(".wh.gone", ""), file("d/.wh..wh..opq", ""), file("d/x", "1"), file("e/.wh.y", "")]),
        ),
        (
            "aufs",
            plain(&[
                file(".wh..wh.plnk/1.2", "p"),
                hard_link("b", ".wh..wh.plnk/1.2"),
                file(".wh..wh.orph", ""),
            ]),
        ),
        (
            "through-a-link",
            plain(&[dir("usr"), dir("usr/lib"), symlink("lib", "usr/lib"), file("lib/f", "x")]),
        ),
        ("empty", vec![0; 1024]),
    ]
}

fn capability() -> Vec<u8> {
    [&[1, 0, 0, 2][..], &[4; 16]].concat()
}

#[test]
fn the_kernel_shows_the_tree_that_unpacking_makes_in_every_dialect() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let below = archive(&[
        dir("d"),
        file("d/below", "b"),
        file("gone", "g"),
        dir("e"),
        file("e/y", "y"),
        dir("w").mode(0o700),
    ]);
    let (mut indexed, mut can_judge) = (0, true);
    for (name, layer) in dialects() {
        let scratch = Scratch::on_disk(&format!("mounted-{name}"));
        if !mounts_indexes(&scratch) {
            return skip("this host mounts no indexes of layers");
        }
        for layers in [vec![&layer], vec![&below, &layer]] {
            let mut fixture = Fixture::new(&scratch);
            layers.iter().for_each(|layer| drop(fixture.layer(Packing::Gzip, layer).path.clone()));
            fixture.finish();
            let expected = listing(&scratch.unpack());
            ok(&scratch, &["unpack", "-q", "--overlay=erofs", "--store", "store", "oci:image", "shared"]);
            assert_eq!(listing(&scratch.join("shared/rootfs")), expected, "{name}");
            assert_eq!(listing(&scratch.unpack_directories()), expected, "{name}");
            indexed += self::layers(&scratch.join("store")).iter().filter(|layer| is_indexed(layer)).count();
            can_judge = can_judge && judge(&scratch);
            let verified = ok(&scratch, &["verify", "--store", "store"]);
            assert_eq!(verified.lines().count(), layers.len(), "{name}: {verified}");
            for bundle in ["shared", "directories", "bundle"] {
                ok(&scratch, &["remove", bundle]);
            }
            for gone in ["image", "store", "files"] {
                fs::remove_dir_all(scratch.join(gone)).unwrap();
            }
        }
    }
    // All, but for those of one kind that cannot be.
    assert!(indexed > 3 * dialects().len() - 10, "only {indexed}");
}

/// Lets fsck.erofs judge the indexes of a store. False if there is none that knows blocks of 512 bytes (erofs-utils
/// 1.7): `TARE_FSCK_EROFS` may name another.
fn judge(scratch: &Scratch) -> bool {
    let program = std::env::var("TARE_FSCK_EROFS").unwrap_or_else(|_| "fsck.erofs".into());
    let words: Vec<&str> = program.split_whitespace().collect();
    let run = |args: &[&str]| Command::new(words[0]).args(&words[1..]).args(args).output();
    let said = |output: &std::process::Output| {
        format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(output))
    };
    let Ok(version) = run(&["-V"]) else {
        skip_part("needs fsck.erofs");
        return false;
    };
    let knows = |old: &&str| said(&version).split_whitespace().any(|word| word == *old);
    if ["1.4", "1.5", "1.6"].iter().any(knows) {
        skip_part("this fsck.erofs knows no blocks of 512 bytes");
        return false;
    }
    for layer in layers(&scratch.join("store")).iter().filter(|layer| is_indexed(layer)) {
        let device = format!("--device={}", layer.join("layer.tar").display());
        let output = run(&[&device, "--extract", layer.join("layer.erofs").to_str().unwrap()]).unwrap();
        let said = said(&output);
        assert!(output.status.success() && !said.contains("<E>"), "{}: {said}", layer.display());
    }
    true
}

/// An image of layers that need each other.
fn chained(scratch: &Scratch) {
    image(
        scratch,
        &[
            &[dir("d").mode(0o751).ids(5, 6), file("d/a", "one"), file("b", "two"), file("gone", "x")],
            &[
                file("d/c", "three"),
                hard_link("e", "b"),
                file(".wh.gone", ""),
                file("big", &"y".repeat(70_000)),
            ],
            &[file("f", "four")],
        ],
    );
}

#[test]
fn every_byte_of_a_store_is_proven() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::on_disk("proven");
    if !mounts_indexes(&scratch) {
        return skip("this host mounts no indexes of layers");
    }
    chained(&scratch);
    ok(&scratch, &["pull", "-q", "--overlay=erofs", "--store", "store", "oci:image"]);
    let good = ok(&scratch, &["verify", "--store", "store"]);
    assert_eq!(good.lines().filter(|line| line.ends_with(": good")).count(), 3, "{good}");
    for layer in layers(&scratch.join("store")) {
        for name in ["layer.tar", "layer.erofs"] {
            let path = layer.join(name);
            let bytes = fs::read(&path).unwrap();
            for at in [0, bytes.len() / 2, bytes.len() - 1] {
                let mut changed = bytes.clone();
                changed[at] ^= 1;
                fs::write(&path, changed).unwrap();
                let output = scratch.run(&["verify", "--store", "store"]);
                assert_eq!(output.status.code(), Some(1), "{name} at {at}: {}", stderr(&output));
                let named = layer.file_name().unwrap().to_str().unwrap();
                assert!(stderr(&output).contains(named), "{name} at {at}: {}", stderr(&output));
            }
            fs::write(&path, bytes).unwrap();
        }
    }
    ok(&scratch, &["verify", "--store", "store"]);
    assert_eq!(names(&scratch.join("store/tmp")), [""; 0]);
}

#[test]
fn a_store_is_brought_from_one_form_to_the_other() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::on_disk("converted");
    if !mounts_indexes(&scratch) {
        return skip("this host mounts no indexes of layers");
    }
    chained(&scratch);
    let expected = listing(&scratch.unpack());
    ok(&scratch, &["pull", "-q", "--overlay=files", "--store", "store", "oci:image"]);
    ok(&scratch, &["unpack", "-q", "--overlay=files", "--store", "store", "oci:image", "shared"]);
    let forms = || layers(&scratch.join("store")).iter().map(|layer| is_indexed(layer)).collect::<Vec<_>>();
    assert_eq!(forms(), [false; 3]);
    // A mounted bundle would lose its files.
    let output = scratch.run(&["convert", "-q", "--store", "store"]);
    assert!(stderr(&output).contains("a bundle that is mounted uses its files"), "{}", stderr(&output));
    assert_eq!(forms(), [false; 3]);
    assert_eq!(listing(&scratch.join("shared/rootfs")), expected);
    ok(&scratch, &["umount", "shared"]);
    // A process that begins meanwhile may have a copy of the mount for a moment.
    for _ in 0..50 {
        ok(&scratch, &["convert", "-q", "--store", "store"]);
        if forms() == [true; 3] {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(forms(), [true; 3]);
    ok(&scratch, &["mount", "shared"]);
    assert_eq!(listing(&scratch.join("shared/rootfs")), expected);
    ok(&scratch, &["verify", "--store", "store"]);
    // Back, while it is mounted: what is mounted stays.
    ok(&scratch, &["convert", "-q", "--overlay=files", "--store", "store"]);
    assert_eq!(forms(), [false; 3]);
    assert_eq!(listing(&scratch.join("shared/rootfs")), expected);
    ok(&scratch, &["umount", "shared"]);
    ok(&scratch, &["mount", "shared"]);
    assert_eq!(listing(&scratch.join("shared/rootfs")), expected);
    assert_eq!(names(&scratch.join("store/tmp")), [""; 0]);
    // A source that is gone is told.
    ok(&scratch, &["umount", "shared"]);
    fs::rename(scratch.join("image"), scratch.join("elsewhere")).unwrap();
    let output = scratch.run(&["convert", "-q", "--store", "store"]);
    assert!(stderr(&output).contains("its layers stay as they are"), "{}", stderr(&output));
    assert_eq!(forms(), [false; 3]);
}

#[test]
fn owners_are_mapped_in_mounted_layers() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::on_disk("mounted-mapped");
    if !mounts_indexes(&scratch) {
        return skip("this host mounts no indexes of layers");
    }
    image(&scratch, &[&[dir("d").ids(1, 2), file("d/a", "x").ids(3, 4)], &[file("b", "y")]]);
    let map = ["--uid-map", "0:700000:65536"];
    ok(
        &scratch,
        &[&["unpack", "-q", "--overlay=erofs", "--store", "store", "oci:image", "b1"][..], &map].concat(),
    );
    let owner = |name: &str| {
        let meta = fs::metadata(scratch.join("b1/rootfs").join(name)).unwrap();
        (meta.uid(), meta.gid())
    };
    assert_eq!(owner("d"), (700_001, 700_002));
    assert_eq!(owner("d/a"), (700_003, 700_004));
    assert_eq!(owner("b"), (700_000, 700_000));
    ok(&scratch, &["remove", "b1"]);
}

/// Kills commands that make, mount, unmount and remove bundles on a filesystem of their own, which can then be
/// unmounted: nothing holds it. In a tmpfs layers are on loop devices; in a file of ext4 they are files.
#[test]
fn kills_while_bundles_come_and_go_leave_nothing_mounted() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::on_disk("come-and-go");
    if !mounts_indexes(&scratch) {
        return skip("this host mounts no indexes of layers");
    }
    chained(&scratch);
    fs::create_dir(scratch.join("disk")).unwrap();
    let kills = std::env::var("TARE_KILLS").unwrap_or_else(|_| "10".into());
    for (kind, mount) in [
        ("tmpfs", "mount -t tmpfs none disk"),
        ("ext4", "truncate -s 32M ext4; mkfs.ext4 -q ext4; mount -o loop ext4 disk"),
    ] {
        let script = format!(
            "{mount} || exit 9
            $IMAGE pull -q --store disk/store oci:image || exit 1
            cat disk/store/layers/*/layer.erofs >disk/there || exit 7
            i=0
            while [ $i -lt {kills} ]; do
                i=$((i + 1))
                for command in 'unpack -q --overlay --store disk/store oci:image disk/b' 'umount disk/b' 'mount disk/b' 'remove disk/b'; do
                    timeout -s KILL 0.0$(( (i * 7 + ${{#command}} * 3) % 40 + 1 )) $IMAGE $command 2>/dev/null || :
                done
            done
            $IMAGE unpack -q --overlay --store disk/store oci:image disk/b 2>/dev/null || $IMAGE mount disk/b || exit 2
            cat disk/b/rootfs/d/a disk/b/rootfs/e || exit 3
            $IMAGE remove disk/b && $IMAGE prune --store disk/store --all || exit 4
            ls disk/store/layers disk/store/tmp disk/store/bundles
            ! grep -c disk/ /proc/self/mounts || exit 5
            # Loop devices go in their own time.
            for wait in 1 2 3 4 5 6 7 8 9 10; do umount disk && break; sleep 0.2; done
            ! grep disk$ /proc/self/mounts || exit 6"
        );
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "bash", "-c", &script])
            .env("IMAGE", env!("CARGO_BIN_EXE_tare-image"))
            .current_dir(scratch.path())
            .output()
            .unwrap();
        if output.status.code() == Some(9) {
            skip_part(&format!("no {kind} can be mounted here"));
            continue;
        }
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{kind}: {}: {printed} {}", output.status, stderr(&output));
        assert!(printed.starts_with("onetwo"), "{kind}: {printed}");
    }
}
