//! Images that want more than a container.

use std::fs;

use serde_json::{Value, json};

use crate::machine::{Machine, busybox};
use crate::support::{Packing, archive, file, symlink};

#[test]
fn the_configuration_of_an_image_reaches_nothing_of_the_host() {
    let machine = Machine::new("hostile", json!({}));
    // The configuration, options, and the exit code: 0 if it has no effect, 125 if it is refused.
    let rows: &[(Value, &[&str], &[i32])] = &[
        (json!({ "WorkingDir": "/../../../../etc/x" }), &[], &[0]),
        (json!({ "WorkingDir": "../../x" }), &[], &[0]),
        (json!({ "User": "../../etc/passwd" }), &[], &[125]),
        (json!({ "User": "4294967296" }), &[], &[125]),
        (json!({ "User": "-1" }), &[], &[125]),
        (json!({ "User": "root\nx:0" }), &[], &[125]),
        (json!({ "Env": ["A=1\nB=2", "NOTHING", "=x", "LD_PRELOAD=/x", "HOSTNAME=evil"] }), &[], &[0, 125]),
        (
            json!({ "Volumes": { "/proc": {}, "/../../tmp": {}, "/": {}, "/sys/fs/cgroup": {}, "/etc": {}, "x": {} } }),
            &[],
            &[0],
        ),
        (
            json!({ "Volumes": { "/proc/": {}, "/../proc": {}, "/etc/../dev": {}, "/sys/fs/cgroup": {}, "//proc//self": {} } }),
            &["--read-only"],
            &[0],
        ),
        (json!({ "ExposedPorts": { "0/tcp": {}, "x": {} } }), &[], &[0]),
        (json!({ "Entrypoint": [""] }), &[], &[125, 126, 127]),
        (json!({ "Labels": { "run.oci.hooks": "x", "io.kubernetes.x": "y" } }), &[], &[0]),
        (json!({ "StopSignal": "../../x" }), &[], &[0]),
        (json!({ "Cmd": ["\u{0}"] }), &[], &[125]),
    ];
    for (config, options, codes) in rows {
        let mut fixture = crate::support::Fixture::new(&machine.scratch);
        fixture.config = config.clone();
        fixture.layer(Packing::Plain, &archive(&busybox())).finish();
        let words: &[&str] = if config.get("Cmd").is_some() {
            &[]
        } else {
            &["sh", "-c", "grep -c ' / ' /proc/mounts; cat /proc/keys | wc -c"]
        };
        let seen = machine.run(&[&["--rm"], *options, &["oci:image:latest"], words].concat());
        assert!(codes.contains(&seen.code), "{config}: {seen:?}");
        if seen.code == 0 {
            assert_eq!(seen.out, "1\n0\n", "{config}: {seen:?}");
        }
        assert_eq!(machine.containers(), Vec::<String>::new(), "{config}");
    }
    assert_eq!(machine.leftovers(), Vec::<String>::new());
}

#[test]
fn the_files_in_etc_are_not_written_through_links_of_the_image() {
    let victim = crate::support::Scratch::new("run-victim");
    let target = victim.join("resolv.conf");
    let name = target.display().to_string();
    let mut layer = busybox();
    layer.push(symlink("etc/resolv.conf", &name));
    layer.push(symlink("etc/hosts", "../../../../../../../../etc/tare-image-victim"));
    layer.push(file("etc/hostname", "image\n"));
    let machine = Machine::with_layer("links", json!({}), &layer);
    let seen =
        machine.run(&["--rm", "--name", "linked", "oci:image:latest", "cat", "/etc/hostname", "/etc/hosts"]);
    assert!(seen.code == 0 && seen.out.starts_with("linked\n127.0.0.1"), "{seen:?}");
    assert!(!target.exists() && !fs::exists("/etc/tare-image-victim").unwrap());
    assert_eq!(machine.leftovers(), Vec::<String>::new());
}

#[test]
fn an_image_without_etc_or_programs_is_told() {
    let machine = Machine::with_layer("empty", json!({}), &[file("data", "x")]);
    let seen = machine.run(&["--rm", "oci:image:latest", "sh"]);
    assert!(seen.code == 127 && seen.err.contains("sh"), "{seen:?}");
    assert_eq!(machine.containers(), Vec::<String>::new());
    assert_eq!(machine.leftovers(), Vec::<String>::new());
}
