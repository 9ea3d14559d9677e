//! Fields of config.json that are wrong: each is told by its JSON pointer. A sample: the whole table is in
//! tests/spec_rules.rs.

use serde_json::{Value, json};

use crate::bundle_is_refused;
use crate::support::Bundle;

/// What to set, to what, and words of the message besides the pointer.
fn rows() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("/process", json!(null), "process"),
        ("/process", json!("sh"), "invalid type"),
        ("/process/args", json!([]), "args must not be empty"),
        ("/process/args", json!("sh"), ""),
        ("/process/args/0", json!("a\u{0}b"), "NUL"),
        ("/process/cwd", json!(""), "Cwd property must not be empty"),
        ("/process/cwd", json!("relative"), "Cwd must be an absolute path"),
        ("/process/cwd", json!(5), ""),
        ("/process/env/0", json!("A\u{0}"), "NUL"),
        ("/process/user/uid", json!(-1), ""),
        ("/process/user/uid", json!(4_294_967_296_u64), ""),
        ("/process/user/uid", json!("root"), ""),
        ("/process/user/gid", json!(1.5), ""),
        ("/process/rlimits/0/type", json!("RLIMIT_NO_SUCH"), "RLIMIT_NO_SUCH"),
        ("/process/rlimits/0/soft", json!(-1), ""),
        ("/process/oomScoreAdj", json!(5000), ""),
        ("/process/apparmorProfile", json!(7), ""),
        ("/root", json!(null), ""),
        ("/root/path", json!(""), ""),
        ("/root/path", json!("no/such/rootfs"), "no/such/rootfs"),
        ("/root/path", json!("config.json"), "not a directory"),
        ("/root/readonly", json!("yes"), ""),
        ("/hostname", json!("x".repeat(65)), ""),
        ("/mounts/0/destination", json!(""), ""),
        ("/mounts/0/destination", json!("/a\u{0}b"), "NUL"),
        ("/mounts/0/options", json!("ro"), ""),
        ("/mounts/1/type", json!("no-such-filesystem"), "no-such-filesystem"),
        ("/mounts/1/options/0", json!("no-such-option"), "no-such-option"),
        ("/linux/namespaces/0/type", json!("galaxy"), "galaxy"),
        ("/linux/namespaces/1/type", json!("pid"), "pid"),
        ("/linux/namespaces/0/path", json!("/no/such/namespace"), "/no/such/namespace"),
        ("/linux/maskedPaths/0", json!("relative"), "absolute"),
        ("/linux/readonlyPaths/0", json!("a\u{0}"), ""),
        ("/linux/rootfsPropagation", json!("upwards"), "upwards"),
        ("/linux/sysctl", json!({"kernel.panic": "1"}), "kernel.panic"),
        ("/linux/sysctl", json!({"net.ipv4.../../kernel/panic": "1"}), ""),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_DANCE"}), "SCMP_ACT_DANCE"),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_ABACUS"]}),
            "ABACUS",
        ),
        ("/linux/devices", json!([{"path": "/dev/x", "type": "z"}]), ""),
        ("/linux/devices", json!([{"path": "relative", "type": "c", "major": 1, "minor": 3}]), ""),
        ("/linux/resources/devices/0/type", json!("z"), "z"),
        ("/linux/timeOffsets", json!({"boottime": {"secs": 1}}), "time"),
        ("/hooks", json!({"prestart": [{"path": "relative"}]}), ""),
        ("/hooks", json!({"prestart": [{"path": "/bin/true", "timeout": -1}]}), ""),
    ]
}

#[test]
fn each_is_told_by_its_place() {
    let Some(mut bundle) = Bundle::new() else { return };
    let whole = bundle.config.clone();
    for (pointer, value, words) in rows() {
        bundle.patch(|config| {
            *config = whole.clone();
            let (holder, name) = pointer.rsplit_once('/').unwrap();
            let holder = config.pointer_mut(holder).unwrap();
            match holder {
                Value::Array(items) => items[name.parse::<usize>().unwrap()] = value.clone(),
                other => other[name] = value.clone(),
            }
        });
        let what = format!("{pointer} = {value}");
        bundle_is_refused(&bundle, &what, words);
        let message = bundle.create().message();
        // What the kernel refuses of a mount is told by the mount.
        let place = if pointer.starts_with("/mounts/1/") { "/mounts/1" } else { pointer };
        assert!(message.contains(place), "{what}: {message}");
    }
}

#[test]
fn all_faults_are_told_together() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| {
        config["process"]["cwd"] = json!("relative");
        config["process"]["args"] = json!([]);
        config["linux"]["maskedPaths"] = json!(["relative"]);
    });
    let message = bundle.create().fails(1, "/process/cwd").message();
    for place in ["/process/args", "/linux/maskedPaths/0"] {
        assert!(message.contains(place), "{message}");
    }
}
