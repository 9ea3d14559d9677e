//! `events`: samples in runc's shape, the end by itself, OOM.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::run::Running;
use crate::support::{Bundle, machine, program, skip, wait_until};

/// Every member's path; lists count as their first item.
fn members(value: &Value, path: &str, all: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                members(value, &format!("{path}/{name}"), all);
            }
        }
        Value::Array(list) if !list.is_empty() => members(&list[0], &format!("{path}/0"), all),
        Value::Null | Value::Array(_) => _ = all.insert(format!("{path}={value}")),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => _ = all.insert(path.to_owned()),
    }
}

fn sample(bundle: &mut Bundle) -> (Value, BTreeSet<String>) {
    bundle.script("head -c 4194304 /dev/zero > /tmp/file; exec sleep 1000");
    bundle.mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}));
    bundle.create().ok();
    bundle.start().ok();
    wait_until("sleep", || {
        let pid = bundle.pid();
        std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap().starts_with("sleep")
    });
    let answer = bundle.tare(&["events", "--stats", &bundle.id]).ok();
    assert_eq!(answer.stdout.matches('\n').count(), 1, "one line: {answer:?}");
    // The order of the members too.
    assert!(
        answer
            .stdout
            .starts_with(&format!("{{\"type\":\"stats\",\"id\":\"{}\",\"data\":{{\"cpu\":", bundle.id))
    );
    let mut all = BTreeSet::new();
    members(&answer.json()["data"], "", &mut all);
    (answer.json()["data"].clone(), all)
}

/// What one of us shows and the other does not, and why that is right.
fn explained(member: &str) -> bool {
    // runc 1.1 knows no pressure; 1.2 and later do, on v2.
    member.contains("/psi/")
        // runc shows the processors and nodes on v1 alone.
        || machine::is_v2() && (member.starts_with("/cpuset/cpus") || member.starts_with("/cpuset/mems"))
        // Counters that are zero are left out: what the two containers did is not the same to the last page.
        || ["/memory/cache", "/memory/usage/max", "/memory/kernel/max", "/memory/kernel/usage", "/memory/kernelTCP/usage"]
            .contains(&member)
        || member.starts_with("/cpu/throttling/") || member.starts_with("/blkio/")
}

fn shape_is_runcs() {
    let (Some(mut ours), Some(runc)) = (Bundle::new(), program("runc")) else { return };
    let mut theirs = Bundle::with(runc.to_str().unwrap()).unwrap();
    for bundle in [&mut ours, &mut theirs] {
        if machine::has_controller("memory") {
            bundle.patch(|config| {
                config["linux"]["resources"]["memory"] = json!({"limit": 67108864});
                config["linux"]["resources"]["pids"] = json!({"limit": 99});
            });
        }
    }
    let ((ours_data, ours), (_, theirs)) = (sample(&mut ours), sample(&mut theirs));
    let differences: Vec<_> =
        ours.symmetric_difference(&theirs).filter(|member| !explained(member)).collect();
    assert!(differences.is_empty(), "{differences:#?}");
    if ours.contains("/memory/raw/anon") || ours.contains("/memory/raw/rss") {
        assert_eq!(ours_data["memory"]["usage"]["limit"], 67108864);
        assert!(ours_data["memory"]["usage"]["usage"].as_u64().unwrap() > 4194304, "{ours_data}");
        assert_eq!(ours_data["pids"], json!({"current": 1, "limit": 99}));
    }
    assert!(ours_data["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
    assert!(ours_data["network_interfaces"].is_null());
}

#[test]
fn a_sample_has_the_members_of_runcs() {
    shape_is_runcs();
}

#[test]
fn a_sample_has_the_members_of_runcs_on_cgroup_v2() {
    if machine::cgroup2_alone() {
        shape_is_runcs();
    }
}

#[test]
fn pressure_is_told_where_the_kernel_tells_it() {
    let Some(mut bundle) = Bundle::new() else { return };
    let (data, members) = sample(&mut bundle);
    let Some(group) = machine::group_with(&bundle.id, "cpu.pressure") else {
        return skip("needs a kernel that tells pressure");
    };
    for resource in ["cpu", "memory", "blkio"] {
        for line in ["some", "full"] {
            for member in ["avg10", "avg60", "avg300", "total"] {
                assert!(
                    members.contains(&format!("/{resource}/psi/{line}/{member}")),
                    "{resource} {line} {member}"
                );
            }
        }
    }
    let some = std::fs::read_to_string(group.join("cpu.pressure")).unwrap();
    let now: u64 = some.lines().next().unwrap().rsplit_once("total=").unwrap().1.parse().unwrap();
    assert!(data["cpu"]["psi"]["some"]["total"].as_u64().unwrap() <= now);
}

#[test]
fn samples_come_at_the_interval_until_the_container_ends() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let events = Running::start(&mut bundle.command(&["events", "--interval", "50ms", &bundle.id]));
    wait_until("three samples", || events.said().lines().count() >= 3);
    bundle.kill("KILL").ok();
    let answer = events.wait().ok();
    let kinds: BTreeSet<String> = answer
        .lines()
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, BTreeSet::from(["stats".to_owned()]));
    assert_eq!(answer.stderr, "");
}

#[test]
fn it_ends_with_the_last_process_and_not_with_the_first() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.without_namespace("pid").script("sleep 1000 & exit 0");
    bundle.create().ok();
    let events = Running::start(&mut bundle.command(&["events", "--interval", "20ms", &bundle.id]));
    wait_until("a sample", || !events.said().is_empty());
    bundle.start().ok();
    bundle.wait_until_stopped();
    let before = events.said().len();
    wait_until("a further sample", || events.said().len() > before);
    bundle.kill("KILL").ok();
    events.wait().ok();
}

#[test]
fn it_ends_when_the_container_is_deleted() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let events = Running::start(&mut bundle.command(&["events", "--interval", "10ms", &bundle.id]));
    wait_until("a sample", || !events.said().is_empty());
    bundle.delete_force().ok();
    assert_eq!(events.wait().ok().stderr, "");
}

#[test]
fn a_paused_container_is_sampled_and_a_stopped_one_refused() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    bundle.tare(&["pause", &bundle.id]).ok();
    bundle.tare(&["events", "--stats", &bundle.id]).ok();
    bundle.kill("KILL").ok();
    bundle.wait_until_stopped();
    let message = bundle.tare(&["events", "--stats", &bundle.id]).message();
    assert_eq!(message, format!("container with id {} is not running", bundle.id));
    bundle.tare(&["events", "--stats", "nosuch"]).fails(1, "container does not exist");
}

#[test]
fn a_kill_for_want_of_memory_is_an_event() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !machine::has_controller("memory") {
        return skip("needs the memory controller");
    }
    bundle.patch(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 16777216, "swap": 16777216});
    });
    bundle.up();
    let events = Running::start(&mut bundle.command(&["events", "--interval", "1h", &bundle.id]));
    // It watches once it has opened what it watches by.
    wait_until("the watch", || {
        let fds = format!("/proc/{}/fd", events.child.id());
        let links = std::fs::read_dir(fds).unwrap().flatten();
        let links: Vec<_> = links.filter_map(|fd| std::fs::read_link(fd.path()).ok()).collect();
        let has = |name: &str| links.iter().any(|link| link.to_string_lossy().contains(name));
        has("pidfd") && (has("eventfd") || has("inotify"))
    });
    std::thread::sleep(Duration::from_millis(20));
    bundle.exec(&["sh", "-c", "x=$(head -c 50000000 /dev/zero | tr '\\0' x)"]);
    wait_until("the event", || !events.said().is_empty());
    assert_eq!(
        events.said().lines().next().unwrap(),
        format!("{{\"type\":\"oom\",\"id\":\"{}\"}}", bundle.id)
    );
    bundle.kill("KILL").ok();
    events.wait().ok();
}
