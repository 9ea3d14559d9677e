//! Paths that lead nowhere, or to what they should not.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::support::Bundle;
use crate::{bundle_is_refused, refused};

#[test]
fn a_rootfs_that_is_missing_or_no_directory_is_told() {
    let Some(mut bundle) = Bundle::new() else { return };
    for (path, words) in [
        ("/no/such/rootfs", "/no/such/rootfs"),
        ("config.json", "config.json"),
        ("/dev/null", "/dev/null"),
        ("loop", "loop"),
    ] {
        let _ = symlink("loop", bundle.dir.join("loop"));
        bundle.patch(|config| config["root"]["path"] = json!(path));
        bundle_is_refused(&bundle, path, words);
        bundle_is_refused(&bundle, path, "/root/path");
    }
}

#[test]
fn a_mount_target_that_loops_or_lies_below_a_file_is_told() {
    let Some(mut bundle) = Bundle::new() else { return };
    symlink("loop", bundle.rootfs().join("loop")).unwrap();
    symlink("/etc/passwd", bundle.rootfs().join("file")).unwrap();
    let before = bundle.config["mounts"].clone();
    let index = before.as_array().unwrap().len();
    for target in ["/loop", "/loop/x", "/file/x", "/etc/passwd/x", "/etc/passwd"] {
        bundle.patch(|config| config["mounts"] = before.clone());
        bundle.mount(json!({"destination": target, "type": "tmpfs", "source": "tmpfs"}));
        bundle_is_refused(&bundle, target, &format!("/mounts/{index}"));
    }
}

#[test]
fn a_bundle_whose_path_no_state_can_show_is_told() {
    use std::os::unix::ffi::OsStrExt;

    let Some(bundle) = Bundle::new() else { return };
    // A directory of that name: through a symlink, it would be the bundle's own name that is shown.
    let odd = bundle.dir.join(std::ffi::OsStr::from_bytes(b"odd\xff"));
    fs::create_dir(&odd).unwrap();
    bundle.write();
    fs::copy(bundle.dir.join("config.json"), odd.join("config.json")).unwrap();
    let mut call = std::process::Command::new(&bundle.program);
    call.arg("--root").arg(bundle.state_root()).args(["run", &bundle.id, "--bundle"]).arg(&odd);
    refused("a name that is not UTF-8", "the path is not UTF-8", || crate::support::run::wait_for(&mut call));
    bundle.leaves_nothing();
}

#[test]
fn a_root_that_is_no_place_for_state_is_told() {
    let Some(bundle) = Bundle::new() else { return };
    let file = bundle.path("config.json");
    for (root, words) in [("/", "/"), (&*file, &*file), ("/proc/none", "/proc/none")] {
        let mut call = std::process::Command::new(&bundle.program);
        call.args(["--root", root, "create", &bundle.id]).current_dir(&bundle.dir);
        refused(root, words, || crate::support::run::wait_for(&mut call));
    }
    bundle.leaves_nothing();
}

#[test]
fn files_that_flags_name_are_told() {
    let Some(mut bundle) = Bundle::new() else { return };
    let id = bundle.id.clone();
    let calls: [(&[&str], &str); 4] = [
        (&["create", "--pid-file", "/no/such/pid", &id], "/no/such/pid"),
        (&["create", "--pid-file", "/dev", &id], "/dev"),
        (&["create", "--pidfd-socket", "/no/such/socket", &id], "/no/such/socket"),
        (&["create", "--console-socket", "/no/such/socket", &id], "console socket"),
    ];
    for (call, words) in calls {
        refused(&call.join(" "), words, || bundle.tare(call));
        bundle.leaves_nothing();
    }
    bundle.up();
    for process in ["/no/such/process.json", "/dev", "/etc/hostname"] {
        refused(process, process, || bundle.tare(&["exec", "--process", process, &id]));
    }
    fs::write(bundle.dir.join("process.json"), r#"{"args": [], "cwd": "x"}"#).unwrap();
    let message =
        refused("process", "args must not be empty", || bundle.tare(&["exec", "-p", "process.json", &id]));
    assert!(message.contains("Cwd must be an absolute path"), "{message}");
}
