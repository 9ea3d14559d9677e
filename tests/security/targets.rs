//! A mount over /proc that is none, and one over the root: by whatever path or symlink it comes there.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::support::Bundle;

fn bind(source: &str, destination: &str) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind"]})
}

fn tmpfs(destination: &str) -> Value {
    json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"})
}

/// A bundle with a directory that could pass for /proc, and an image with symlinks.
fn bundle(links: &[(&str, &str)]) -> Option<Bundle> {
    let mut bundle = Bundle::new()?;
    fs::create_dir_all(bundle.dir.join("fake/self/attr")).unwrap();
    for (name, to) in links {
        let link = bundle.rootfs().join(name);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(to, link).unwrap();
    }
    bundle.writable().args(&["true"]).patch(|config| {
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    Some(bundle)
}

#[test]
fn a_false_proc_comes_by_no_other_name() {
    let links = [("p", "/proc"), ("q", "p"), ("r", "../../proc/"), ("home/up", ".."), ("s", "home/up/proc")];
    let Some(mut bundle) = bundle(&links) else { return };
    bundle.without_mount("/proc");
    let others = bundle.config["mounts"].clone();
    let proc = json!({"destination": "/proc", "type": "proc", "source": "proc"});
    let names =
        ["/proc", "/x/../proc", "/home/../proc", "/../proc", "/p", "/q", "/r", "/s", "/home/up/proc", "/p/"];
    fs::create_dir(bundle.rootfs().join("x")).unwrap();
    for missing in [false, true] {
        if missing {
            fs::remove_dir(bundle.rootfs().join("proc")).unwrap();
        }
        for name in names {
            for mount in [bind("fake", name), tmpfs(name), bind("/proc/self", name)] {
                for with_proc in [false, true] {
                    bundle.patch(|config| config["mounts"] = others.clone()).mount(mount.clone());
                    if with_proc {
                        bundle.mount(proc.clone());
                    }
                    let answer = bundle.run();
                    assert_ne!(answer.code, 0, "{mount}: {answer:?}");
                    assert!(answer.told().contains("proc"), "{mount}: {answer:?}");
                    if missing {
                        let _ = fs::remove_dir(bundle.rootfs().join("proc"));
                    }
                }
            }
        }
    }
    // Over one that is there, and over what is in it.
    fs::create_dir_all(bundle.rootfs().join("proc")).unwrap();
    fs::write(bundle.dir.join("file"), "").unwrap();
    for mount in [bind("fake", "/q"), bind("file", "/p/cpuinfo"), bind("file", "/x/../proc/stat")] {
        bundle.patch(|config| config["mounts"] = others.clone()).mount(proc.clone()).mount(mount);
        bundle.run().fails(1, "inside /proc");
    }
    bundle.leaves_nothing();
}

#[test]
fn a_proc_of_the_image_that_leads_to_a_mount_is_none() {
    let Some(mut bundle) = bundle(&[]) else { return };
    bundle.without_mount("/proc");
    let others = bundle.config["mounts"].clone();
    fs::remove_dir(bundle.rootfs().join("proc")).unwrap();
    symlink("/home/x", bundle.rootfs().join("proc")).unwrap();
    for mount in [bind("fake", "/home/x"), tmpfs("/home/x"), bind("fake", "/home")] {
        bundle.patch(|config| config["mounts"] = others.clone()).mount(mount.clone());
        fs::create_dir_all(bundle.dir.join("fake/x")).unwrap();
        let answer = bundle.run();
        assert!(answer.code != 0 && answer.told().contains("proc"), "{mount}: {answer:?}");
    }
    bundle.leaves_nothing();
}

#[test]
fn a_root_that_is_shared_is_not_covered_by_a_bind_of_itself() {
    let Some(mut bundle) = bundle(&[]) else { return };
    bundle.without_mount("/proc").patch(|config| config["linux"]["rootfsPropagation"] = json!("rshared"));
    let others = bundle.config["mounts"].clone();
    for place in ["/home", "/home/proc"] {
        bundle.patch(|config| config["mounts"] = others.clone());
        bundle
            .mount(json!({"destination": "/home", "type": "bind", "source": "rootfs", "options": ["bind"]}));
        bundle.mount(tmpfs(place));
        let answer = bundle.run();
        assert_ne!(answer.code, 0, "{place}: {answer:?}");
    }
    bundle.leaves_nothing();
}

#[test]
fn the_root_is_not_covered() {
    let links = [
        ("data", "/"),
        ("more", "data/.."),
        ("home/up", "../../.."),
        ("run/notify", "/"),
        ("dots", "home/../."),
    ];
    let Some(mut bundle) = bundle(&links) else { return };
    let others = bundle.config["mounts"].clone();
    let remount = json!({"destination": "/data", "type": "none", "options": ["remount", "ro"]});
    let cgroup = json!({"destination": "/data", "type": "cgroup", "source": "cgroup"});
    let names =
        ["/data", "/more", "/home/up", "/dots", "/home/..", "/data/data", "/data/home/up/", "/home/../."];
    let mounts = names.iter().flat_map(|name| [bind("fake", name), tmpfs(name)]).chain([remount, cgroup]);
    for mount in mounts {
        bundle.patch(|config| config["mounts"] = others.clone()).mount(mount.clone());
        let answer = bundle.run();
        assert!(answer.code != 0 && answer.told().contains("root"), "{mount}: {answer:?}");
    }
    bundle.patch(|config| config["mounts"] = others.clone());
    // A socket of the service manager's comes by a mount too.
    let manager = std::os::unix::net::UnixDatagram::bind(bundle.path("manager")).unwrap();
    let script = format!("export NOTIFY_SOCKET={}; exec \"$@\"", bundle.path("manager"));
    let answer = bundle.tare_by(&script, &["run", &bundle.id]);
    assert!(answer.code != 0 && answer.told().contains("NOTIFY_SOCKET"), "{answer:?}");
    drop(manager);
    for path in ["/data", "/more", "/", "/home/..", "/.", "//"] {
        bundle.patch(|config| config["linux"]["maskedPaths"] = json!([path]));
        bundle.run().fails(1, "/linux/maskedPaths/0");
    }
    // And to a container that runs.
    bundle.patch(|config| config["linux"]["maskedPaths"] = json!([]));
    bundle.up();
    for mount in [bind("fake", "/data"), tmpfs("/more"), tmpfs("/home/..")] {
        fs::write(bundle.dir.join("live.json"), json!([mount]).to_string()).unwrap();
        for change in ["add", "remove"] {
            let answer = bundle.tare(&["mounts", change, &bundle.id, &bundle.path("live.json")]);
            assert!(answer.code != 0 && answer.told().contains("root"), "{change} {mount}: {answer:?}");
        }
    }
    bundle.exec(&["ls", "/etc/passwd"]).ok();
    bundle.delete_force().ok();
    // What leads elsewhere is as it was.
    symlink("/home", bundle.rootfs().join("elsewhere")).unwrap();
    bundle.mount(tmpfs("/elsewhere")).mount(tmpfs("/data/tmp"));
    assert_eq!(bundle.output_of("stat -f -c %T /home /tmp"), "tmpfs\ntmpfs\n");
    bundle.leaves_nothing();
}

#[test]
fn a_read_only_path_that_is_the_root_makes_that_read_only() {
    let Some(mut bundle) = bundle(&[("data", "/"), ("more", "data/..")]) else { return };
    for path in ["/", "//", "/.", "/home/..", "/data", "/more", "/data/"] {
        bundle.patch(|config| config["linux"]["readonlyPaths"] = json!([path]));
        bundle.script("touch /new && exit; mkdir /home/new && exit; touch /dev/new && exec sleep 1000");
        bundle.create().ok();
        bundle.start().ok();
        let answer = bundle.exec(&["touch", "/new"]);
        assert!(answer.code != 0 && answer.stderr.contains("Read-only"), "{path}: {answer:?}");
        assert_eq!(bundle.status(), "running", "{path}: its first process could write");
        bundle.delete_force().ok();
        assert!(!fs::exists(bundle.rootfs().join("new")).unwrap());
    }
    bundle.leaves_nothing();
}
