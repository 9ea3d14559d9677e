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
