//! Archives as other writers make them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::skip::skip;
use crate::support::*;

/// Unpacks one layer of these bytes; returns the scratch directory, with the tree in it.
fn unpacked(name: &str, layer: &[u8]) -> Scratch {
    let scratch = Scratch::new(&format!("dialect-{name}"));
    Fixture::new(&scratch).layer(Packing::Gzip, layer).finish();
    scratch.unpack();
    scratch
}

/// The error for a layer of these bytes.
fn refused(name: &str, layer: &[u8]) -> String {
    let scratch = Scratch::new(&format!("dialect-{name}"));
    Fixture::new(&scratch).layer(Packing::Gzip, layer).finish();
    scratch.refused(&[])
}

fn with_header(how: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = archive(&[file("name", "x")]);
    change(&mut bytes[..512], how);
    bytes
}

#[test]
fn a_prefix_counts_whatever_the_version_of_ustar() {
    let versions = [&b"ustar\x0000"[..], b"ustar\0\0\0", b"ustar\0 \0", b"ustar\0  ", b"ustar\x0011"];
    for (number, version) in versions.into_iter().enumerate() {
        let layer = with_header(|header| {
            header[257..257 + version.len()].copy_from_slice(version);
            header[345..349].copy_from_slice(b"a/bc");
        });
        let scratch = unpacked(&format!("prefix-{number}"), &layer);
        assert_eq!(
            fs::read(scratch.join("bundle/rootfs/a/bc/name")).unwrap(),
            b"x",
            "{}",
            version.escape_ascii()
        );
        assert_eq!(names(&scratch.join("bundle/rootfs")), ["a"]);
    }
    // Where GNU has times.
    let layer = with_header(|header| {
        header[257..265].copy_from_slice(b"ustar  \0");
        header[345..356].copy_from_slice(b"00000000001");
    });
    assert_eq!(names(&unpacked("gnu", &layer).join("bundle/rootfs")), ["name"]);
}

#[test]
fn the_last_entry_needs_no_padding() {
    let whole = archive(&[file("a", "one"), file("b", "three")]);
    let data = 512 + 512 + 512 + 5;
    for length in [data, data + 1, data + 506, data + 507] {
        let scratch = unpacked(&format!("padding-{length}"), &whole[..length]);
        assert_eq!(fs::read(scratch.join("bundle/rootfs/b")).unwrap(), b"three", "{length}");
    }
    let error = refused("cut-off", &whole[..data - 1]);
    assert!(error.contains("the archive is cut off"), "{error}");
}

#[test]
fn an_id_may_be_written_as_a_signed_number() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root");
    }
    let in_header = with_header(|header| {
        header[108..116].copy_from_slice(b"\xff\xff\xff\xff\xff\xff\xff\xfe");
        header[116..124].copy_from_slice(b"\xff\xff\xff\xff\xff\xff\xff\xfe");
    });
    let in_pax = archive(&[file("name", "x").pax("uid", b"-2").pax("gid", b"-2")]);
    for (name, layer) in [("signed-header", in_header), ("signed-pax", in_pax)] {
        let scratch = unpacked(name, &layer);
        let about = fs::metadata(scratch.join("bundle/rootfs/name")).unwrap();
        assert_eq!((about.uid(), about.gid()), (4_294_967_294, 4_294_967_294), "{name}");
    }
    for (name, id) in [("minus-one", "-1"), ("too-small", "-2147483649"), ("too-large", "4294967295")] {
        let error = refused(name, &archive(&[file("name", "x").pax("uid", id.as_bytes())]));
        assert!(error.contains(&format!("uid {id} is out of range")), "{error}");
    }
}

#[test]
fn what_is_no_tar_archive_is_told_as_what_it_is() {
    let mut long = b"<html>".to_vec();
    long.resize(2000, b' ');
    for (start, words) in [
        (&b"\xfd7zXZ\0\0\x04"[..], "it is compressed with xz"),
        (b"BZh91AY&SY", "it is compressed with bzip2"),
        (b"PK\x03\x04....", "it is no tar archive, but a zip archive"),
        (b"{\"layers\":[]}", "it is no tar archive, but JSON"),
        (b"hello", "it is no tar archive"),
        (&long, "it is no tar archive, but HTML"),
    ] {
        let scratch = Scratch::new("no-tar");
        for length in [start.len(), 1536] {
            let mut bytes = start.to_vec();
            bytes.resize(length.max(start.len()), 0);
            fs::write(scratch.join("saved.tar"), &bytes).unwrap();
            for source in ["docker-archive:saved.tar", "oci-archive:saved.tar"] {
                let error = stderr(&scratch.run(&["unpack", source, "bundle"]));
                assert!(error.contains(words), "{source}: {error}");
            }
        }
    }
    let error = refused("json-layer", b"{\"a\":1}");
    assert!(error.contains("it is no tar archive, but JSON"), "{error}");
}

/// Changes a header and its checksum.
fn change(header: &mut [u8], change: impl Fn(&mut [u8])) {
    change(header);
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A file whose data looks like a further entry, behind a header that is changed.
fn around_an_entry(how: impl Fn(&mut [u8])) -> Vec<u8> {
    let inner = archive(&[file("smuggled", "evil")]);
    let mut outer = archive(&[Item { data: inner[..1024].to_vec(), ..file("a", "") }]);
    change(&mut outer[..512], how);
    outer
}

#[test]
fn what_readers_take_for_different_entries_is_refused() {
    let put = |at: usize, bytes: &'static [u8]| {
        move |header: &mut [u8]| header[at..at + bytes.len()].copy_from_slice(bytes)
    };
    let named = |name: &'static [u8], kind: u8| {
        move |header: &mut [u8]| {
            header[..name.len()].copy_from_slice(name);
            header[156] = kind;
        }
    };
    let long_name = |kind: u8, more: &[u8]| {
        let header = with_header(|header| {
            header[156] = kind;
            header[124..136].copy_from_slice(b"00000000000\0");
        });
        [&header[..512], more].concat()
    };
    let whole = archive(&[file("name", "x")]);
    let mut old_directory = archive(&[file("n", "x").pax("path", b"d/")]);
    change(&mut old_directory[1024..1536], |header| header[156] = 0);
    for (name, layer, words) in [
        ("zero-before-size", around_an_entry(put(124, b"\x000000002000\0")), "is not a number"),
        ("zeros-before-size", around_an_entry(put(124, b"\0\0\x00000002000")), "is not a number"),
        ("zero-before-mode", around_an_entry(put(100, b"\x00004755\0")), "is not a number"),
        ("file-with-slash", around_an_entry(named(b"a/", b'0')), "its name ends in a slash"),
        ("contiguous-with-slash", around_an_entry(named(b"a/", b'7')), "its name ends in a slash"),
        ("old-directory-with-data", around_an_entry(named(b"a/", b'\0')), "it is a directory, and has data"),
        ("long-old-directory", old_directory, "and has data"),
        (
            "negative-directory",
            with_header(|header| {
                header[156] = b'5';
                header[124..136].fill(0xff);
            }),
            "is negative",
        ),
        (
            "directory-of-letters",
            with_header(|header| {
                header[156] = b'5';
                header[124..136].fill(b'z');
            }),
            "is not a number",
        ),
        (
            "prefix-of-gnu",
            with_header(|header| {
                put(257, b"ustar  \0")(header);
                put(345, b"evil/dir")(header);
            }),
            "disagree on its format",
        ),
        (
            "change-time-of-gnu",
            with_header(|header| {
                put(257, b"ustar  \0")(header);
                put(357, b"dir")(header);
            }),
            "disagree on its format",
        ),
        (
            "prefix-of-star",
            with_header(|header| {
                header[345..485].fill(b'p');
                put(508, b"tar\0")(header);
            }),
            "disagree on its format",
        ),
        (
            "prefix-of-no-ustar",
            with_header(|header| {
                put(257, b"ustar00\0")(header);
                put(345, b"a/bc")(header);
            }),
            "disagree on its format",
        ),
        (
            "device-of-no-ustar",
            with_header(|header| {
                put(257, b"ustar00\0")(header);
                header[156] = b'3';
            }),
            "disagree on its format",
        ),
        ("empty-long-name", long_name(b'L', &whole), "a long name is empty"),
        ("empty-long-link", long_name(b'K', &whole), "a long name is empty"),
        (
            "zero-in-key",
            archive(&[file("name", "x").pax("pa\0th", b"other")]),
            "an extended header is damaged",
        ),
    ] {
        let error = refused(name, &layer);
        assert!(error.contains(words), "{name}: {error}");
    }
    // All agree on these.
    for (name, layer) in [
        (
            "times-of-gnu",
            with_header(|header| {
                put(257, b"ustar  \0")(header);
                put(345, b"14776403020\x0014776403020\0")(header);
            }),
        ),
        (
            "times-of-star",
            with_header(|header| {
                put(476, b"14776403020 14776403020 ")(header);
                put(508, b"tar\0")(header);
            }),
        ),
    ] {
        assert_eq!(names(&unpacked(name, &layer).join("bundle/rootfs")), ["name"]);
    }
}
