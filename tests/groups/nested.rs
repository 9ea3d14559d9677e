//! A container in a container: the inner runtime sees a part of the hierarchies, and that as the whole.

use std::fs;

use serde_json::json;

use crate::support::{Bundle, machine};

/// A container that may do what a runtime needs, with one in it and a bundle for it in /inner.
fn outer() -> Option<(Bundle, Bundle)> {
    let (mut outer, inner) = (Bundle::new()?, Bundle::new()?);
    let capabilities: Vec<_> = [
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "KILL",
        "MKNOD",
        "NET_ADMIN",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_ADMIN",
        "SYS_CHROOT",
        "AUDIT_WRITE",
        "NET_BIND_SERVICE",
        "SYS_PTRACE",
    ]
    .map(|name| format!("CAP_{name}"))
    .into();
    outer.writable().namespace("cgroup", None).without_mount("/sys/fs/cgroup").without_mount("/sys");
    let bind = |from: &str, to: &str| json!({"destination": to, "type": "bind", "source": from, "options": ["bind"]});
    for mount in [
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs"}),
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]}),
        bind(&crate::support::runtime(), "/bin/tare"),
        bind(inner.dir.to_str().unwrap(), "/inner"),
        // The state, and temporary files.
        json!({"destination": "/run", "type": "tmpfs", "source": "tmpfs"}),
    ] {
        outer.mount(mount);
    }
    outer.patch(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(capabilities);
        }
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
        config["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]);
    });
    Some((outer, inner))
}

/// Both run, the inner one below its parent's group.
fn up(outer: &mut Bundle) {
    let inner = "cd /inner && tare run -d nested </dev/null >/dev/null 2>/run/log || cat /run/log >&2";
    outer.script(&format!("{inner}; sleep 1000"));
    outer.create().ok();
    outer.start().ok();
    crate::support::wait_until("the inner container", || {
        outer.exec(&["tare", "state", "nested"]).stdout.contains("\"status\": \"running\"")
    });
    assert!(machine::groups(&outer.id).iter().any(|group| group.ends_with("below/nested")));
}

fn nested() {
    let Some((mut outer, mut inner)) = outer() else { return };
    inner.script("cat /proc/self/cgroup; exit 7");
    inner.namespace("cgroup", None);
    outer.script("cd /inner && tare run nested; echo code $?");
    let answer = outer.run().ok();
    assert!(answer.lines().last() == Some(&"code 7"), "{answer:?}");
    // In its own group, wherever it was asked for, and that as the root.
    let groups = |line: &&&str| line.ends_with(":/") || line.contains(":/tare-test");
    assert!(answer.lines().iter().any(|line| groups(&line)), "{answer:?}");
    // With a group by name: it stands below the outer's.
    inner.patch(|config| config["linux"]["cgroupsPath"] = json!("/below/nested"));
    inner.script("sleep 1000");
    up(&mut outer);
    outer.exec(&["tare", "pause", "nested"]).ok();
    assert_eq!(outer.exec(&["tare", "state", "nested"]).ok().json()["status"], "paused");
    outer.exec(&["tare", "resume", "nested"]).ok();
    assert_eq!(outer.exec(&["tare", "exec", "nested", "echo", "hello"]).ok().stdout, "hello\n");
    outer.exec(&["tare", "events", "--stats", "nested"]).ok();
    outer.exec(&["tare", "delete", "--force", "nested"]).ok();
    assert!(!machine::groups(&outer.id).iter().any(|group| group.ends_with("below/nested")));
    // And one that is still there goes with the outer.
    outer.exec(&["sh", "-c", "cd /inner && tare run -d again </dev/null >/dev/null 2>&1"]).ok();
    outer.delete_force().ok();
    outer.leaves_nothing();
    fs::remove_dir_all(inner.state_root()).unwrap();
}

#[test]
fn a_container_runs_in_a_container() {
    nested();
}

#[test]
fn a_container_runs_in_a_container_on_cgroup_v2() {
    if machine::cgroup2_alone() {
        nested();
    }
}

/// Root inside is a user of the host's: the group is delegated to it, and device filters are beyond it.
#[test]
fn a_container_runs_in_a_container_with_a_user_namespace() {
    if !machine::cgroup2_alone() {
        return;
    }
    let Some((mut outer, mut inner)) = outer() else { return };
    outer.user_namespace();
    inner.namespace("cgroup", None).patch(|config| config["linux"]["cgroupsPath"] = json!("/below/nested"));
    inner.script("sleep 1000");
    // Sealed tightly, as nobody but the host's root owns the files in there.
    fs::set_permissions(&inner.dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    up(&mut outer);
    outer.exec(&["tare", "update", "--resources", "/inner/none.json", "nested"]).fails(1, "none.json");
    outer.exec(&["tare", "delete", "--force", "nested"]).ok();
    outer.delete_force().ok();
    outer.leaves_nothing();
}
