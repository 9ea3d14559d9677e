//! `features`: the document that the schema describes, and each of its claims put to the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use support::{Bundle, runtime};

/// By a user without privileges, without an environment, in a directory that nobody may write to.
fn document() -> Value {
    // Once: while the copy is written, nobody may fork, or it is busy (ETXTBSY).
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(asked).clone()
}

fn asked() -> Value {
    // A copy: the directories above the build may be closed to others.
    let copy = std::env::temp_dir().join(format!("tare-features-{}", std::process::id()));
    std::fs::copy(runtime(), &copy).unwrap();
    let mut command = Command::new(&copy);
    command.arg("features").env_clear().current_dir("/").stdin(Stdio::null());
    if nix::unistd::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let output = command.output();
    std::fs::remove_file(copy).unwrap();
    parsed(&output.unwrap())
}

fn parsed(output: &std::process::Output) -> Value {
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn words<'a>(document: &'a Value, pointer: &str) -> Vec<&'a str> {
    let list = document.pointer(pointer).unwrap().as_array().unwrap();
    list.iter().map(|word| word.as_str().unwrap()).collect()
}

#[test]
fn the_document_is_what_the_schema_says() {
    let document = document();
    let properties = include_str!("fixtures/spec/properties").lines();
    let mut count = 0;
    for pointer in properties.filter_map(|line| line.strip_prefix("features ")) {
        assert!(document.pointer(pointer).is_some_and(|value| !value.is_null()), "{pointer}");
        count += 1;
    }
    assert!(count > 30, "{count}");
    for (pointer, value) in [
        ("/ociVersionMin", json!("1.0.0")),
        ("/ociVersionMax", json!("1.3.0")),
        (
            "/hooks",
            json!([
                "prestart",
                "createRuntime",
                "createContainer",
                "startContainer",
                "poststart",
                "poststop"
            ]),
        ),
        ("/linux/namespaces", json!(["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"])),
        (
            "/linux/cgroup",
            json!({"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true}),
        ),
        ("/linux/apparmor", json!({"enabled": true})),
        ("/linux/selinux", json!({"enabled": true})),
        ("/linux/intelRdt", json!({"enabled": true, "schemata": true, "monitoring": true})),
        ("/linux/mountExtensions", json!({"idmap": {"enabled": true}})),
        ("/linux/netDevices", json!({"enabled": true})),
        ("/linux/seccomp/enabled", json!(true)),
    ] {
        assert_eq!(document.pointer(pointer), Some(&value), "{pointer}");
    }
    // What the specification has names for.
    let actions = ["ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "LOG", "NOTIFY", "TRACE", "TRAP"];
    let operators = ["EQ", "GE", "GT", "LE", "LT", "MASKED_EQ", "NE"];
    let flags = ["LOG", "SPEC_ALLOW", "TSYNC", "WAIT_KILLABLE_RECV"];
    for (pointer, prefix, names) in [
        ("/linux/seccomp/actions", "SCMP_ACT_", &actions[..]),
        ("/linux/seccomp/operators", "SCMP_CMP_", &operators),
        ("/linux/seccomp/knownFlags", "SECCOMP_FILTER_FLAG_", &flags),
    ] {
        let mut found = words(&document, pointer);
        found.sort_unstable();
        let names: Vec<String> = names.iter().map(|name| format!("{prefix}{name}")).collect();
        assert_eq!(found, names, "{pointer}");
    }
    let known = words(&document, "/linux/seccomp/knownFlags");
    assert!(words(&document, "/linux/seccomp/supportedFlags").iter().all(|flag| known.contains(flag)));
    let native = format!("SCMP_ARCH_{}", std::env::consts::ARCH.to_uppercase());
    assert!(words(&document, "/linux/seccomp/archs").contains(&&*native));
    let capabilities = words(&document, "/linux/capabilities");
    let plain = |name: &&str| {
        name.starts_with("CAP_") && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    assert!(capabilities.len() >= 41 && capabilities.iter().all(plain), "{capabilities:?}");
}

#[test]
fn each_word_of_the_features_is_taken_by_a_mount() {
    let document = document();
    let Some(mut bundle) = Bundle::new() else { return };
    std::fs::create_dir(bundle.path("source")).unwrap();
    let all = words(&document, "/mountOptions");
    assert!(all.len() > 50, "{all:?}");
    for word in all {
        let bind =
            json!({"destination": "/m", "type": "bind", "source": "source", "options": ["bind", word]});
        let own = json!({"destination": "/m", "type": "tmpfs", "source": "tmpfs", "options": [word]});
        let mounts = match word {
            "bind" | "rbind" => vec![bind],
            "remount" => vec![json!({"destination": "/m", "type": "tmpfs"}), own],
            // Of the superblock, and not every filesystem's.
            "iversion" | "mand" | "nomand" | "noiversion" | "sync" | "async" | "dirsync" | "lazytime"
            | "nolazytime" | "tmpcopyup" => vec![own],
            _ => vec![own, bind],
        };
        for mount in mounts {
            bundle.mount(mount);
        }
        bundle.run().ok();
        bundle.without_mount("/m");
    }
    bundle.leaves_nothing();
}
