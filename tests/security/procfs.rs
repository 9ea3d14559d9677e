//! CVE-2025-52881 and its family: what the runtime writes below /proc goes to the kernel, and to nothing that was put there.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::support::Bundle;

/// A directory that looks like a procfs and leads to a canary.
fn with_false_proc() -> Option<Bundle> {
    let mut bundle = Bundle::new()?;
    let sys = bundle.dir.join("fake/sys/net/ipv4");
    fs::create_dir_all(&sys).unwrap();
    fs::write(bundle.dir.join("canary"), "alive").unwrap();
    // The directory is at the same path inside.
    symlink("/canary", sys.join("ip_default_ttl")).unwrap();
    fs::write(bundle.rootfs().join("canary"), "alive").unwrap();
    bundle.writable().args(&["true"]).without_mount("/proc").patch(|config| {
        config["linux"]["sysctl"] = json!({"net.ipv4.ip_default_ttl": "33"});
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    Some(bundle)
}

fn bind(source: &str, destination: &str) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind"]})
}

#[track_caller]
fn canary_lives(bundle: &Bundle, what: &str) {
    assert_eq!(bundle.read("rootfs/canary"), "alive", "{what}: the canary was written");
}

#[test]
fn a_sysctl_is_not_written_to_what_is_mounted_over_proc() {
    let Some(mut bundle) = with_false_proc() else { return };
    bundle.mount(bind("fake", "/proc"));
    bundle.run();
    canary_lives(&bundle, "over /proc");
    bundle.leaves_nothing();
}

#[test]
fn nor_to_what_is_mounted_below_it() {
    let Some(mut bundle) = with_false_proc() else { return };
    let proc = json!({"destination": "/proc", "type": "proc", "source": "proc"});
    let others = bundle.config["mounts"].clone();
    for place in ["/proc/sys", "/proc/sys/net", "/proc/self", "/proc/thread-self", "/proc/1"] {
        let source = if place == "/proc/sys/net" { "fake/sys/net" } else { "fake/sys" };
        bundle
            .patch(|config| config["mounts"] = others.clone())
            .mount(proc.clone())
            .mount(bind(source, place));
        bundle.run();
        canary_lives(&bundle, place);
    }
    bundle.leaves_nothing();
}

#[test]
fn nor_to_another_file_of_the_kernel() {
    let Some(mut bundle) = with_false_proc() else { return };
    let proc = json!({"destination": "/proc", "type": "proc", "source": "proc"});
    let others = bundle.config["mounts"].clone();
    let before = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    for source in ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern"] {
        for place in
            ["/proc/sys/net/ipv4/ip_default_ttl", "/proc/self/attr/exec", "/proc/thread-self/attr/exec"]
        {
            bundle.patch(|config| config["mounts"] = others.clone());
            bundle.mount(proc.clone()).mount(bind(source, place));
            let answer = bundle.run();
            assert_ne!(answer.code, 0, "{source} lies on {place}: {answer:?}");
        }
    }
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), before);
    bundle.leaves_nothing();
}

#[test]
fn nor_through_a_proc_that_is_a_symlink() {
    let Some(bundle) = with_false_proc() else { return };
    fs::remove_dir(bundle.rootfs().join("proc")).unwrap();
    for to in ["/fake", "fake", "/tmp/../fake"] {
        symlink(to, bundle.rootfs().join("proc")).unwrap();
        let place = bundle.rootfs().join("fake");
        fs::create_dir_all(place.join("sys/net/ipv4")).unwrap();
        let _ = symlink("/canary", place.join("sys/net/ipv4/ip_default_ttl"));
        bundle.run();
        canary_lives(&bundle, to);
        fs::remove_file(bundle.rootfs().join("proc")).unwrap();
    }
    bundle.leaves_nothing();
}
