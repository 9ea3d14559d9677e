//! An image's symlinks lead nowhere but into the image, whatever is mounted or made through them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::json;

use crate::support::{Bundle, machine};

/// A directory of the host that nobody may touch.
struct Canary {
    dir: PathBuf,
    before: BTreeSet<String>,
}

impl Canary {
    fn new(bundle: &Bundle) -> Self {
        let dir = bundle.dir.join("canary");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("ptmx"), "alive").unwrap();
        fs::write(dir.join("file"), "alive").unwrap();
        fs::create_dir(dir.join("dir")).unwrap();
        let mut canary = Self { dir, before: BTreeSet::new() };
        canary.before = canary.content();
        canary
    }

    fn content(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut open = vec![self.dir.clone()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).unwrap().flatten() {
                let stat = fs::symlink_metadata(entry.path()).unwrap();
                // What a container that gets here makes in it are pipes and devices, too.
                let bytes =
                    if stat.is_file() { fs::read(entry.path()).unwrap_or_default() } else { Vec::new() };
                all.insert(format!("{} {:?} {bytes:?}", entry.path().display(), stat.permissions()));
                if stat.is_dir() {
                    open.push(entry.path());
                }
            }
        }
        all
    }

    #[track_caller]
    fn is_untouched(&self) {
        assert_eq!(self.content(), self.before);
        assert_eq!(machine::mounts("canary"), Vec::<String>::new());
    }
}

/// Ways to name a host directory from inside.
fn links(canary: &Canary) -> Vec<String> {
    let dir = canary.dir.display();
    vec![
        format!("{dir}"),
        format!("../../../../../../../..{dir}"),
        format!("/proc/1/root{dir}"),
        format!("/proc/self/cwd"),
    ]
}

#[test]
fn a_mount_target_stays_inside() {
    let Some(mut bundle) = Bundle::new() else { return };
    let canary = Canary::new(&bundle);
    bundle.writable();
    let before = bundle.config["mounts"].clone();
    fs::write(bundle.dir.join("source"), "").unwrap();
    for to in links(&canary) {
        let link = bundle.rootfs().join("link");
        symlink(&to, &link).unwrap();
        for (kind, source, target) in [
            ("tmpfs", "tmpfs", "/link"),
            ("tmpfs", "tmpfs", "/link/new/dir"),
            ("bind", "source", "/link/file"),
            ("bind", "source", "/link/new-file"),
        ] {
            let options: &[&str] = if kind == "bind" { &["bind"] } else { &[] };
            bundle.patch(|config| config["mounts"] = before.clone());
            bundle.mount(json!({"destination": target, "type": kind, "source": source, "options": options}));
            let answer = bundle.script("true").run();
            assert!(answer.code == 0 || answer.stderr.contains(target), "{to} {target}: {answer:?}");
            canary.is_untouched();
        }
        fs::remove_file(&link).unwrap();
    }
    bundle.leaves_nothing();
}

#[test]
fn a_link_inside_is_followed_inside() {
    let Some(mut bundle) = Bundle::new() else { return };
    symlink("/var", bundle.rootfs().join("absolute")).unwrap();
    symlink("../../../usr/bin", bundle.rootfs().join("home/relative")).unwrap();
    bundle.mount(json!({"destination": "/absolute", "type": "tmpfs", "source": "one"}));
    bundle.mount(json!({"destination": "/home/relative", "type": "tmpfs", "source": "two"}));
    let mounts = crate::mounts(&mut bundle);
    assert_eq!(crate::at(&mounts, "/var").source, "one");
    assert_eq!(crate::at(&mounts, "/usr/bin").source, "two");
}

#[test]
fn proc_and_sys_are_mounted_on_ordinary_directories_only() {
    // CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-54867.
    let Some(mut bundle) = Bundle::new() else { return };
    for name in ["proc", "sys"] {
        let place = bundle.rootfs().join(name);
        fs::remove_dir(&place).unwrap();
        for to in ["/tmp", "tmp", ".", "/", "/etc/passwd"] {
            symlink(to, &place).unwrap();
            bundle.args(&["true"]);
            let message = bundle.run().fails(1, &format!("/{name}")).message();
            assert!(message.contains("ordinary directory") || message.contains("directory"), "{message}");
            fs::remove_file(&place).unwrap();
        }
        fs::create_dir(&place).unwrap();
    }
    // A link on the way is no ordinary directory either.
    symlink("/", bundle.rootfs().join("way")).unwrap();
    bundle
        .without_mount("/proc")
        .mount(json!({"destination": "/way/proc", "type": "proc", "source": "proc"}));
    bundle.run().fails(1, "/way/proc");
    bundle.leaves_nothing();
}

#[test]
fn a_dev_that_leads_out_gets_nothing() {
    // CVE-2026-41579, CVE-2026-47766.
    let Some(mut bundle) = Bundle::new() else { return };
    let canary = Canary::new(&bundle);
    for point in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
        bundle.without_mount(point);
    }
    bundle.writable().args(&["true"]);
    for to in links(&canary) {
        let dev = bundle.rootfs().join("dev");
        fs::remove_dir_all(&dev).or_else(|_| fs::remove_file(&dev)).unwrap();
        symlink(&to, &dev).unwrap();
        bundle.run();
        canary.is_untouched();
    }
    bundle.leaves_nothing();
}

#[test]
fn parts_of_dev_that_lead_out_get_nothing() {
    let Some(mut bundle) = Bundle::new() else { return };
    let canary = Canary::new(&bundle);
    bundle.without_mount("/dev").writable().args(&["true"]);
    for name in ["pts", "shm", "mqueue", "ptmx", "null", "fd"] {
        let dev = bundle.rootfs().join("dev");
        fs::remove_dir_all(&dev).unwrap();
        fs::create_dir(&dev).unwrap();
        symlink(&canary.dir, dev.join(name)).unwrap();
        bundle.run();
        canary.is_untouched();
    }
    bundle.leaves_nothing();
}

#[test]
fn chains_and_long_names_end_in_an_error_or_inside() {
    // CVE-2019-18837.
    let Some(mut bundle) = Bundle::new() else { return };
    let canary = Canary::new(&bundle);
    let root = bundle.rootfs();
    symlink(&canary.dir, root.join("link0")).unwrap();
    for number in 1..60 {
        symlink(format!("link{}", number - 1), root.join(format!("link{number}"))).unwrap();
    }
    let long = format!("/{}", "n".repeat(255));
    let longer = format!("/{}", "n".repeat(256));
    let deep = "/d".repeat(2040);
    let before = bundle.config["mounts"].clone();
    bundle.writable().args(&["true"]);
    for (target, works) in [
        ("/link59", false),
        ("/link10", true),
        ("/link10/new/dir", true),
        (&*long, true),
        (&*longer, false),
        (&*deep, true),
    ] {
        bundle.patch(|config| config["mounts"] = before.clone());
        bundle.mount(json!({"destination": target, "type": "tmpfs", "source": "tmpfs"}));
        let answer = bundle.run();
        assert_eq!(answer.code == 0, works, "{target}: {answer:?}");
        canary.is_untouched();
    }
    bundle.leaves_nothing();
}

#[test]
fn a_device_or_working_directory_stays_inside() {
    let Some(mut bundle) = Bundle::new() else { return };
    let canary = Canary::new(&bundle);
    symlink(&canary.dir, bundle.rootfs().join("link")).unwrap();
    bundle.writable().args(&["pwd"]).patch(|config| {
        config["linux"]["devices"] = json!([{"path": "/link/node", "type": "c", "major": 1, "minor": 3}]);
        config["process"]["cwd"] = json!("/link/work");
    });
    bundle.run();
    canary.is_untouched();
    bundle.leaves_nothing();
}
