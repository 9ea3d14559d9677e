//! CVE-2021-30465, CVE-2024-45310: a directory that containers share is exchanged for a symlink to the host while mount
//! targets in it are looked up and made.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use nix::sys::stat::{Mode, SFlag, mknod};
use serde_json::json;

use crate::racer::{Racer, rounds};
use crate::support::{Bundle, machine};

const ROUNDS: usize = 120;

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap().flatten();
    let show = |entry: fs::DirEntry| {
        let stat = entry.metadata().unwrap();
        // Not the time of access: the test itself reads.
        let owner = (stat.uid(), stat.gid());
        let (mode, length, modified) = (stat.permissions(), stat.len(), stat.modified());
        format!("{} {mode:?} {owner:?} {length} {modified:?}", entry.path().display())
    };
    entries.map(show).collect()
}

#[test]
fn what_is_made_or_mounted_stays_inside() {
    let Some(mut bundle) = Bundle::new() else { return };
    let canary = bundle.dir.join("canary");
    fs::create_dir_all(canary.join("dir")).unwrap();
    fs::write(canary.join("file"), "alive").unwrap();
    let volume = bundle.rootfs().join("vol");
    fs::create_dir_all(volume.join("a")).unwrap();
    symlink(&canary, volume.join("b")).unwrap();
    fs::write(bundle.dir.join("source"), "mounted").unwrap();
    bundle.writable().args(&["true"]);
    for (destination, kind, source) in [
        ("/vol/a/new/dir", "tmpfs", "tmpfs"),
        ("/vol/a/dir", "tmpfs", "tmpfs"),
        ("/vol/a/new-file", "bind", "source"),
        ("/vol/a/made/file", "bind", "source"),
    ] {
        let options = if kind == "bind" { json!(["bind"]) } else { json!([]) };
        bundle.mount(json!({"destination": destination, "type": kind, "source": source, "options": options}));
    }
    bundle.patch(|config| {
        config["linux"]["devices"] = json!([{"path": "/vol/a/null", "type": "c", "major": 1, "minor": 3}]);
        config["process"]["cwd"] = json!("/vol/a/work/dir");
        config["linux"]["maskedPaths"] = json!(["/vol/a/file"]);
    });
    let before = names(&canary);
    let racer = Racer::new(vec![(volume.join("a"), volume.join("b"))], Duration::from_micros(30));
    for round in 0..rounds(ROUNDS) {
        // Whether it works out is a matter of luck; what is touched is not.
        bundle.run();
        assert_eq!(names(&canary), before, "round {round}");
        assert_eq!(fs::read_to_string(canary.join("file")).unwrap(), "alive");
    }
    drop(racer);
    assert_eq!(machine::mounts(&bundle.id), Vec::<String>::new());
    bundle.leaves_nothing();
}

/// How often one start changes the node, each time an attempt until one fails the start; and how many starts.
const NODES: usize = 5;
const STARTS: usize = 200;

#[test]
fn a_device_that_is_there_already_is_changed_and_no_file_of_the_host() {
    let Some(mut bundle) = Bundle::new() else { return };
    let canary = bundle.dir.join("canary");
    fs::create_dir(&canary).unwrap();
    let secret = canary.join("secret");
    fs::write(&secret, "of the host").unwrap();
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let volume = bundle.rootfs().join("vol");
    fs::create_dir(&volume).unwrap();
    mknod(&volume.join("n"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), libc::makedev(1, 3)).unwrap();
    symlink(&secret, volume.join("l")).unwrap();
    bundle.writable().args(&["true"]).patch(|config| {
        let device = |index| {
            // One node by many names.
            fs::create_dir(volume.join(format!("d{index}"))).unwrap();
            json!({"path": format!("/vol/d{index}/../n"), "type": "c", "major": 1, "minor": 3,
                "fileMode": if index % 2 == 0 { 0o666 } else { 0o620 }, "uid": index % 3, "gid": 7})
        };
        config["linux"]["devices"] = (0..NODES).map(device).collect();
    });
    let before = names(&canary);
    let racer = Racer::new(vec![(volume.join("n"), volume.join("l"))], Duration::ZERO);
    for round in 0..rounds(STARTS) {
        bundle.run();
        assert_eq!(names(&canary), before, "round {round}");
    }
    drop(racer);
    bundle.leaves_nothing();
}

#[test]
fn what_is_copied_up_is_neither_waited_on_nor_followed() {
    let Some(mut bundle) = Bundle::new() else { return };
    let canary = bundle.dir.join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("secret"), "of the host").unwrap();
    let volume = bundle.rootfs().join("vol");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("one"), "of the image").unwrap();
    nix::unistd::mkfifo(&volume.join("fifo"), Mode::from_bits_truncate(0o600)).unwrap();
    fs::write(volume.join("two"), "of the image").unwrap();
    symlink(canary.join("secret"), volume.join("link")).unwrap();
    bundle.script("cat $(find /vol -type f); true");
    bundle
        .mount(json!({"destination": "/vol", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}));
    let before = names(&canary);
    let pair = |one: &str, other: &str| (volume.join(one), volume.join(other));
    let racer = Racer::new(vec![pair("one", "fifo"), pair("two", "link")], Duration::ZERO);
    for round in 0..rounds(ROUNDS) {
        let answer = bundle.run();
        assert!(!answer.stdout.contains("of the host"), "round {round}: {answer:?}");
        assert_eq!(names(&canary), before, "round {round}");
    }
    drop(racer);
    bundle.leaves_nothing();
}

/// The names of mount points in a rootfs that is shared lead elsewhere for moments: what is to be masked is no less there.
#[test]
fn what_is_masked_is_that_of_the_mount_and_not_of_its_name() {
    let Some(mut bundle) = Bundle::new() else { return };
    for name in ["proc-other", "sys-other"] {
        fs::create_dir(bundle.rootfs().join(name)).unwrap();
    }
    bundle.writable().patch(|config| {
        config["linux"]["maskedPaths"] = json!(["/proc/version", "/sys/kernel"]);
        config["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
    });
    // Wherever the mounts are by then.
    bundle.script(
        "for d in /proc /proc-other /sys /sys-other; do cd $d; \
            if [ -e version ]; then [ -c version ] || echo told; echo x 2>/dev/null >sys/kernel/domainname && echo set; \
            elif [ -e kernel ]; then ls -A kernel; fi; done",
    );
    let pair = |one: &str, other: &str| (bundle.rootfs().join(one), bundle.rootfs().join(other));
    let pairs = vec![pair("proc", "proc-other"), pair("sys", "sys-other")];
    let racer = Racer::new(pairs, Duration::from_micros(100));
    let mut started = 0;
    for round in 0..rounds(STARTS * 2) {
        let answer = bundle.run();
        assert_eq!(answer.stdout, "", "round {round}: {answer:?}");
        started += u32::from(answer.code == 0);
    }
    drop(racer);
    println!("{started} of {} started", rounds(STARTS * 2));
    bundle.leaves_nothing();
}
