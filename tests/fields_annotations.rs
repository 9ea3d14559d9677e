//! Annotations that change what is done.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use serde_json::json;
use support::{Bundle, machine, program};

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
        ("run.oci.delegate-cgroup", "../x"),
        ("run.oci.systemd.subgroup", "a/b"),
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

/// Asks for a cgroup namespace, and a mount of it that can be written to.
fn with_writable_group(bundle: &mut Bundle) {
    bundle
        .namespace("cgroup", None)
        .without_mount("/sys/fs/cgroup")
        .mount(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["rw", "nosuid", "noexec", "nodev"]}));
}

#[test]
fn a_delegated_group_lies_below_the_one_with_the_limits() {
    if !machine::cgroup2_alone() {
        return;
    }
    let Some(mut bundle) = bundle(&[("run.oci.delegate-cgroup", "payload")]) else { return };
    with_writable_group(&mut bundle);
    bundle.args(&["sleep", "1000"]).up();
    let in_group = "grep ^0 /proc/self/cgroup; ls -d /sys/fs/cgroup/payload";
    let answer = bundle.exec(&["sh", "-c", in_group]).ok();
    assert_eq!(answer.lines(), ["0::/payload", "/sys/fs/cgroup/payload"]);
    let own = fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
    assert!(own.trim().ends_with(&format!("/{}/payload", bundle.id)), "{own}");
    // The payload divides its group, and moves on; whoever comes later goes to where it is.
    bundle.exec(&["sh", "-c", "cd /sys/fs/cgroup/payload && mkdir a && echo 1 >a/cgroup.procs"]).ok();
    let hand_down = "cd /sys/fs/cgroup && echo 0 >payload/a/cgroup.procs
        echo +hugetlb >cgroup.subtree_control && echo +hugetlb >payload/cgroup.subtree_control";
    bundle.exec(&["sh", "-c", hand_down]).ok();
    assert_eq!(bundle.exec(&["grep", "^0", "/proc/self/cgroup"]).ok().lines(), ["0::/payload/a"]);
    bundle.delete_force().ok();
    bundle.leaves_nothing();
}

#[test]
fn on_v1_a_delegated_group_is_left_out_and_told() {
    if machine::is_v2() {
        return support::skip("needs cgroup v1");
    }
    let Some(bundle) = bundle(&[("run.oci.delegate-cgroup", "payload")]) else { return };
    let answer = bundle.run().ok();
    assert!(answer.told().contains("/annotations/run.oci.delegate-cgroup: left out"), "{answer:?}");
}

#[test]
fn the_group_is_the_containers_to_divide_where_it_is_shown_for_writing() {
    if !machine::cgroup2_alone() {
        return;
    }
    let divide = "cd /sys/fs/cgroup && mkdir x && echo 0 >x/cgroup.procs && grep ^0 /proc/self/cgroup
        echo 1 >pids.max || echo 1 >hugetlb.2MB.max || echo kept";
    for (words, divided) in [("rw", true), ("ro", false)] {
        let Some(mut bundle) = Bundle::new() else { return };
        with_writable_group(&mut bundle);
        bundle.user_namespace().script(divide).patch(|config| {
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.last_mut().unwrap()["options"] = json!([words]);
        });
        let answer = bundle.run();
        let lines: &[&str] = if divided { &["0::/x", "kept"] } else { &["kept"] };
        assert_eq!(answer.lines(), lines, "{answer:?}");
        bundle.leaves_nothing();
    }
    // Any user of the container's, without a user namespace too.
    let Some(mut bundle) = Bundle::new() else { return };
    with_writable_group(&mut bundle);
    bundle.script("mkdir /sys/fs/cgroup/x && stat -c %u /sys/fs/cgroup/x /sys/fs/cgroup");
    bundle.patch(|config| config["process"]["user"] = json!({"uid": 7, "gid": 7}));
    assert_eq!(bundle.run().ok().lines(), ["7", "7"]);
}
