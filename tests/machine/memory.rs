//! Memory, to its end.

use serde_json::json;

use crate::support::Bundle;
use crate::{ours, sh};

fn limited(bytes: i64) -> Option<Bundle> {
    let mut bundle = ours().then(Bundle::new).flatten()?;
    let path = format!("/{}", bundle.id);
    bundle.patch(|config| {
        config["linux"]["cgroupsPath"] = json!(path);
        config["linux"]["resources"]["memory"] = json!({"limit": bytes, "swap": bytes});
    });
    Some(bundle)
}

#[test]
fn four_mebibytes_are_enough_to_start() {
    if let Some(mut bundle) = limited(4 << 20) {
        assert_eq!(bundle.output_of("echo four"), "four\n");
        bundle.up();
        assert_eq!(bundle.exec(&["echo", "five"]).ok().stdout, "five\n");
        let group = format!("/sys/fs/cgroup/{}", bundle.id);
        sh(&format!("cd {group} && grep . memory.max memory.swap.max memory.current memory.peak"));
    }
}

#[test]
fn a_create_that_dies_for_want_of_memory_says_so_and_leaves_nothing() {
    let Some(bundle) = limited(16 << 10) else { return };
    let answer = bundle.create();
    eprintln!("{}", answer.told().trim());
    assert_ne!(answer.code, 0, "{answer:?}");
    assert!(answer.told().contains("memory"), "{answer:?}");
    assert!(!std::path::Path::new("/sys/fs/cgroup").join(&bundle.id).exists());
}

#[test]
fn events_tell_that_a_process_was_killed_for_its_memory() {
    let Some(mut bundle) = limited(16 << 20) else { return };
    // The first process lives on: the group, and who watches it, too.
    bundle.script(
        "while :; do [ ! -e /tmp/go ] || sh -c 'x=aaaaaaaa; while :; do x=$x$x; done'; sleep 1; done",
    );
    bundle.writable();
    bundle.create().ok();
    let events = crate::support::run::Running::start(&mut bundle.command(&["events", &bundle.id]));
    bundle.start().ok();
    std::thread::sleep(std::time::Duration::from_secs(2));
    std::fs::write(bundle.rootfs().join("tmp/go"), "").unwrap();
    crate::support::wait_until("an event", || events.said().contains("\"type\":\"oom\""));
    bundle.delete_force().ok();
    let told = events.wait().ok().stdout;
    eprintln!("{}", told.lines().find(|line| line.contains("oom\"")).unwrap_or_default());
    assert!(
        told.lines().any(|line| line == format!("{{\"type\":\"oom\",\"id\":\"{}\"}}", bundle.id)),
        "{told}"
    );
}

/// Before systemd is told: from then on the kernel kills until the limit holds.
#[test]
fn a_limit_below_what_is_used_is_refused_where_that_is_asked_for() {
    let Some(mut bundle) = ours().then(Bundle::new).flatten() else { return };
    bundle.globals = vec!["--systemd-cgroup".into()];
    bundle.patch(|config| config["linux"]["cgroupsPath"] = json!(":tare:used"));
    bundle.script(
        "x=aaaaaaaaaaaaaaaa; while [ ${#x} -lt 4000000 ]; do x=$x$x; done; while :; do sleep 1; done",
    );
    bundle.create().ok();
    bundle.start().ok();
    let usage = || -> u64 {
        let text = std::fs::read_to_string("/sys/fs/cgroup/system.slice/tare-used.scope/memory.current");
        text.unwrap().trim().parse().unwrap()
    };
    crate::support::wait_until("it has taken its memory", || usage() > 4_000_000);
    let wanted = r#"{"memory":{"limit":1048576,"checkBeforeUpdate":true}}"#;
    let call = format!("echo '{wanted}' | \"$@\"");
    let answer = bundle.tare_by(&call, &["update", "--resources", "-", &bundle.id]);
    eprintln!("{}", answer.told().trim());
    answer.fails(1, "/linux/resources/memory/limit: rejecting memory limit 1048576 <= usage");
    assert_eq!(bundle.status(), "running");
}
