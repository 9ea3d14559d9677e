//! New namespaces: that they are, and what is new in them.

use std::fs;

use serde_json::json;

use crate::support::{Bundle, namespace_of};

/// As config.json and as /proc spell them.
const KINDS: [(&str, &str); 8] = [
    ("pid", "pid"),
    ("network", "net"),
    ("mount", "mnt"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("cgroup", "cgroup"),
    ("time", "time"),
    ("user", "user"),
];

#[test]
fn each_that_is_named_is_new_and_each_other_is_the_hosts() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sleep", "1000"]);
    for kind in ["cgroup", "time"] {
        bundle.namespace(kind, None);
    }
    let named: Vec<String> = bundle.config["linux"]["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["type"].as_str().unwrap().into())
        .collect();
    bundle.create().ok();
    let pid = bundle.pid();
    for (name, file) in KINDS {
        let new = namespace_of(&pid, file) != namespace_of("self", file);
        assert_eq!(new, named.iter().any(|one| one == name), "{name}");
    }
}

#[test]
fn one_left_out_is_the_hosts() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sleep", "1000"]).patch(|config| {
        config.as_object_mut().unwrap().remove("hostname");
    });
    for (name, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
        bundle.without_namespace(name);
        bundle.create().ok();
        assert_eq!(namespace_of(&bundle.pid(), file), namespace_of("self", file), "{name}");
        bundle.delete_force().ok();
    }
}

#[test]
fn in_a_pid_namespace_the_process_is_the_first_and_alone() {
    let Some(mut bundle) = Bundle::new() else { return };
    assert_eq!(bundle.output_of("echo $$; echo /proc/[0-9]*"), "1\n/proc/1\n");
    bundle.without_namespace("pid");
    let pid: u32 = bundle.output_of("echo $$").trim().parse().unwrap();
    assert!(pid > 1);
}

#[test]
fn in_a_network_namespace_there_is_a_loopback_that_is_up() {
    let Some(mut bundle) = Bundle::new() else { return };
    let output = bundle.output_of("ls /sys/class/net; cat /sys/class/net/lo/flags");
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines.contains(&"lo"), "{lines:?}");
    // IFF_UP | IFF_LOOPBACK
    assert!(lines.contains(&"0x9"), "{lines:?}");
}

#[test]
fn in_a_uts_namespace_names_are_the_configurations() {
    let Some(mut bundle) = Bundle::new() else { return };
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    bundle.patch(|config| {
        config["hostname"] = json!("inside");
        config["domainname"] = json!("example.org");
    });
    let output = bundle.output_of("hostname; cat /proc/sys/kernel/domainname");
    assert_eq!(output, "inside\nexample.org\n");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), host);
}

#[test]
fn in_an_ipc_namespace_nothing_of_the_host_is_seen() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| {
        config["linux"]["sysctl"] = json!({"kernel.msgmax": "12345", "fs.mqueue.msg_max": "7"});
    });
    let host = fs::read_to_string("/proc/sys/kernel/msgmax").unwrap();
    let output = bundle
        .output_of("cat /proc/sys/kernel/msgmax /proc/sys/fs/mqueue/msg_max; wc -l < /proc/sysvipc/shm");
    assert_eq!(output, "12345\n7\n1\n");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/msgmax").unwrap(), host);
}

#[test]
fn no_namespace_at_all_is_a_process_of_the_host() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| {
        config.as_object_mut().unwrap().remove("hostname");
        config["linux"]["namespaces"] = json!([]);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
        config["mounts"] = json!([]);
        config["root"]["readonly"] = json!(false);
    });
    bundle.args(&["sleep", "1000"]);
    bundle.create().ok();
    bundle.start().ok();
    let pid = bundle.pid();
    for (name, file) in KINDS {
        assert_eq!(namespace_of(&pid, file), namespace_of("self", file), "{name}");
    }
    assert_eq!(fs::read_link(format!("/proc/{pid}/root")).unwrap(), bundle.rootfs());
    assert_eq!(bundle.exec(&["ls", "/bin/busybox"]).ok().stdout, "/bin/busybox\n");
    bundle.kill("KILL").ok();
    bundle.wait_until_stopped();
    bundle.delete().ok();
    bundle.leaves_nothing();
}
