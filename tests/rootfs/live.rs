//! Mounts that come to a container that runs, and go: `mounts add`, `mounts remove`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::{Value, json};

use crate::support::{Answer, Bundle};

/// `mounts CHANGE` with this document.
#[track_caller]
fn change(bundle: &Bundle, change: &str, document: &Value) -> Answer {
    fs::write(bundle.dir.join("mounts.json"), document.to_string()).unwrap();
    bundle.tare(&["mounts", change, &bundle.id, "mounts.json"])
}

#[track_caller]
fn inside(bundle: &Bundle, script: &str) -> String {
    bundle.exec(&["sh", "-c", script]).ok().stdout
}

fn bundle() -> Option<Bundle> {
    let bundle = Bundle::new()?;
    fs::create_dir(bundle.dir.join("data")).unwrap();
    fs::write(bundle.dir.join("data/file"), "of the host\n").unwrap();
    Some(bundle)
}

fn bind(source: &str, destination: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": options})
}

#[test]
fn are_there_for_all_its_processes_and_gone_again() {
    for users in [false, true] {
        let Some(mut bundle) = bundle() else { return };
        if users {
            bundle.user_namespace();
        }
        bundle.writable().up();
        let mounts = json!([
            {"destination": "/made/tmpfs", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k", "nosuid"]},
            bind("data", "/made/data", &["bind", "ro"]),
            bind("data/file", "/made/one-file", &["bind"]),
        ]);
        change(&bundle, "add", &mounts).ok();
        let root = format!("/proc/{}/root/made", bundle.pid());
        assert_eq!(fs::read_to_string(format!("{root}/data/file")).unwrap(), "of the host\n");
        let seen = inside(
            &bundle,
            "cat /made/one-file; grep -c ' /made/' /proc/self/mountinfo; \
            touch /made/tmpfs/x && stat -c %u /made/tmpfs; df -k /made/tmpfs | awk 'END {print $2}'",
        );
        assert_eq!(seen, "of the host\n3\n0\n64\n", "users: {users}");
        bundle.exec(&["touch", "/made/data/x"]).fails(1, "Read-only file system");
        // The host has none of it.
        let host = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!host.contains("/made/"), "{host}");

        change(&bundle, "remove", &mounts).ok();
        assert_eq!(
            inside(&bundle, "grep -c ' /made/' /proc/self/mountinfo; ls /made/data; cat /made/one-file"),
            "0\n"
        );
        change(&bundle, "remove", &mounts)
            .fails(1, "/mounts/0: unmount /made/tmpfs: umount2: invalid argument");
        bundle.delete_force().ok();
        bundle.leaves_nothing();
    }
}

#[test]
fn of_kinds_that_belong_to_a_namespace_belong_to_the_containers() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.writable().up();
    change(
        &bundle,
        "add",
        &json!({"mounts": [{"destination": "/p", "type": "proc", "source": "proc"},
        {"destination": "/m", "type": "mqueue", "source": "mqueue"}]}),
    )
    .ok();
    assert_eq!(inside(&bundle, "cat /p/1/cmdline | tr '\\0' ' '"), "sleep 1000 ");
    let ours = fs::metadata(format!("/proc/{}/root/m", bundle.pid())).unwrap();
    assert_eq!(ours.permissions().mode() & 0o7777, 0o1777);
}

#[test]
fn find_their_places_inside_the_container() {
    let Some(mut bundle) = bundle() else { return };
    // Of the image: each would lead out if the host followed it.
    let outside = bundle.dir.join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, bundle.rootfs().join("out")).unwrap();
    symlink("../../../../../../up", bundle.rootfs().join("up")).unwrap();
    symlink("/tmp/real", bundle.rootfs().join("etc/name")).unwrap();
    bundle.writable().up();
    let mounts = json!([
        bind("data", "/out/deep", &["bind"]),
        bind("data", "/../../way/up", &["bind"]),
        bind("data/file", "/etc/name", &["bind"])
    ]);
    change(&bundle, "add", &mounts).ok();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let path = format!("{}/deep/file", outside.display());
    assert_eq!(inside(&bundle, &format!("cat {path} /way/up/file /tmp/real")), "of the host\n".repeat(3));
    change(&bundle, "remove", &mounts).ok();
    assert_eq!(
        inside(&bundle, &format!("ls {}/deep /way/up | grep -c file; cat /tmp/real", outside.display())),
        "0\n"
    );
}

#[test]
fn are_all_made_or_none() {
    let Some(mut bundle) = bundle() else { return };
    bundle.writable().up();
    let tmpfs = |place: &str| json!({"destination": place, "type": "tmpfs", "source": "tmpfs"});
    let rows = [
        (json!([tmpfs("/a"), bind("missing", "/b", &["bind"])]), "/mounts/1/source: open"),
        (json!([tmpfs("/a"), {"destination": "/b", "type": "nofs"}]), "/mounts/1: error mounting \"nofs\""),
        (json!([tmpfs("/a"), tmpfs("/proc/sys")]), "inside /proc"),
        (json!([tmpfs("/a"), tmpfs("/proc/made")]), "inside /proc"),
        (json!([tmpfs("/a"), {"destination": "/b"}]), "neither a filesystem type"),
        (json!([tmpfs("/a"), tmpfs("/")]), "the root itself"),
        (json!({"root": {}}), "no list of mounts"),
    ];
    for (document, words) in rows {
        change(&bundle, "add", &document).fails(1, words);
        assert_eq!(inside(&bundle, "grep -c ' /a ' /proc/self/mountinfo || true"), "0\n", "{document}");
    }
}

#[test]
fn come_to_a_container_that_waits_or_is_paused_and_to_none_that_has_ended() {
    let Some(mut bundle) = bundle() else { return };
    bundle.writable().script("cat /data/file; exec sleep 1000");
    bundle.create().ok();
    let mounts = json!([bind("data", "/data", &["bind"])]);
    change(&bundle, "add", &mounts).ok();
    bundle.start().ok();
    bundle.tare(&["pause", &bundle.id]).ok();
    change(&bundle, "add", &json!([bind("data", "/more", &["bind"])])).ok();
    bundle.tare(&["resume", &bundle.id]).ok();
    assert_eq!(inside(&bundle, "cat /data/file /more/file"), "of the host\n".repeat(2));
    bundle.tare(&["mounts", "put", &bundle.id, "mounts.json"]).fails(1, "unknown command put");
    bundle.kill("KILL").ok();
    bundle.wait_until_stopped();
    change(&bundle, "add", &mounts).fails(1, "container not running");
}

#[test]
fn are_refused_where_they_would_be_the_hosts() {
    let Some(mut bundle) = bundle() else { return };
    bundle.without_namespace("mount").patch(|config| {
        config["linux"].as_object_mut().unwrap().retain(|key, _| !key.ends_with("Paths"));
    });
    bundle.up();
    change(&bundle, "add", &json!([bind("data", "/data", &["bind"])]))
        .fails(1, "no mount namespace of its own");
}
