//! POSIX access control lists (acl(5)): a file has those that its image gives it, and inherits none.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tar::EntryType;

use crate::skip::skip;
use crate::support::*;

const DEFAULT: &str = "system.posix_acl_default";

/// A list that gives everything to the user `id`, and nothing to others.
pub(crate) fn acl(id: u32) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let entries: [(u16, u16, u32); 5] =
        [(1, 7, NOBODY), (2, 7, id), (4, 5, NOBODY), (16, 7, NOBODY), (32, 0, NOBODY)];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        bytes.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn set_default(path: &Path) -> bool {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    tare::sys::xattr::lsetxattr(&path, &CString::new(DEFAULT).unwrap(), &acl(1000)).is_ok()
}

fn modes_and_attributes(root: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let about = |name: &str| {
        let path = root.join(name);
        format!("{name} {:o} {}", fs::symlink_metadata(&path).unwrap().mode() & 0o7777, attributes(&path))
    };
    ["d/secret", "d/sub", "d/sub/file", "d/fifo", "d/later", "d/implied", "d/implied/file", "plain"]
        .map(about)
        .to_vec()
}

const EXPECTED: [&str; 8] = [
    "d/secret 660 ",
    "d/sub 750 ",
    "d/sub/file 640 ",
    "d/fifo 660 ",
    "d/later 600 ",
    "d/implied 755 ",
    "d/implied/file 644 ",
    "plain 640 ",
];

fn layered(scratch: &Scratch) {
    let below = [
        dir("d").pax(&format!("SCHILY.xattr.{DEFAULT}"), &acl(1000)),
        file("d/secret", "x").mode(0o660),
        dir("d/sub").mode(0o750),
        file("d/sub/file", "x").mode(0o640),
        node("d/fifo", EntryType::Fifo, 0, 0).mode(0o660),
        file("plain", "").mode(0o640),
    ];
    let above = [file("d/later", "").mode(0o600), file("d/implied/file", "")];
    let mut fixture = Fixture::new(scratch);
    fixture.config = serde_json::json!({ "WorkingDir": "/d/work" });
    fixture.layer(Packing::Gzip, &archive(&below)).layer(Packing::Gzip, &archive(&above)).finish();
}

#[test]
fn no_file_inherits_an_access_list() {
    let scratch = Scratch::new("acl");
    fs::create_dir(scratch.join("probe")).unwrap();
    if !nix::unistd::geteuid().is_root() || !set_default(&scratch.join("probe")) {
        return skip("needs root, and a filesystem with access lists");
    }
    fs::remove_dir(scratch.join("probe")).unwrap();
    layered(&scratch);
    // Those that the host has above the bundle and the store are none of the image's either.
    for above in [false, true] {
        if above {
            assert!(set_default(scratch.path()));
        }
        for rootfs in [scratch.unpack(), scratch.unpack_shared()] {
            assert_eq!(modes_and_attributes(&rootfs), EXPECTED, "{}", rootfs.display());
            assert!(attributes(&rootfs.join("d")).starts_with(DEFAULT));
            assert_eq!(attributes(&rootfs.join("d/work")), "");
        }
        for bundle in ["bundle", "shared"] {
            assert!(scratch.run(&["remove", bundle]).status.success());
        }
        fs::remove_dir_all(scratch.join("store")).unwrap();
    }
}
