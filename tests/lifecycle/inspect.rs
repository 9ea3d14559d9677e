//! `inspect`: what a person reads off a container from outside.

use serde_json::{Value, json};

use crate::support::Bundle;

fn inspect(bundle: &Bundle) -> Value {
    bundle.tare(&["inspect", "--format", "json", &bundle.id]).ok().json()
}

fn mount<'a>(seen: &'a Value, destination: &str) -> &'a Value {
    let mounts = seen["mounts"].as_array().unwrap();
    mounts.iter().find(|mount| mount["destination"] == destination).unwrap_or(&Value::Null)
}

#[test]
fn each_status_says_what_the_container_waits_for() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["/bin/sleep", "100"]).write();
    bundle.create().ok();
    let waits = |bundle: &Bundle| inspect(bundle)["waiting"][0].as_str().unwrap_or_default().to_owned();
    assert_eq!(waits(&bundle), format!("it waits to be started: tare start {}", bundle.id));
    bundle.start().ok();
    assert_eq!(inspect(&bundle)["waiting"], json!([]));
    let pid = bundle.pid();
    std::process::Command::new("kill").args(["-STOP", &pid]).status().unwrap();
    crate::support::wait_until("the process is told as stopped", || waits(&bundle).contains("kill -CONT"));
    std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap();
    bundle.wait_until_stopped();
    assert!(waits(&bundle).starts_with("it has ended"), "{}", waits(&bundle));
}

#[test]
fn mounts_name_their_entry_and_what_has_changed_since() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.mount(
        json!({"destination": "/scratch", "type": "tmpfs", "source": "scratch", "options": ["nosuid", "ro"]}),
    );
    bundle.patch(|config| {
        let sets = config["process"]["capabilities"].as_object_mut().unwrap();
        sets.values_mut().for_each(|set| *set = json!(["CAP_KILL"]));
    });
    bundle.args(&["/bin/sleep", "100"]).up();
    let config: Value = serde_json::from_str(&bundle.read("config.json")).unwrap();
    let index =
        config["mounts"].as_array().unwrap().iter().position(|mount| mount["destination"] == "/scratch");
    let seen = inspect(&bundle);
    assert_eq!(mount(&seen, "/scratch")["pointer"], format!("/mounts/{}", index.unwrap()));
    assert_eq!(mount(&seen, "/scratch")["differences"], Value::Null);
    assert_eq!(seen["process"]["capabilities"]["effective"], json!(["CAP_KILL"]));
    assert_eq!(seen["unknown"], json!([]));
    let remount = [
        "-t",
        &bundle.pid(),
        "-m",
        "/bin/busybox",
        "mount",
        "-o",
        "remount,bind,rw,nosuid",
        "none",
        "/scratch",
    ];
    assert!(std::process::Command::new("nsenter").args(remount).status().unwrap().success());
    let changed = inspect(&bundle);
    assert_eq!(mount(&changed, "/scratch")["differences"], json!(["ro was asked for, and is not set"]));
}

#[test]
fn sessions_and_namespaces_are_told_apart() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.without_namespace("ipc").args(&["/bin/sleep", "100"]).up();
    assert_eq!(inspect(&bundle)["execSessions"], json!([]));
    bundle.tare(&["exec", "-d", &bundle.id, "/bin/sleep", "99"]).ok();
    let seen = inspect(&bundle);
    assert_eq!(seen["execSessions"][0]["args"], json!(["/bin/sleep", "99"]));
    let namespaces = seen["namespaces"].as_array().unwrap();
    let shared =
        |kind: &str| namespaces.iter().find(|one| one["type"] == kind).unwrap()["sharedWithHost"] == true;
    assert!(shared("ipc") && !shared("pid"), "{namespaces:?}");
    let text = bundle.tare(&["inspect", &bundle.id]).ok().stdout;
    assert!(text.contains("EXEC SESSIONS") && text.contains("/bin/sleep 99"), "{text}");
}

/// What a process says of itself is neither read without end nor a way to hide.
#[test]
fn a_process_hides_nothing_by_its_name_and_its_arguments_are_cut() {
    let Some(mut bundle) = Bundle::new() else { return };
    let script = r"printf 'a\377) Z 1' > /proc/$$/comm; echo > /ready; /bin/busybox sleep 100; :";
    bundle.writable().args(&["/bin/sh", "-c", script, &"x".repeat(100_000)]);
    bundle.create().ok();
    bundle.start().ok();
    crate::support::wait_until("the name", || bundle.rootfs().join("ready").exists());
    let seen = inspect(&bundle);
    assert_eq!(seen["unknown"], json!([]));
    let args = seen["process"]["args"].as_array().unwrap();
    assert_eq!(args[0], "/bin/sh");
    let last = args.last().unwrap().as_str().unwrap();
    assert!(last.len() < 5000 && last.ends_with("x…"), "{} bytes", last.len());
}

#[test]
fn a_mount_whose_name_is_not_utf8_hides_no_others() {
    use std::os::unix::ffi::OsStrExt;
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.writable().args(&["/bin/sleep", "100"]).up();
    let name = std::ffi::OsStr::from_bytes(b"strange-\xff");
    std::fs::create_dir(bundle.rootfs().join(name)).unwrap();
    let mut mount_it = std::process::Command::new("nsenter");
    mount_it.args(["-t", &bundle.pid(), "-m", "/bin/busybox", "mount", "-t", "tmpfs", "none"]);
    assert!(mount_it.arg(std::path::Path::new("/").join(name)).status().unwrap().success());
    let seen = inspect(&bundle);
    assert_eq!(seen["unknown"], json!([]));
    assert_eq!(mount(&seen, "/strange-\u{fffd}")["type"], "tmpfs");
    assert_eq!(mount(&seen, "/proc")["type"], "proc");
}
