//! /dev: nodes, links, and who made what is there.

use std::fs;
use std::os::unix::fs::symlink;

use nix::sys::stat::{Mode, SFlag, mknod};
use serde_json::json;

use crate::support::Bundle;
use crate::{at, mounts};

const SHOW: &str = "stat -c '%F %t:%T %a %u:%g'";

#[test]
fn the_default_ones_are_there() {
    let Some(mut bundle) = Bundle::new() else { return };
    let names = [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)];
    let paths: Vec<String> = names.iter().map(|(name, _)| format!("/dev/{name}")).collect();
    let output = bundle.output_of(&format!("{SHOW} {} /dev/tty", paths.join(" ")));
    let mut expected: Vec<String> =
        names.iter().map(|(_, minor)| format!("character special file 1:{minor} 666 0:0")).collect();
    expected.push("character special file 5:0 666 0:0".into());
    assert_eq!(output.lines().collect::<Vec<_>>(), expected);
    let links = "for link in ptmx fd stdin stdout stderr; do readlink /dev/$link; done; ls /dev/fd/1";
    assert_eq!(
        bundle.output_of(links),
        "pts/ptmx\n/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\n/dev/fd/1\n"
    );
    let core = if fs::exists("/proc/kcore").unwrap() { "/proc/kcore\n" } else { "" };
    assert_eq!(bundle.output_of("readlink /dev/core || true"), core);
    let use_them = "echo lost > /dev/null; head -c 3 /dev/zero | od -An -tx1; echo x > /dev/full";
    let answer = bundle.script(use_them).run();
    assert!(answer.stdout.trim() == "00 00 00" && answer.stderr.contains("No space left"), "{answer:?}");
}

#[test]
fn those_of_the_configuration_are_made_as_it_says() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| {
        config["linux"]["devices"] = json!([
            {"path": "/dev/a", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 5, "gid": 6},
            {"path": "/dev/sub/dir/b", "type": "b", "major": 7, "minor": 9, "fileMode": 0o100660},
            {"path": "/dev/fifo", "type": "p"},
            {"path": "/dev/u", "type": "u", "major": 1, "minor": 5},
            {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o644}
        ]);
        config["linux"]["resources"] = json!({});
    });
    let output = bundle.output_of(&format!("{SHOW} /dev/a /dev/sub/dir/b /dev/fifo /dev/u /dev/zero"));
    let expected = [
        "character special file 1:3 600 5:6",
        "block special file 7:9 660 0:0",
        "fifo 0:0 666 0:0",
        "character special file 1:5 666 0:0",
        "character special file 1:5 644 0:0",
    ];
    assert_eq!(output.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn in_a_user_namespace_they_are_the_hosts() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.user_namespace();
    let mounts = mounts(&mut bundle);
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let mount = at(&mounts, &format!("/dev/{name}"));
        assert_eq!((&*mount.kind, &*mount.root), ("devtmpfs", &*format!("/{name}")));
        assert!(["nosuid", "noexec", "ro"].iter().all(|option| mount.has(option)), "{mount:?}");
    }
    let output =
        bundle.output_of("echo lost > /dev/null; head -c 2 /dev/zero | wc -c; stat -c %t:%T /dev/null");
    assert_eq!(output, "2\n1:3\n");
}

#[test]
fn the_same_one_of_the_image_is_kept_and_another_one_is_refused() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.writable().without_mount("/dev").without_mount("/dev/pts").without_mount("/dev/shm");
    bundle.without_mount("/dev/mqueue");
    let null = bundle.rootfs().join("dev/null");
    let make = |minor| mknod(&null, SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), libc::makedev(1, minor));
    make(3).unwrap();
    assert_eq!(bundle.output_of("stat -c '%t:%T %a' /dev/null"), "1:3 666\n");
    fs::remove_file(&null).unwrap();
    // CVE-2025-31133: what stands there instead of the null device would be used as it.
    make(5).unwrap();
    bundle.run().fails(1, "/dev/null");
    fs::remove_file(&null).unwrap();
    fs::write(&null, "no device").unwrap();
    bundle.run().fails(1, "/dev/null");
    fs::remove_file(&null).unwrap();
    symlink("/proc/sys/kernel/core_pattern", &null).unwrap();
    bundle.run().fails(1, "/dev/null");
    bundle.leaves_nothing();
}

#[test]
fn in_a_dev_of_the_hosts_nothing_is_made() {
    let Some(mut bundle) = Bundle::new() else { return };
    for point in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
        bundle.without_mount(point);
    }
    fs::create_dir(bundle.dir.join("dev")).unwrap();
    bundle.mount(json!({"destination": "/dev", "type": "bind", "source": "dev", "options": ["rbind"]}));
    bundle.patch(|config| {
        config["linux"]["devices"] = json!([{"path": "/dev/a", "type": "c", "major": 1, "minor": 3}]);
    });
    bundle.output_of("true");
    assert_eq!(fs::read_dir(bundle.dir.join("dev")).unwrap().count(), 0);
}

#[test]
fn a_device_beyond_dev_is_made_where_it_says() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.writable().patch(|config| {
        config["linux"]["devices"] = json!([{"path": "/run/sub/null", "type": "c", "major": 1, "minor": 3}]);
    });
    assert_eq!(bundle.output_of("stat -c %t:%T /run/sub/null"), "1:3\n");
}

#[test]
fn a_path_is_taken_as_it_is_meant_and_the_console_is_one() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.writable().patch(|config| {
        config["linux"]["devices"] = json!([
            {"path": "/mnt/", "type": "b", "major": 10, "minor": 229},
            {"path": "/dev//./a/.", "type": "c", "major": 1, "minor": 3},
            {"path": "/dev/console", "type": "c", "major": 5, "minor": 1, "fileMode": 0o620, "gid": 5}
        ]);
        config["linux"]["resources"] = json!({});
    });
    let output = bundle.output_of(&format!("{SHOW} /mnt /dev/a /dev/console"));
    let expected = [
        "block special file a:e5 666 0:0",
        "character special file 1:3 666 0:0",
        "character special file 5:1 620 0:5",
    ];
    assert_eq!(output.lines().collect::<Vec<_>>(), expected);
    for path in ["/", "//", "/dev/..", "/.."] {
        bundle.patch(|config| {
            config["linux"]["devices"] = json!([{"path": path, "type": "c", "major": 1, "minor": 3}]);
        });
        bundle.run().fails(1, "/linux/devices/0/path");
    }
    bundle.leaves_nothing();
}

#[test]
fn a_fifo_of_the_image_in_a_devices_place_hangs_nobody() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.user_namespace().writable();
    for point in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
        bundle.without_mount(point);
    }
    let null = bundle.rootfs().join("dev/null");
    nix::unistd::mkfifo(&null, Mode::from_bits_truncate(0o666)).unwrap();
    // The host's node lies over it.
    assert_eq!(bundle.output_of("stat -c %t:%T /dev/null"), "1:3\n");
    fs::remove_file(&null).unwrap();
    symlink("/etc/passwd", &null).unwrap();
    bundle.run().fails(1, "/dev/null");
    bundle.leaves_nothing();
}

#[test]
fn what_the_host_has_by_a_devices_name_is_bound_only_if_it_is_that_device() {
    let Some(mut bundle) = Bundle::new() else { return };
    let file = bundle.dir.join("file");
    fs::write(&file, "of the host").unwrap();
    bundle.user_namespace().writable().args(&["true"]).patch(|config| {
        config["linux"]["devices"] = json!([{"path": file, "type": "c", "major": 1, "minor": 3}]);
    });
    bundle.run().fails(1, "/linux/devices/0");
    bundle.leaves_nothing();
}
