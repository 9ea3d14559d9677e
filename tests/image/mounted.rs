//! Layers that the kernel mounts: their trees against unpacked ones, the programs that judge the format, the commands
//! that prove and convert them, and that nothing is left mounted.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tar::EntryType;
use tare::testing::image::blob::digest;

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

/// A program of erofs-utils: what `TARE_EROFS_UTILS` puts before its name, or that of the tree of Debian's newest suite
/// where there is one (integration/suite), or this machine's.
fn of_erofs_utils(name: &str, args: &[&str]) -> std::io::Result<std::process::Output> {
    let suites = std::env::var_os("SUITES").map_or_else(|| PathBuf::from("target/suites"), PathBuf::from);
    let before = match std::env::var("TARE_EROFS_UTILS") {
        Ok(before) => before,
        Err(_) if suites.join("forky/.complete").exists() => "integration/suite program forky".into(),
        Err(_) => String::new(),
    };
    let words: Vec<&str> = before.split_whitespace().chain([name]).chain(args.iter().copied()).collect();
    Command::new(words[0]).args(&words[1..]).output()
}

/// Lets fsck.erofs and dump.erofs judge the indexes of a store. False if there are none that know blocks of 512 bytes
/// (erofs-utils 1.7).
fn judge(scratch: &Scratch) -> bool {
    let said = |output: &std::process::Output| {
        format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(output))
    };
    let Ok(version) = of_erofs_utils("fsck.erofs", &["-V"]) else {
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
        let index = layer.join("layer.erofs").display().to_string();
        for (program, args) in [
            ("fsck.erofs", &[&device, "--extract", &index][..]),
            ("dump.erofs", &[&device, "-s", "-S", &index]),
        ] {
            let output = of_erofs_utils(program, args).unwrap();
            let said = said(&output);
            let is_good = output.status.success() && !said.contains("<E>") && !said.contains("<W>");
            assert!(is_good, "{program}: {}: {said}", layer.display());
        }
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

/// Each mount, and the end of each, is a wait for the kernel's readers.
#[test]
fn a_second_bundle_mounts_each_layer_once() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::on_disk("mounts-once");
    if !mounts_indexes(&scratch) {
        return skip("this host mounts no indexes of layers");
    }
    chained(&scratch);
    let unpack = ["unpack", "-q", "--overlay=erofs", "--store", "store", "oci:image"];
    ok(&scratch, &[&unpack[..], &["first"]].concat());
    let traced = |filter: &str, bundle: &str| {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-e", "signal=none", "-o", "calls", "-e", filter]);
        strace.arg(env!("CARGO_BIN_EXE_tare-image")).args(unpack).arg(bundle);
        let output = strace.current_dir(scratch.path()).output().ok()?;
        assert!(output.status.success(), "{filter}: {}", stderr(&output));
        Some(fs::read_to_string(scratch.join("calls")).unwrap())
    };
    let Some(calls) = traced("trace=fsopen", "second") else {
        ok(&scratch, &["remove", "first"]);
        return skip("needs strace");
    };
    assert_eq!(calls.matches("fsopen(\"erofs\"").count(), 3, "{calls}");
    // Where no threads are to be had, one thing is done after the other.
    let calls = traced("inject=clone:error=EAGAIN", "third").unwrap();
    assert!(calls.contains("(INJECTED)"), "{calls}");
    assert_eq!(listing(&scratch.join("third/rootfs")), listing(&scratch.join("second/rootfs")));
    for bundle in ["first", "second", "third"] {
        ok(&scratch, &["remove", bundle]);
    }
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
        let output = scratch.by_script("bash", &script);
        if output.status.code() == Some(9) {
            skip_part(&format!("no {kind} can be mounted here"));
            continue;
        }
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{kind}: {}: {printed} {}", output.status, stderr(&output));
        assert!(printed.starts_with("onetwo"), "{kind}: {printed}");
    }
}

/// An index that the kernel refuses is this layer's fault where it takes another.
#[test]
fn a_damaged_index_is_not_told_as_a_kernel_without_erofs() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::on_disk("damaged-index");
    if !mounts_indexes(&scratch) {
        return skip("this host mounts no indexes of layers");
    }
    image(&scratch, &[&[file("a", "x")]]);
    ok(&scratch, &["pull", "-q", "--overlay=erofs", "--store", "store", "oci:image"]);
    let index = layers(&scratch.join("store"))[0].join("layer.erofs");
    let bytes = fs::read(&index).unwrap();
    // The magic number, and the size of blocks: EINVAL, as old kernels say it to every index.
    for at in [1024, 1036] {
        let mut changed = bytes.clone();
        changed[at] ^= 0x55;
        fs::write(&index, changed).unwrap();
        let output = scratch.run(&["unpack", "-q", "--overlay", "--store", "store", "oci:image", "bundle"]);
        let error = stderr(&output);
        assert!(!output.status.success() && error.contains("mount layer sha256-"), "{at}: {error}");
        assert!(
            error.contains("tare-image verify --store") && !error.contains("mounts no EROFS"),
            "{at}: {error}"
        );
    }
    fs::write(&index, bytes).unwrap();
    ok(&scratch, &["unpack", "-q", "--overlay", "--store", "store", "oci:image", "bundle"]);
    ok(&scratch, &["remove", "bundle"]);
    // What the probe has made has no name.
    assert_eq!(names(index.parent().unwrap()), ["about.json", "layer.erofs", "layer.tar"]);
    assert_eq!(names(&scratch.join("store/tmp")), [""; 0]);
}

/// On a filesystem with fs-verity: nobody writes to a layer any more, and one that was replaced is not mounted.
#[test]
fn layers_are_sealed_where_the_filesystem_can() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    if !Path::new("/sys/fs/ext4/features/verity").exists() {
        return skip("needs ext4 with fs-verity in the kernel");
    }
    let scratch = Scratch::on_disk("sealed");
    if !mounts_indexes(&scratch) {
        return skip("this host mounts no indexes of layers");
    }
    chained(&scratch);
    fs::create_dir(scratch.join("disk")).unwrap();
    let script = "
        truncate -s 64M ext4; mkfs.ext4 -q -b 4096 -O verity ext4; mount -o loop ext4 disk
        $IMAGE pull -q --overlay=erofs --store disk/store oci:image
        test $(grep -l seals disk/store/layers/*/about.json | wc -l) = 3
        for file in disk/store/layers/*/layer.*; do
            if (: >>$file) 2>/dev/null; then echo $file can be written to; exit 1; fi
        done
        $IMAGE verify --store disk/store
        $IMAGE unpack -q --overlay --store disk/store oci:image disk/b
        cat disk/b/rootfs/d/a
        $IMAGE umount disk/b
        for name in layer.tar layer.erofs; do
            layer=$(ls -d disk/store/layers/sha256-* | head -n 1)
            cp $layer/$name good; mv $layer/$name kept; cp good $layer/$name
            if $IMAGE mount disk/b 2>error; then echo mounted a replaced $name; exit 1; fi
            grep -q \"$name has no fs-verity\" error
            if $IMAGE verify --store disk/store 2>error; then echo proved a replaced $name; exit 1; fi
            mv -f kept $layer/$name 2>/dev/null || { mkdir -p disk/x; mv kept disk/x; }
            rm -rf disk/store disk/b disk/x
            $IMAGE pull -q --overlay=erofs --store disk/store oci:image
            $IMAGE unpack -q --overlay --store disk/store oci:image disk/b
            $IMAGE umount disk/b
        done
        $IMAGE mount disk/b; cat disk/b/rootfs/e; $IMAGE remove disk/b";
    let output = scratch.by_script("sh", script);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if stderr(&output).contains("loop device") {
        return skip("needs loop devices");
    }
    assert!(output.status.success() && printed.ends_with("two"), "{printed} {}", stderr(&output));
}

/// The store has no blobs: what is given out has its first digest where compressing gives the same bytes, and says
/// so where it does not.
#[test]
fn an_image_is_given_out_by_the_store_alone() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let scratch = Scratch::on_disk("given-out");
    if !mounts_indexes(&scratch) {
        return skip("this host mounts no indexes of layers");
    }
    let manifest = |layout: &str| {
        let read = |path: PathBuf| -> serde_json::Value {
            serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
        };
        let index = read(scratch.join(layout).join("index.json"));
        let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
        (read(scratch.join(layout).join("blobs").join(digest.replace(':', "/"))), digest)
    };
    let lower = archive(&[dir("d"), file("d/a", "one"), file("gone", "x")]);
    let upper = archive(&[file("b", &"two".repeat(2000)), file(".wh.gone", "")]);
    let as_we_compress = |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut out, bytes).unwrap();
        out.finish().unwrap()
    };
    // Not compressed, and as we compress: both have their digests, and so has the manifest.
    let mut fixture = Fixture::new(&scratch);
    fixture.layer(Packing::Plain, &lower);
    let blob = fixture.blob(&as_we_compress(&upper), "application/vnd.oci.image.layer.v1.tar+gzip");
    fixture.raw_layer(blob, digest::sha256_of(&upper).as_ref()).finish();
    let expected = listing(&scratch.unpack());
    let (_, first) = manifest("image");
    ok(&scratch, &["pull", "-q", "--overlay=erofs", "--store", "store", "oci:image"]);
    fs::rename(scratch.join("image"), scratch.join("gone")).unwrap();
    let given = ["pull", "--from-store", "--store", "store", "oci:image"];
    assert_eq!(ok(&scratch, &[&given[..], &["oci:same"]].concat()).trim(), first);
    assert_eq!(manifest("same").1, first);

    // Compressed by another: as it was asked for, with digests that are true.
    let mut fixture = Fixture::new(&scratch);
    fixture.layer(Packing::Plain, &lower).layer(Packing::Gzip, &upper).finish();
    let (before, first) = manifest("image");
    ok(&scratch, &["pull", "-q", "--overlay=erofs", "--store", "store", "oci:image"]);
    ok(&scratch, &["unpack", "-q", "--overlay=erofs", "--store", "store", "oci:image", "shared"]);
    fs::remove_dir_all(scratch.join("image")).unwrap();
    let media_type = |kind: &str| format!("application/vnd.oci.image.layer.v1.tar{kind}");
    for (words, kind) in
        [(&[][..], ""), (&["--compress", "gzip"], "+gzip"), (&["--compress", "zstd"], "+zstd")]
    {
        let output = scratch.run(&[&given[..], &["oci:copy"], words].concat());
        assert!(output.status.success(), "{kind}: {}", stderr(&output));
        assert!(stderr(&output).contains("gives other bytes than those it came in"), "{}", stderr(&output));
        let (after, digest) = manifest("copy");
        assert!(digest != first && String::from_utf8_lossy(&output.stdout).trim() == digest);
        assert_eq!((&after["config"], &after["layers"][0]), (&before["config"], &before["layers"][0]));
        assert_eq!(after["layers"][1]["mediaType"], media_type(kind));
        if kind.is_empty() {
            assert_eq!(after["layers"][1]["digest"], digest::sha256_of(&upper).to_string());
        }
        ok(&scratch, &["unpack", "-q", "oci:copy", "again"]);
        assert_eq!(listing(&scratch.join("again/rootfs")), expected, "{kind}");
        for gone in ["copy", "again"] {
            fs::remove_dir_all(scratch.join(gone)).unwrap();
        }
    }
    // The changes of a bundle whose image is nowhere else, even if the store has forgotten its name.
    ok(&scratch, &["rm", "--store", "store", "oci:image"]);
    fs::write(scratch.join("shared/rootfs/new"), "new").unwrap();
    let output = scratch.run(&["repack", "-q", "shared", "oci:repacked"]);
    assert!(!output.status.success());
    ok(&scratch, &["repack", "-q", "--from-store", "shared", "oci:repacked"]);
    assert_eq!(manifest("repacked").0["layers"].as_array().unwrap().len(), 3);
    ok(&scratch, &["unpack", "-q", "oci:repacked", "again"]);
    assert_eq!(fs::read_to_string(scratch.join("again/rootfs/new")).unwrap(), "new");
    assert_eq!(fs::read_to_string(scratch.join("again/rootfs/d/a")).unwrap(), "one");

    // A damaged archive is not given out, whether it is compressed or not.
    for layer in layers(&scratch.join("store")) {
        let path = layer.join("layer.tar");
        let bytes = fs::read(&path).unwrap();
        let mut changed = bytes.clone();
        changed[0] ^= 1;
        fs::write(&path, changed).unwrap();
        let output = scratch.run(&["repack", "-q", "--from-store", "shared", "oci:damaged"]);
        assert!(!output.status.success(), "{}: {}", layer.display(), stderr(&output));
        fs::write(&path, bytes).unwrap();
    }
    ok(&scratch, &["remove", "shared"]);
    assert_eq!(names(&scratch.join("store/tmp")), [""; 0]);

    // A layer of directories has no archive.
    image(&scratch, &[&[file("a", "x")]]);
    ok(&scratch, &["pull", "-q", "--overlay=files", "--store", "files", "oci:image"]);
    let output = scratch.run(&["pull", "--from-store", "--store", "files", "oci:image", "oci:none"]);
    assert!(stderr(&output).contains("its archive is not kept"), "{}", stderr(&output));
}
