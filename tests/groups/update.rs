//! `update`: what is named changes, the rest stays, and a refusal changes nothing.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::run::Answer;
use crate::support::{Bundle, machine, skip, skip_part};

/// Every control file of the container's group that holds a setting, with what it says.
fn settings(id: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for group in
        machine::groups(id).into_iter().filter(|group| group.file_name().is_some_and(|name| name == id))
    {
        for entry in fs::read_dir(&group).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            // Counters change by themselves.
            let counter = [
                "usage",
                "stat",
                "current",
                "events",
                "peak",
                "pressure",
                "tasks",
                "procs",
                "threads",
                "failcnt",
                "swappiness_",
            ];
            if counter.iter().any(|word| name.contains(word)) || entry.path().is_dir() {
                continue;
            }
            if let Ok(text) = fs::read_to_string(entry.path()) {
                all.push((name, text.trim().to_owned()));
            }
        }
    }
    all.sort();
    assert!(!all.is_empty());
    all
}

/// What differs, and the new value.
fn changed(before: &[(String, String)], after: &[(String, String)]) -> Vec<String> {
    after.iter().filter(|one| !before.contains(one)).map(|(name, value)| format!("{name}={value}")).collect()
}

fn with_everything(bundle: &mut Bundle) {
    bundle.patch(|config| {
        config["linux"]["resources"] = json!({
            "memory": {"limit": 67108864, "swap": 134217728, "reservation": 33554432},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000, "burst": 10000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 50},
        });
    });
}

impl Bundle {
    fn update(&self, args: &[&str]) -> Answer {
        self.tare(&[&["update"], args, &[&self.id]].concat())
    }

    /// `--resources -`, with this on standard input.
    fn update_from(&self, document: &Value) -> Answer {
        fs::write(self.path("update.json"), document.to_string()).unwrap();
        let mut command = self.command(&["update", "--resources", "-", &self.id]);
        command.stdin(Stdio::from(fs::File::open(self.path("update.json")).unwrap()));
        crate::support::run::wait_for(&mut command)
    }
}

#[test]
fn each_flag_changes_its_file_and_no_other() {
    if machine::is_v2() {
        return skip("needs cgroup v1");
    }
    let Some(mut bundle) = Bundle::new() else { return };
    with_everything(&mut bundle);
    bundle.up();
    for (flags, want) in [
        (&["--memory", "48m"][..], &["memory.limit_in_bytes=50331648"][..]),
        (&["--memory-swap", "96M"], &["memory.memsw.limit_in_bytes=100663296"]),
        (&["--memory-reservation", "16777216"], &["memory.soft_limit_in_bytes=16777216"]),
        (&["--cpu-share", "100"], &["cpu.shares=100"]),
        (&["--cpu-quota", "70000"], &["cpu.cfs_quota_us=70000"]),
        (&["--cpu-period", "140000"], &["cpu.cfs_period_us=140000"]),
        (&["--cpu-burst", "0"], &["cpu.cfs_burst_us=0"]),
        (&["--cpu-burst", "500"], &["cpu.cfs_burst_us=500"]),
        (&["--cpuset-cpus", "0-1"], &["cpuset.cpus=0-1", "cpuset.effective_cpus=0-1"]),
        (&["--pids-limit", "77"], &["pids.max=77"]),
        (&["--pids-limit", "0"], &["pids.max=1"]),
        (&["--pids-limit", "-1"], &["pids.max=max"]),
        (&["--cpuset-mems", "0"], &[]),
        (&["--cpu-idle", "1"], &["cpu.idle=1", "cpu.shares=3"]),
        (&["--cpu-idle", "0"], &["cpu.idle=0", "cpu.shares=1024"]),
        // At once, idle holds; then, what is named last.
        (&["--cpu-idle", "1", "--cpu-share", "200"], &["cpu.idle=1", "cpu.shares=3"]),
        (&["--cpu-share", "200"], &["cpu.idle=0", "cpu.shares=200"]),
        (&["--memory", "-1"], &[]),
        (
            &["--memory", "64m", "--memory-swap", "64m"],
            &["memory.limit_in_bytes=67108864", "memory.memsw.limit_in_bytes=67108864"],
        ),
        // Nothing is asked for.
        (&["--cpu-quota", "0"], &[]),
        (&[], &[]),
    ] {
        let before = settings(&bundle.id);
        bundle.update(flags).ok();
        let now = changed(&before, &settings(&bundle.id));
        if flags == ["--memory", "-1"] {
            // The kernel's own number for none; with it goes the limit of both.
            assert_eq!(now.len(), 2, "{now:?}");
            assert!(now.iter().all(|line| line.contains("=92233720368547")), "{now:?}");
        } else {
            assert_eq!(now, want, "{flags:?}");
        }
    }
}

#[test]
fn a_document_changes_what_it_names_from_a_file_and_from_standard_input() {
    if machine::is_v2() {
        return skip("needs cgroup v1");
    }
    let Some(mut bundle) = Bundle::new() else { return };
    with_everything(&mut bundle);
    bundle.up();
    let before = settings(&bundle.id);
    bundle.update_from(&json!({"cpu": {"shares": 200}, "memory": {"reservation": 4194304}})).ok();
    let now = settings(&bundle.id);
    assert_eq!(changed(&before, &now), ["cpu.shares=200", "memory.soft_limit_in_bytes=4194304"]);
    fs::write(bundle.path("r.json"), r#"{"pids": {"limit": 9}}"#).unwrap();
    let answer = bundle.update(&["-r", "r.json", "--cpu-share", "7"]).ok();
    assert!(answer.told().contains("--resources is given: limits in other flags are ignored"), "{answer:?}");
    assert_eq!(changed(&now, &settings(&bundle.id)), ["pids.max=9"]);
    // And it is remembered: a later update starts from it.
    let record = fs::read_to_string(bundle.state_root().join(&bundle.id).join("state.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["cgroup"]["resources"]["cpu"]["shares"], 200);
    assert_eq!(record["cgroup"]["resources"]["cpu"]["quota"], 50000);
    assert_eq!(record["cgroup"]["resources"]["pids"]["limit"], 9);
}

#[test]
fn a_document_that_is_none_is_refused() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let before = settings(&bundle.id);
    for (document, words) in [
        ("", "--resources r.json: the file is empty"),
        ("[]", "--resources r.json: the document is not a JSON object"),
        (r#"{"pids": {"limit": "many"}}"#, "/pids/limit"),
        (r#"{"memory": {"limit": -2}}"#, "/memory/limit (line 1, column 22): must be a number of bytes"),
    ] {
        fs::write(bundle.path("r.json"), document).unwrap();
        bundle.update(&["--resources", "r.json"]).fails(1, words);
    }
    bundle.update(&["--resources", "nosuch.json"]).fails(1, "read nosuch.json: no such file or directory");
    bundle.update(&["--memory", "lots"]).fails(1, "invalid value for memory");
    assert_eq!(settings(&bundle.id), before);
}

#[test]
fn a_refused_value_takes_the_others_back() {
    if machine::is_v2() {
        return skip("needs cgroup v1");
    }
    let Some(mut bundle) = Bundle::new() else { return };
    with_everything(&mut bundle);
    bundle.up();
    let before = settings(&bundle.id);
    let state = || fs::read_to_string(bundle.state_root().join(&bundle.id).join("state.json")).unwrap();
    let record = state();
    for (flags, words) in [
        (
            &["--memory", "32m", "--pids-limit", "9", "--cpu-share", "9", "--cpuset-cpus", "4000"][..],
            "/linux/resources/cpu/cpus: write \"4000\" to",
        ),
        (&["--pids-limit", "9", "--cpu-quota", "1"], "/linux/resources/cpu/quota: write \"1\" to"),
        (&["--cpu-share", "9", "--cpu-burst", "999999"], "cpu.cfs_burst_us"),
        (&["--device", "c 1:2 rwm", "--cpuset-mems", "77"], "/linux/resources/cpu/mems: write \"77\" to"),
    ] {
        bundle.update(flags).fails(1, words);
        assert_eq!(settings(&bundle.id), before, "{flags:?}");
        assert_eq!(state(), record);
    }
}

#[test]
fn a_limit_below_use_is_refused_with_the_use() {
    if machine::is_v2() {
        return skip("needs cgroup v1");
    }
    let Some(mut bundle) = Bundle::new() else { return };
    with_everything(&mut bundle);
    // What tmpfs holds cannot be reclaimed; swapping it out is forbidden by the limit of both.
    bundle.mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}));
    bundle.patch(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 67108864, "swap": 67108864});
    });
    bundle.up();
    bundle.exec(&["sh", "-c", "head -c 33554432 /dev/zero > /tmp/file"]).ok();
    let before = settings(&bundle.id);
    let message = bundle.update(&["--memory", "8m"]).message();
    assert!(message.starts_with("/linux/resources/memory/limit: write \"8388608\" to "), "{message}");
    assert!(
        message.contains("memory.limit_in_bytes: unable to set memory limit to 8388608 (current usage: "),
        "{message}"
    );
    assert_eq!(settings(&bundle.id), before);
}

/// A device that no container may open and no kernel has: refused by the filter, or else missing.
fn opened(bundle: &Bundle) -> String {
    let answer = bundle.exec(&["sh", "-c", "echo > /tmp/node"]);
    answer.stderr
}

const DENIED: &str = "Operation not permitted";
const MISSING: &str = "No such device";

fn device_rules() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle
        .mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]}));
    bundle.patch(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set].as_array_mut().unwrap().push("CAP_MKNOD".into());
        }
    });
    bundle.up();
    let made = bundle.exec(&["mknod", "/tmp/node", "c", "1", "2"]);
    if made.code != 0 {
        // A tmpfs of the kernel's may be nodev; the rules are what is tested.
        panic!("{made:?}");
    }
    assert!(opened(&bundle).contains(DENIED), "{}", opened(&bundle));
    bundle.update(&["--device", "c 1:2 rw"]).ok();
    assert!(opened(&bundle).contains(MISSING), "{}", opened(&bundle));
    // Rules are laid over each other, and the nodes that every container has stay.
    bundle.update(&["--device", "deny c 1:2 w", "--device", "/dev/zero:r"]).ok();
    assert!(opened(&bundle).contains(DENIED));
    bundle.exec(&["sh", "-c", "echo > /dev/null"]).ok();
    // A document's list takes the place of the container's; none leaves it.
    bundle
        .update_from(
            &json!({"devices": [{"allow": true, "type": "c", "major": 1, "minor": 2, "access": "rwm"}]}),
        )
        .ok();
    assert!(opened(&bundle).contains(MISSING));
    bundle.update_from(&json!({"devices": []})).ok();
    bundle.update_from(&json!({})).ok();
    assert!(opened(&bundle).contains(MISSING));
    let message = bundle.update(&["--device", "c *:* rwm", "--device", "deny c 1:2 w"]).message();
    assert!(message.starts_with("--device \"deny c 1:2 w\": /linux/resources/devices/"), "{message}");
    assert!(message.contains("cannot punch a hole in the wider rule"), "{message}");
    bundle.update(&["--device", "c 1"]).fails(1, "--device \"c 1\": not MAJOR:MINOR");
    // What is refused later takes the rule back.
    bundle.update(&["--device", "deny c 1:2 rwm", "--cpu-share", "1"]);
    bundle.delete_force().ok();
    bundle.leaves_nothing();
}

#[test]
fn device_rules_can_be_added() {
    device_rules();
}

#[test]
fn device_rules_can_be_added_on_cgroup_v2() {
    if machine::cgroup2_alone() {
        device_rules();
    }
}

/// Engines repeat the configuration's rules with every update; a tool may have opened a device meanwhile.
#[test]
fn rules_that_are_repeated_are_not_set_again() {
    let Some(mut bundle) = Bundle::new() else { return };
    if machine::is_v2() {
        return skip("needs cgroup v1");
    }
    bundle.up();
    let group = machine::group_with(&bundle.id, "devices.allow").unwrap();
    fs::write(group.join("devices.allow"), "c 195:* rwm").unwrap();
    let rules = bundle.config["linux"]["resources"]["devices"].clone();
    assert!(rules.is_array());
    bundle.update_from(&json!({"devices": rules, "pids": {"limit": 40}})).ok();
    assert!(fs::read_to_string(group.join("devices.list")).unwrap().contains("c 195:* rwm"));
    assert_eq!(
        fs::read_to_string(machine::group_with(&bundle.id, "pids.max").unwrap().join("pids.max")).unwrap(),
        "40\n"
    );
}

fn hugetlb(bundle: &Bundle) -> Option<PathBuf> {
    let found = machine::group_with(&bundle.id, "hugetlb.2MB.max");
    if found.is_none() {
        skip("needs the hugetlb controller in cgroup2");
    }
    found
}

#[test]
fn on_cgroup_v2_what_is_named_changes() {
    if !machine::cgroup2_alone() {
        return;
    }
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| {
        config["linux"]["resources"]["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 4194304}]);
        config["linux"]["resources"]["unified"] = json!({"cgroup.max.depth": "7"});
    });
    bundle.up();
    let Some(_) = hugetlb(&bundle) else { return };
    let before = settings(&bundle.id);
    bundle.update_from(&json!({"unified": {"cgroup.max.descendants": "9"}})).ok();
    let now = settings(&bundle.id);
    assert_eq!(changed(&before, &now), ["cgroup.max.descendants=9"]);
    bundle.update_from(&json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 8388608}]})).ok();
    let then = settings(&bundle.id);
    assert_eq!(changed(&now, &then), ["hugetlb.2MB.max=8388608", "hugetlb.2MB.rsvd.max=8388608"]);
    // A file that is refused takes the one before it back.
    let wrong = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2097152}], "unified": {"cgroup.max.depth": "deep"}});
    let message = bundle.update_from(&wrong).message();
    assert!(
        message.starts_with("/linux/resources/unified/cgroup.max.depth: write \"deep\" to "),
        "{message}"
    );
    assert_eq!(settings(&bundle.id), then);
    for (document, words) in [
        (
            json!({"cpu": {"shares": 5}}),
            "/linux/resources/cpu/shares: cannot set cpu limit: controller cpu not available",
        ),
        (
            json!({"unified": {"memory.high": "1"}}),
            "unified resource \"memory.high\" can't be set: controller \"memory\" not available",
        ),
    ] {
        if machine::has_controller("cpu") {
            skip_part("needs a host without the cpu controller");
            break;
        }
        bundle.update_from(&document).fails(1, words);
        assert_eq!(settings(&bundle.id), then);
    }
}

#[test]
fn a_paused_container_is_updated_and_stays_paused() {
    if machine::is_v2() {
        return skip("needs cgroup v1");
    }
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    bundle.tare(&["pause", &bundle.id]).ok();
    bundle.update(&["--pids-limit", "30"]).ok();
    assert_eq!(bundle.status(), "paused");
    bundle.tare(&["resume", &bundle.id]).ok();
    assert_eq!(bundle.status(), "running");
}

#[test]
fn a_stopped_container_is_not_updated() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.update(&["--pids-limit", "30"]).fails(1, "container does not exist");
    bundle.up();
    bundle.kill("KILL").ok();
    bundle.wait_until_stopped();
    bundle.update(&["--pids-limit", "30"]).fails(1, "container not running");
}

/// A record that cannot be written is a change that would be forgotten.
#[test]
fn a_record_that_cannot_be_written_takes_the_change_back() {
    if machine::is_v2() {
        return skip("needs cgroup v1");
    }
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let before = settings(&bundle.id);
    let entry = bundle.state_root().join(&bundle.id);
    // Root may write anywhere but here.
    let script =
        format!("mount --bind {0} {0} && mount -o remount,bind,ro {0} && exec \"$@\"", entry.display());
    let mut shell = Command::new("unshare");
    let call = bundle.command(&["update", "--pids-limit", "30", &bundle.id]);
    shell.args(["-m", "bash", "-c", &script, "bash"]).arg(call.get_program()).args(call.get_args());
    crate::support::run::wait_for(&mut shell).fails(1, "read-only file system");
    assert_eq!(settings(&bundle.id), before);
}
