//! What crun's flags do to containers.

use serde_json::json;

use crate::support::{Bundle, machine, wait_until};

/// A second container of the bundle that runs.
fn further(bundle: &Bundle, suffix: &str) -> String {
    let id = format!("{}{suffix}", bundle.id);
    bundle.tare(&["run", "-d", &id]).ok();
    id
}

fn status(bundle: &Bundle, id: &str) -> String {
    bundle.tare(&["state", id]).ok().json()["status"].as_str().unwrap().to_owned()
}

#[test]
fn the_configuration_may_lie_elsewhere() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["echo", "other"]);
    std::fs::rename(bundle.dir.join("config.json"), bundle.dir.join("other.json")).unwrap();
    assert_eq!(bundle.tare(&["run", "--config", "other.json", &bundle.id]).ok().stdout, "other\n");
    let absolute = bundle.dir.join("other.json").display().to_string();
    let id = &bundle.id;
    assert_eq!(bundle.tare(&["run", "-b", ".", "-f", &absolute, id]).ok().stdout, "other\n");
    bundle.tare(&["run", "-f", "missing.json", id]).fails(1, "missing.json: no such file or directory");
    bundle.run().fails(1, "config.json not found");
}

#[test]
fn all_processes_get_the_signal_that_is_for_all() {
    let Some(mut bundle) = Bundle::new() else { return };
    let script = "trap 'echo first >> /got' USR1
        sh -c \"trap 'echo second >> /got' USR1; echo > /ready; while :; do sleep 0.02; done\" &
        while :; do sleep 0.02; done";
    bundle.writable().script(script);
    bundle.create().ok();
    bundle.start().ok();
    wait_until("the trap", || bundle.rootfs().join("ready").exists());
    bundle.tare(&["kill", "--all", &bundle.id, "USR1"]).ok();
    let got = || std::fs::read_to_string(bundle.rootfs().join("got")).unwrap_or_default();
    wait_until("both", || got().contains("first") && got().contains("second"));
    bundle.tare(&["kill", "--all", &bundle.id, "KILL"]).ok();
    wait_until("none", || machine::processes(&bundle.id).is_empty());
}

#[test]
fn an_expression_means_every_container_whose_id_it_matches() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("trap exit TERM; while :; do sleep 0.02; done");
    let (one, two, other) = (further(&bundle, "x1"), further(&bundle, "x2"), further(&bundle, "y1"));
    bundle.tare(&["delete", "--regex", "x[0-9]$"]).fails(1, "2 containers: container ");
    bundle.tare(&["kill", "--regex", "x[0-9]$", "KILL"]).ok();
    wait_until("both", || status(&bundle, &one) == "stopped" && status(&bundle, &two) == "stopped");
    assert_eq!(status(&bundle, &other), "running");
    // Those that have ended are no failure.
    bundle.tare(&["kill", "--regex", ".", "0"]).ok();
    bundle.tare(&["delete", "--regex", "x[0-9]$"]).ok();
    assert_eq!(bundle.tare(&["list", "-q"]).ok().lines(), [other.as_str()]);
    bundle.tare(&["delete", "-r", "-f", "."]).ok();
    assert!(bundle.tare(&["list", "-q"]).ok().lines().is_empty());
    bundle.tare(&["delete", "--regex", "none"]).ok();
}

#[test]
fn without_a_cgroup_manager_the_container_stays_in_our_groups() {
    let Some(mut bundle) = Bundle::new() else { return };
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    bundle.globals = vec![String::from("--cgroup-manager=disabled")];
    bundle.patch(|config| {
        config["linux"].as_object_mut().unwrap().remove("cgroupsPath");
        config["linux"].as_object_mut().unwrap().remove("resources");
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|one| one["type"] != "cgroup");
    });
    bundle.args(&["cat", "/proc/self/cgroup"]);
    assert_eq!(bundle.output(), groups);
    bundle.args(&["sleep", "1000"]);
    bundle.create().ok();
    bundle.start().ok();
    assert_eq!(bundle.exec(&["cat", "/proc/self/cgroup"]).ok().stdout, groups);
    assert_eq!(bundle.status(), "running");
    bundle.tare(&["pause", &bundle.id]).fails(1, "");
    bundle.kill("KILL").ok();
    bundle.wait_until_stopped();
    bundle.delete().ok();
}

#[test]
fn without_a_cgroup_manager_a_limit_is_refused() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.globals = vec![String::from("--cgroup-manager=disabled")];
    bundle.patch(|config| config["linux"]["resources"] = json!({"pids": {"limit": 5}}));
    bundle.run().fails(1, "/linux/resources/pids/limit: cannot be set: the cgroup manager is disabled");
}

#[test]
fn the_log_level_says_what_is_too_little_to_be_told() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.globals = vec![String::from("--cgroup-manager=disabled")];
    bundle.patch(|config| {
        config["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
    });
    let warned = |bundle: &Bundle| bundle.run().ok().stderr.contains("level=warning");
    assert!(warned(&bundle));
    bundle.globals.push(String::from("--log-level=error"));
    assert!(!warned(&bundle));
    bundle.globals.push(String::from("--log-format=json"));
    bundle.globals.push(String::from("--log-level=warning"));
    assert!(bundle.run().ok().stderr.contains("\"level\":\"warning\""));
}
