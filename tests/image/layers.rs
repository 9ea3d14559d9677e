//! The rules by which layers are applied (image-spec, layer.md), one test each.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use tar::EntryType;

use crate::skip::skip;
use crate::support::*;

/// Unpacks these layers in all forms, as a private tree and as overlays of directories and of what the kernel mounts,
/// which must give the same tree.
fn unpacked(name: &str, layers: &[&[Item]], check: impl Fn(&Path)) {
    let scratch = Scratch::new(name);
    image(&scratch, layers);
    check(&scratch.unpack());
    check(&scratch.unpack_shared());
    check(&scratch.unpack_directories());
}

/// Whether files below `root` tell how much room they take: those of mounted indexes do not.
fn tells_room(root: &Path) -> bool {
    !root.starts_with(root.ancestors().nth(2).unwrap().join("shared"))
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn every_sort_of_entry_is_made_with_its_metadata() {
    let items = [
        dir("./"),
        dir("d").mode(0o2750).ids(5, 6),
        file("d/f", "hello").mode(0o640).ids(1000, 1001),
        file("suid", "x").mode(0o4755).ids(7, 8),
        symlink("s", "/nowhere").ids(9, 10),
        hard_link("h", "d/f"),
        node("fifo", EntryType::Fifo, 0, 0).mode(0o600),
        node("null", EntryType::Char, 1, 3).mode(0o666).ids(0, 5),
        node("loop", EntryType::Block, 7, 0).mode(0o660),
        dir("tmp").mode(0o1777),
    ];
    unpacked("kinds", &[&items], |root| {
        let meta = |name: &str| fs::symlink_metadata(root.join(name)).unwrap();
        let found = |name: &str| {
            let meta = meta(name);
            (meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime())
        };
        let time = TIME.cast_signed();
        assert_eq!(found("d"), (0o2750, 5, 6, time));
        assert_eq!(found("d/f"), (0o640, 1000, 1001, time));
        assert_eq!(found("suid"), (0o4755, 7, 8, time));
        assert_eq!(found("s"), (0o777, 9, 10, time));
        assert_eq!(found("tmp"), (0o1777, 0, 0, time));
        assert_eq!(found("null"), (0o666, 0, 5, time));
        assert_eq!(found("loop"), (0o660, 0, 0, time));
        assert_eq!(found(""), (0o755, 0, 0, time));
        assert_eq!((meta("h").ino(), meta("h").nlink()), (meta("d/f").ino(), 2));
        assert!(meta("fifo").file_type().is_fifo());
        assert_eq!(meta("null").rdev(), nix::sys::stat::makedev(1, 3));
        assert!(meta("loop").file_type().is_block_device());
        assert_eq!(fs::read_link(root.join("s")).unwrap().as_os_str(), "/nowhere");
    });
}

#[test]
fn all_compressions_give_the_same_tree() {
    let items = [dir("a"), file("a/b", &"content ".repeat(100_000)), symlink("c", "a/b")];
    let listings = PACKINGS.map(|packing| {
        let scratch = Scratch::new(&format!("packing-{packing:?}"));
        let mut fixture = Fixture::new(&scratch);
        fixture.layer(packing, &archive(&items)).finish();
        let mut lines = listing(&scratch.unpack());
        lines.retain(|line| !line.starts_with("/ "));
        lines
    });
    assert_eq!(listings[0].len(), 3);
    assert_eq!(listings[0], listings[1]);
    assert_eq!(listings[0], listings[2]);
}

#[test]
fn a_whiteout_takes_away_what_is_below() {
    let below =
        [dir("d"), file("d/a", ""), file("d/b", ""), dir("gone"), file("gone/x", ""), symlink("l", "d")];
    let above = [file("d/.wh.a", ""), file(".wh.gone", ""), file(".wh.l", ""), file(".wh.missing", "")];
    unpacked("whiteout", &[&below, &above], |root| {
        assert_eq!(names(root), ["d"]);
        assert_eq!(names(&root.join("d")), ["b"]);
    });
}

#[test]
fn a_whiteout_spares_what_its_own_layer_made_whatever_the_order() {
    let below = [dir("d"), file("d/a", "old"), file("d/b", "old"), dir("e"), file("e/old", "")];
    let before = [file("d/.wh.a", ""), file("d/a", "new"), file(".wh.e", ""), dir("e"), file("e/new", "")];
    let after = [file("d/a", "new"), file("d/.wh.a", ""), dir("e"), file("e/new", ""), file(".wh.e", "")];
    for (name, above) in [("wh-before", before), ("wh-after", after)] {
        unpacked(name, &[&below, &above], |root| {
            assert_eq!(text(root.join("d/a")), "new", "{name}");
            assert_eq!(text(root.join("d/b")), "old", "{name}");
            assert_eq!(names(&root.join("e")), ["new"], "{name}");
        });
    }
}

#[test]
fn a_whiteout_spares_a_path_whose_directories_have_no_entries() {
    let below = [dir("a"), dir("a/b"), file("a/b/old", ""), file("a/old", "")];
    let above = [file("a/b/new", ""), file(".wh.a", "")];
    unpacked("wh-implied", &[&below, &above], |root| {
        assert_eq!(names(&root.join("a")), ["b"]);
        assert_eq!(names(&root.join("a/b")), ["new"]);
    });
}

#[test]
fn an_opaque_directory_hides_lower_children_whatever_the_order() {
    let below = [dir("d"), file("d/a", ""), dir("d/sub"), file("d/sub/x", ""), file("keep", "")];
    let first = [dir("d"), file("d/.wh..wh..opq", ""), file("d/new", ""), dir("d/sub"), file("d/sub/y", "")];
    let last = [dir("d"), file("d/new", ""), dir("d/sub"), file("d/sub/y", ""), file("d/.wh..wh..opq", "")];
    for (name, above) in [("opq-first", first), ("opq-last", last)] {
        unpacked(name, &[&below, &above], |root| {
            assert_eq!(names(&root.join("d")), ["new", "sub"], "{name}");
            assert_eq!(names(&root.join("d/sub")), ["y"], "{name}");
            assert!(root.join("keep").exists());
        });
    }
}

#[test]
fn a_hard_link_to_a_lower_file_does_not_shield_that_file_from_its_whiteout() {
    let below = [file("a", "one")];
    let above = [hard_link("b", "a"), file(".wh.a", "")];
    unpacked("wh-link", &[&below, &above], |root| {
        assert_eq!(names(root), ["b"]);
        assert_eq!(text(root.join("b")), "one");
    });
}

#[test]
fn one_type_replaces_another() {
    let below = [
        dir("dir-file"),
        file("dir-file/x", ""),
        dir("dir-link"),
        file("dir-link/x", ""),
        file("file-dir", "old"),
        symlink("link-dir", "target"),
        dir("target"),
        file("target/x", ""),
        file("file-link", "old"),
        symlink("link-file", "target/x"),
        file("file-file", "old"),
        hard_link("sibling", "file-file"),
    ];
    let above = [
        file("dir-file", "new"),
        symlink("dir-link", "target"),
        dir("file-dir"),
        dir("link-dir"),
        symlink("file-link", "target"),
        file("link-file", "new"),
        file("file-file", "new"),
    ];
    unpacked("flip", &[&below, &above], |root| {
        let kind = |name: &str| fs::symlink_metadata(root.join(name)).unwrap().file_type();
        assert!(kind("dir-file").is_file() && kind("dir-link").is_symlink() && kind("file-dir").is_dir());
        assert!(kind("link-dir").is_dir() && names(&root.join("link-dir")).is_empty());
        assert!(kind("file-link").is_symlink());
        assert_eq!(text(root.join("link-file")), "new");
        // The link's old target and the old file's other name are untouched.
        assert_eq!(text(root.join("target/x")), "");
        assert_eq!((text(root.join("file-file")), text(root.join("sibling"))), ("new".into(), "old".into()));
    });
}

#[test]
fn a_directory_over_a_directory_keeps_children_and_takes_attributes() {
    let below = [dir("d").mode(0o700).ids(1, 1).pax("SCHILY.xattr.user.old", b"1"), file("d/x", "")];
    let above = [dir("d").mode(0o755).ids(2, 2).mtime(TIME + 5).pax("SCHILY.xattr.user.new", b"2")];
    unpacked("merge", &[&below, &above], |root| {
        let meta = fs::metadata(root.join("d")).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.mtime()), (0o755, 2, TIME.cast_signed() + 5));
        assert!(root.join("d/x").exists());
        assert_eq!(attributes(&root.join("d")), "user.new=2");
    });
}

#[test]
fn attributes_survive_owner_and_mode() {
    let capability = b"\x01\0\0\x02\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let items = [
        file("ping", "x").mode(0o755).ids(3, 4).pax("SCHILY.xattr.security.capability", capability),
        file("user", "x")
            .pax("SCHILY.xattr.user.a", b"line\nbreak\0nul")
            .pax("LIBARCHIVE.xattr.user.%62", b"aGk"),
        file("label", "x").pax("SCHILY.xattr.security.selinux", b"system_u:object_r:etc_t:s0\0"),
    ];
    unpacked("xattrs", &[&items], |root| {
        let value = capability.escape_ascii();
        assert_eq!(attributes(&root.join("ping")), format!("security.capability={value}"));
        assert_eq!(attributes(&root.join("user")), "user.a=line\\nbreak\\x00nul user.b=hi");
        assert_eq!(attributes(&root.join("label")), "");
    });
}

#[test]
fn times_have_nanoseconds_and_may_lie_before_1970() {
    let items = [
        dir("d").pax("mtime", b"1234567890.123456789"),
        file("d/f", "").pax("mtime", b"-1.5"),
        symlink("d/s", "f").pax("mtime", b"5.25"),
    ];
    unpacked("times", &[&items, &[file("d/late", "")]], |root| {
        let time = |name: &str| {
            let meta = fs::symlink_metadata(root.join(name)).unwrap();
            (meta.mtime(), meta.mtime_nsec())
        };
        assert_eq!(time("d"), (1_234_567_890, 123_456_789));
        assert_eq!(time("d/f"), (-2, 500_000_000));
        assert_eq!(time("d/s"), (5, 250_000_000));
    });
}

#[test]
fn missing_directories_are_made_for_root() {
    unpacked("implied", &[&[file("a/b/c", "x").ids(5, 5)]], |root| {
        for name in ["a", "a/b"] {
            let meta = fs::metadata(root.join(name)).unwrap();
            assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.mtime()), (0o755, 0, 0), "{name}");
        }
    });
}

#[test]
fn a_parent_that_is_a_file_gives_way_to_a_directory() {
    unpacked("parent-file", &[&[file("a", "x")], &[file("a/b", "y")]], |root| {
        assert_eq!(text(root.join("a/b")), "y");
    });
}

#[test]
fn a_parent_that_is_a_symlink_is_followed_inside_the_root() {
    let below = [
        dir("usr"),
        dir("usr/lib"),
        symlink("lib", "usr/lib"),
        symlink("run", "/var/run"),
        symlink("x", "y/../z"),
    ];
    let above = [file("lib/a", "1"), file("run/b", "2"), file("x/c", "3"), file("lib/deep/er", "4")];
    unpacked("parent-link", &[&below, &above], |root| {
        assert_eq!(text(root.join("usr/lib/a")), "1");
        assert_eq!(text(root.join("var/run/b")), "2");
        assert_eq!(text(root.join("z/c")), "3");
        assert_eq!(text(root.join("usr/lib/deep/er")), "4");
        assert!(fs::symlink_metadata(root.join("lib")).unwrap().is_symlink());
    });
}

#[test]
fn names_are_bytes_and_may_be_long() {
    let long = "n".repeat(250);
    let path = format!("{long}/{long}/{long}/x");
    let items =
        [file("", "").raw_name(b"bad-\xff\xfe-utf8"), file(&path, "deep"), symlink("l", &"t".repeat(300))];
    unpacked("names", &[&items], |root| {
        assert_eq!(text(root.join(&path)), "deep");
        assert!(root.join(std::ffi::OsStr::from_bytes(b"bad-\xff\xfe-utf8")).exists());
        assert_eq!(fs::read_link(root.join("l")).unwrap().as_os_str().len(), 300);
    });
}

#[test]
fn gnu_long_names_and_pax_names_are_read() {
    let long = format!("gnu/{}", "g".repeat(200));
    let mut bytes = Vec::new();
    let mut name = file("././@LongLink", &long);
    name.kind = EntryType::GNULongName;
    block(&name.header(), &name.data, &mut bytes);
    file("cut", "content").write(&mut bytes);
    bytes.resize(bytes.len() + 1024, 0);
    let scratch = Scratch::new("gnu-long");
    Fixture::new(&scratch).layer(Packing::Plain, &bytes).finish();
    assert_eq!(text(scratch.unpack().join(long)), "content");
}

#[test]
fn sparse_files_are_expanded_as_holes() {
    let size: u64 = 64 << 20;
    let head = format!("2\n0\n512\n{}\n5\n", size - 5);
    let mut data = head.into_bytes();
    data.resize(512, 0);
    data.extend([b'a'; 512]);
    data.extend(b"tail!");
    let mut item = file("GNUSparseFile.0/sparse", "")
        .pax("GNU.sparse.major", b"1")
        .pax("GNU.sparse.minor", b"0")
        .pax("GNU.sparse.name", b"sparse")
        .pax("GNU.sparse.realsize", size.to_string().as_bytes());
    item.data = data;
    let map = format!("0,3,{},2", size - 2);
    let mut old = file("GNUSparseFile.0/old", "abcde")
        .pax("GNU.sparse.size", size.to_string().as_bytes())
        .pax("GNU.sparse.numblocks", b"2")
        .pax("GNU.sparse.map", map.as_bytes())
        .pax("GNU.sparse.name", b"old");
    old.mode = 0o600;
    unpacked("sparse", &[&[item, old, file("after", "x")]], |root| {
        for (name, start, end) in [("sparse", "aaa", "tail!"), ("old", "abc", "de")] {
            let content = fs::read(root.join(name)).unwrap();
            assert_eq!(content.len() as u64, size);
            assert!(content.starts_with(start.as_bytes()) && content.ends_with(end.as_bytes()), "{name}");
            let blocks = fs::metadata(root.join(name)).unwrap().blocks();
            assert!(blocks * 512 < size / 8 || !tells_room(root), "{name} is not sparse");
        }
        assert_eq!(text(root.join("after")), "x");
    });
}

#[test]
fn long_runs_of_zeros_take_no_room() {
    let mut data = vec![0; 1 << 20];
    data[300_000] = 1;
    let zeros = |name: &str, length: usize| Item { data: vec![0; length], ..file(name, "") };
    let mixed = Item { data: data.clone(), ..file("mixed", "") };
    unpacked("zeros", &[&[zeros("few", 10), mixed, zeros("many", 3 << 20)]], |root| {
        let blocks = |name: &str| fs::metadata(root.join(name)).unwrap().blocks();
        assert_eq!(fs::read(root.join("few")).unwrap(), [0; 10]);
        assert_eq!(fs::read(root.join("mixed")).unwrap(), data);
        assert_eq!(fs::read(root.join("many")).unwrap(), vec![0; 3 << 20]);
        let is_small = blocks("mixed") <= 16 && blocks("many") == 0;
        assert!(is_small || !tells_room(root), "{} {}", blocks("mixed"), blocks("many"));
    });
}

#[test]
fn gzip_members_and_padding_are_read_to_the_end() {
    let bytes = archive(&[file("a", &"x".repeat(3000))]);
    let mut packed = Packing::Gzip.pack(&bytes[..700]);
    packed.extend(Packing::Gzip.pack(&bytes[700..]));
    packed.extend([0; 100]);
    let scratch = Scratch::new("members");
    let mut fixture = Fixture::new(&scratch);
    let blob = fixture.blob(&packed, "application/vnd.oci.image.layer.v1.tar+gzip");
    fixture.raw_layer(blob, tare::testing::image::blob::digest::sha256_of(&bytes).as_ref()).finish();
    assert_eq!(text(scratch.unpack().join("a")).len(), 3000);
}

#[test]
fn bytes_behind_the_end_of_the_archive_count_for_the_diff_id() {
    let mut bytes = archive(&[file("a", "x")]);
    bytes.extend([0; 9000]);
    bytes.extend(b"trailing words");
    let scratch = Scratch::new("trailing");
    Fixture::new(&scratch).layer(Packing::Gzip, &bytes).finish();
    assert_eq!(text(scratch.unpack().join("a")), "x");
}

#[test]
fn the_last_of_two_entries_of_one_name_counts() {
    let items = [file("a", "1"), file("a", "2"), dir("d"), file("d/x", ""), file("d", "3")];
    unpacked("twice", &[&items], |root| {
        assert_eq!((text(root.join("a")), text(root.join("d"))), ("2".into(), "3".into()));
    });
}

#[test]
fn links_to_what_aufs_kept_aside_are_names_of_one_file() {
    let items = [
        dir(".wh..wh.plnk"),
        file(".wh..wh.plnk/12.3", "content").mode(0o750).ids(5, 6),
        hard_link("a", ".wh..wh.plnk/12.3"),
        dir("d"),
        hard_link("d/b", "/.wh..wh.plnk/12.3"),
        file(".wh..wh.aufs", ""),
        dir(".wh..wh.orph"),
        file(".wh..wh.orph/x", ""),
    ];
    unpacked("plnk", &[&[file("plnk", "")], &items], |root| {
        assert_eq!(names(root), ["a", "d", "plnk"]);
        let about = fs::metadata(root.join("a")).unwrap();
        assert_eq!((about.ino(), about.nlink()), (fs::metadata(root.join("d/b")).unwrap().ino(), 2));
        assert_eq!((text(root.join("a")), about.mode() & 0o7777, about.uid()), ("content".into(), 0o750, 5));
    });
}

#[test]
fn a_setgid_directory_and_a_default_acl_do_not_change_what_is_made_in_them() {
    // user::rwx group::--- other::--- as a default: a file made with 0644 would become 0600.
    let acl = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x04\0\0\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
    let items = [
        dir("mail").mode(0o2775).ids(0, 8),
        file("mail/f", "x"),
        dir("mail/d"),
        node("mail/p", EntryType::Fifo, 0, 0),
        dir("acl").pax("SCHILY.xattr.system.posix_acl_default", acl),
        file("acl/f", "x"),
        dir("acl/d"),
    ];
    unpacked("inherit", &[&items, &[file("mail/implied/x", ""), symlink("mail/l", "f")]], |root| {
        let found = |name: &str| {
            let meta = fs::symlink_metadata(root.join(name)).unwrap();
            (meta.mode() & 0o7777, meta.gid())
        };
        assert_eq!(found("mail/f"), (0o644, 0));
        assert_eq!(found("mail/d"), (0o755, 0));
        assert_eq!(found("mail/p"), (0o644, 0));
        assert_eq!(found("mail/l"), (0o777, 0));
        assert_eq!(found("mail/implied"), (0o755, 0));
        assert_eq!(found("acl/f"), (0o644, 0));
        assert_eq!(found("acl/d"), (0o755, 0));
    });
}

#[test]
fn a_directory_that_whiteouts_take_from_keeps_its_time() {
    let lower = [dir("l").mode(0o750), dir("l/l"), file("l/l/d", "x"), dir("l/d"), file("l/d/b", "x")];
    for (name, whiteout) in [("times-whiteout", ".wh.l"), ("times-opaque", "l/.wh..wh..opq")] {
        unpacked(name, &[&lower, &[file("l/l/a", "y"), file(whiteout, "")]], |root| {
            assert_eq!(names(root), ["l"], "{}", root.display());
            assert_eq!(names(&root.join("l/l")), ["a"]);
            for dir in ["l", "l/l"] {
                let about = fs::metadata(root.join(dir)).unwrap();
                assert_eq!(about.mtime(), TIME.cast_signed(), "{dir} {}", root.display());
            }
        });
    }
}

#[test]
fn a_hard_link_to_itself_leaves_a_directory_as_it_is_below() {
    let lower = [dir("d").mode(0o2711).ids(5, 6)];
    let [one, two, three] = [
        vec![file("d/x", "y"), hard_link("d", "d")],
        vec![hard_link("d", "d")],
        vec![hard_link("d", "./d/../d")],
    ];
    unpacked("self-link", &[&lower, &one, &two, &three], |root| {
        let about = fs::metadata(root.join("d")).unwrap();
        assert_eq!((about.mode() & 0o7777, about.uid(), about.gid()), (0o2711, 5, 6), "{}", root.display());
    });
}

#[test]
fn a_link_to_what_is_a_directory_in_its_own_layer_alone_is_one_to_a_file() {
    // Over the layer below, `b/l/l` is `b/l` itself.
    let lower = [dir("b"), symlink("b/l", ".")];
    unpacked("link-over-link", &[&lower, &[file("b/l/l", "file"), hard_link("h", "b/l")]], |root| {
        assert_eq!((text(root.join("b/l")), text(root.join("h"))), ("file".into(), "file".into()));
    });
}

#[test]
fn a_symlink_to_a_name_that_no_file_has_is_made_in_the_place_of_a_directory() {
    let link = symlink("a", &"n".repeat(300));
    unpacked("long-link", &[&[dir("a"), dir("a/b"), file("a/b/c", "x"), link]], |root| {
        assert_eq!(fs::read_link(root.join("a")).unwrap().as_os_str().len(), 300);
    });
}

#[test]
fn what_hard_links_copy_from_layers_below_counts_for_the_size_of_the_image() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let data: Vec<u8> = (0..1_u32 << 20).map(|number| (number >> 8) as u8).collect();
    let lower = [dir("d"), Item { data, ..file("d/large", "") }, symlink("s", "d")];
    let plain = [[hard_link("l1", "d/large")], [hard_link("l2", "d/large")]];
    // Only over the layers below is it known what these are.
    let ordered =
        [[file("s/x", ""), hard_link("l1", "d/large")], [file("s/y", ""), hard_link("l2", "d/large")]];
    let plain: [&[&[Item]]; 1] = [&[&lower, &plain[0], &plain[1]]];
    let ordered: &[&[Item]] = &[&lower, &ordered[0], &ordered[1]];
    for (name, layers) in [("copies-plain", plain[0]), ("copies-ordered", ordered)] {
        let scratch = Scratch::new(name);
        image(&scratch, layers);
        for form in ["--overlay=files", "--overlay=auto"] {
            let pull = |most: &str, store: &str| {
                scratch.run(&["pull", form, "--max-size", most, "--store", store, "oci:image"])
            };
            let output = pull("2500000", &format!("small{form}"));
            assert!(
                stderr(&output).contains("is larger than 2500000 bytes"),
                "{name} {form}: {}",
                stderr(&output)
            );
            let output = pull("4000000", &form[2..]);
            assert!(output.status.success(), "{name} {form}: {}", stderr(&output));
        }
    }
}
