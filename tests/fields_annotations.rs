//! Annotations that change what is done.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::json;
use support::{Bundle, program};

fn bundle(annotations: &[(&str, &str)]) -> Option<Bundle> {
    let mut bundle = Bundle::new()?;
    let annotations: serde_json::Map<_, _> =
        annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    bundle.patch(|config| config["annotations"] = annotations.into());
    Some(bundle)
}

#[test]
fn the_groups_of_the_caller_stay_where_they_are_asked_to() {
    if program("setpriv").is_none() {
        return;
    }
    for (value, groups) in [("1", "0 4 27\n"), ("0", "0\n")] {
        let Some(mut bundle) = bundle(&[("run.oci.keep_original_groups", value)]) else { return };
        bundle.args(&["id", "-G"]);
        let with_groups = "exec setpriv --groups 4,27 \"$@\"";
        let answer = bundle.tare_by(with_groups, &["run", &bundle.id]).ok();
        assert_eq!(answer.stdout, groups, "{value}");
        bundle.up();
        let answer = bundle.tare_by(with_groups, &["exec", &bundle.id, "id", "-G"]).ok();
        assert_eq!(answer.stdout, groups, "exec, {value}");
    }
}

#[test]
fn groups_stay_in_a_user_namespace_too_also_by_a_helper() {
    if program("setpriv").is_none() {
        return;
    }
    let kept = &[("run.oci.keep_original_groups", "1")];
    let with_groups = "exec setpriv --groups 4,27 \"$@\"";
    let Some(mut first) = bundle(kept) else { return };
    first.user_namespace().args(&["cat", "/proc/self/status"]);
    let answer = first.tare_by(with_groups, &["run", &first.id]).ok();
    // None of them is mapped.
    assert!(answer.stdout.contains("Groups:\t65534 65534 \n"), "{answer:?}");
    first.up();
    let path = format!("/proc/{}/ns/user", first.pid());
    let Some(mut second) = bundle(kept) else { return };
    second.user_namespace().namespace("user", Some(&path)).args(&["cat", "/proc/self/status"]);
    let answer = second.tare_by(with_groups, &["run", &second.id]).ok();
    assert!(answer.stdout.contains("Groups:\t65534 65534 \n"), "{answer:?}");
}

#[test]
fn additional_groups_and_those_of_the_caller_do_not_go_together() {
    let Some(mut bundle) = bundle(&[("run.oci.keep_original_groups", "1")]) else { return };
    bundle.args(&["id", "-G"]);
    bundle.patch(|config| config["process"]["user"] = json!({"uid": 0, "gid": 0, "additionalGids": [7]}));
    let answer = bundle.run().ok();
    assert!(
        answer.stdout == "0\n" && answer.told().contains("/process/user/additionalGids: left out"),
        "{answer:?}"
    );
}

#[test]
fn device_rules_that_nobody_asked_for_can_be_left_out() {
    // TUN has no node in the container; its number is allowed to all of them.
    for (value, is_refused) in [("true", false), ("false", true)] {
        let Some(mut bundle) = bundle(&[("run.oci.tare.default_device_rules", value)]) else { return };
        bundle.writable().script("mknod /tmp/tun c 10 200 && cat /tmp/tun");
        bundle.patch(|config| {
            for set in ["bounding", "effective", "permitted"] {
                config["process"]["capabilities"][set] = json!(["CAP_MKNOD"]);
            }
            config["linux"]["resources"]["devices"] =
                json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "access": "m"}]);
        });
        let told = bundle.run().stderr;
        assert_eq!(told.contains("Operation not permitted"), is_refused, "{value}: {told}");
        bundle.leaves_nothing();
    }
}

#[test]
fn a_value_that_says_nothing_is_refused() {
    for (key, value) in [
        ("run.oci.keep_original_groups", "maybe"),
        ("run.oci.tare.default_device_rules", "off"),
        ("run.oci.hooks.stdout", "relative"),
        ("run.oci.hooks.stderr", ""),
    ] {
        let Some(bundle) = bundle(&[(key, value)]) else { return };
        bundle.run().fails(1, &format!("/annotations/{key}: must be "));
        bundle.leaves_nothing();
    }
}

/// A hook that says its name, on both streams.
fn says(name: &str) -> serde_json::Value {
    json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("echo {name}; echo {name}! >&2")]}])
}

#[test]
fn what_hooks_write_goes_where_it_is_asked_to() {
    let Some(mut bundle) = bundle(&[]) else { return };
    let (out, err) = (bundle.path("out"), bundle.path("err"));
    bundle.patch(|config| {
        config["annotations"] = json!({"run.oci.hooks.stdout": out, "run.oci.hooks.stderr": err});
        for kind in
            ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
        {
            config["hooks"][kind] = says(kind);
        }
    });
    bundle.create().ok();
    assert_eq!(bundle.read("out"), "prestart\ncreateRuntime\ncreateContainer\n");
    bundle.start().ok();
    bundle.wait_until_stopped();
    bundle.delete().ok();
    let all = "prestart createRuntime createContainer startContainer poststart poststop";
    // The container's own and the runtime's are not one after the other.
    let sorted = |text: &str| {
        let mut words: Vec<String> = text.split_whitespace().map(String::from).collect();
        words.sort_unstable();
        words
    };
    assert_eq!(sorted(&bundle.read("out")), sorted(all));
    assert_eq!(sorted(&bundle.read("err")), sorted(&(all.replace(' ', "! ") + "!")));
    bundle.leaves_nothing();
}

#[test]
fn a_file_for_hooks_that_cannot_be_opened_is_told() {
    let Some(mut bundle) = bundle(&[("run.oci.hooks.stdout", "/nonexistent/file")]) else { return };
    for kind in ["createRuntime", "createContainer"] {
        bundle.patch(|config| config["hooks"] = json!({kind: says(kind)}));
        bundle.run().fails(1, "open /nonexistent/file for the output of hooks: no such file or directory");
        bundle.leaves_nothing();
    }
}
