//! Many containers leave the machine as it was.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Bundle, machine, wait_until};

const BATCH: usize = 20;

/// Two hundred; TARE_TEST_ROUNDS says otherwise. Few in an emulated machine: what it adds shows at once.
fn rounds() -> usize {
    let few = if std::env::var_os("TARE_TEST_GUEST").is_some() { 40 } else { 200 };
    std::env::var("TARE_TEST_ROUNDS").map_or(few, |rounds| rounds.parse().unwrap())
}

/// Calls the runtime as often as a batch says, and looks at the caller's own descriptors.
const LOOP: &str = "before=(/proc/$$/fd/*)
for number in {1..20}; do \"$@\" || exit 99; done
after=(/proc/$$/fd/*); [ ${#before[@]} = ${#after[@]} ]";

/// What a runtime could forget, as far as it can be told from what others do on the machine: groups, mounts, processes,
/// keyrings and state directories of the test, and files of its bundle.
fn machine_of(bundle: &Bundle) -> BTreeSet<String> {
    let mut all = machine::traces(&bundle.id);
    all.extend(machine::mounts(bundle.dir.to_str().unwrap()));
    let keys = fs::read_to_string("/proc/keys").unwrap_or_default();
    // The serial number alone: the rest of the line counts down.
    let keys =
        keys.lines().filter(|line| line.contains(&bundle.id)).map(|line| format!("key {}", &line[..8]));
    all.extend(keys);
    add_files(&bundle.dir, &mut all);
    all
}

fn add_files(directory: &std::path::Path, all: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let stat = fs::symlink_metadata(entry.path()).unwrap();
        all.insert(format!("{} {} {}", entry.path().display(), stat.mode(), stat.len()));
        if stat.is_dir() {
            add_files(&entry.path(), all);
        }
    }
}

/// Nothing has come. Keyrings and dead processes go when the kernel and the host's init get round to it.
#[track_caller]
fn is_as_it_was(bundle: &Bundle, before: &BTreeSet<String>) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let now = machine_of(bundle);
        let (new, gone): (Vec<_>, Vec<_>) = (
            now.difference(before).collect(),
            before.difference(&now).filter(|one| !one.starts_with("key ")).collect(),
        );
        if new.is_empty() && gone.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "new: {new:#?}\ngone: {gone:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn many_runs() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["true"]);
    bundle.run().ok();
    let before = machine_of(&bundle);
    for _ in 0..rounds() / BATCH {
        bundle.tare_by(LOOP, &["run", &bundle.id]).ok();
    }
    is_as_it_was(&bundle, &before);
}

#[test]
fn runs_that_fail_at_each_step() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["true"]);
    bundle.run().ok();
    let whole = bundle.config.clone();
    let before = machine_of(&bundle);
    let index = whole["mounts"].as_array().unwrap().len();
    let wrong = [
        ("/process/args", json!(["/nosuch"])),
        ("/process/cwd", json!("/etc/passwd")),
        ("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 1_u64 << 40, "hard": 1_u64 << 40}])),
        ("/linux/sysctl", json!({"net.no.such": "1"})),
        ("/linux/namespaces/1", json!({"type": "network", "path": "/no/such"})),
        ("/linux/resources", json!({"memory": {"limit": 1}})),
        ("/linux/devices", json!([{"path": "/proc/x", "type": "c", "major": 1, "minor": 3}])),
        ("/mounts", json!([{"destination": "/tmp", "type": "nosuchfs", "source": "x"}])),
        ("/hooks", json!({"createRuntime": [{"path": "/bin/false"}]})),
        ("/hooks", json!({"createContainer": [{"path": "/bin/false"}]})),
        ("/hooks", json!({"startContainer": [{"path": "/bin/false"}]})),
        ("/hooks", json!({"poststart": [{"path": "/bin/false"}]})),
    ];
    assert!(index > 0);
    for _ in 0..4 {
        for (pointer, value) in &wrong {
            bundle.patch(|config| {
                *config = whole.clone();
                let (holder, name) = pointer.rsplit_once('/').unwrap();
                match config.pointer_mut(holder).unwrap() {
                    serde_json::Value::Array(items) => items[name.parse::<usize>().unwrap()] = value.clone(),
                    other => other[name] = value.clone(),
                }
            });
            let answer = bundle.run();
            assert_ne!(answer.code, 0, "{pointer}: {answer:?}");
        }
    }
    bundle.patch(|config| *config = whole);
    is_as_it_was(&bundle, &before);
}

#[test]
fn many_added_processes() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    bundle.exec(&["true"]).ok();
    let own = |name: &str| fs::read_dir(format!("/proc/{}/{name}", bundle.pid())).unwrap().count();
    let (before, descriptors) = (machine_of(&bundle), own("fd"));
    for _ in 0..rounds() / BATCH {
        bundle.tare_by(LOOP, &["exec", &bundle.id, "true"]).ok();
    }
    is_as_it_was(&bundle, &before);
    assert_eq!(own("fd"), descriptors);
    wait_until("one process", || machine::processes(&bundle.id).len() == 1);
}

/// The kernel's own count, which has also those that are removed but still held by something.
#[test]
fn many_creations_leave_no_dying_group_on_cgroup_v2() {
    let Some(mut bundle) = Bundle::new().filter(|_| machine::cgroup2_alone()) else { return };
    // The one that stays keeps those above, whose counts nobody else changes.
    let parent = format!("/sys/fs/cgroup/{}-parent", bundle.id);
    fs::create_dir_all(format!("{parent}/stays")).unwrap();
    let path = format!("/{0}-parent/{0}", bundle.id);
    bundle.patch(|config| config["linux"]["cgroupsPath"] = json!(path)).args(&["true"]);
    let count = || {
        let text = fs::read_to_string(format!("{parent}/cgroup.stat")).unwrap();
        text.lines().filter(|line| line.contains("descendants")).collect::<Vec<_>>().join(", ")
    };
    let before = count();
    let call = LOOP.replace("\"$@\"", "\"$@\" create $id && \"$@\" delete --force $id");
    let call = format!("id={}; {call}", bundle.id);
    let rounds = rounds();
    for _ in 0..rounds / BATCH {
        bundle.tare_by(&call, &[]).ok();
    }
    let at_once = count();
    wait_until("no group is left", || count() == before);
    eprintln!("{rounds} × create, delete: before {before}; at once {at_once}; then {}", count());
}

/// Whichever step of it fails: what was made before is removed, the groups above the container's own too.
#[test]
fn a_creation_that_runs_out_of_descriptors_leaves_no_group() {
    let Some(mut bundle) = Bundle::new() else { return };
    let path = format!("/{0}-above/between/{0}", bundle.id);
    bundle.patch(|config| config["linux"]["cgroupsPath"] = json!(path)).args(&["true"]);
    let mut failures = 0;
    for descriptors in 4..100 {
        let call = format!("ulimit -n {descriptors}; exec \"$@\"");
        let answer = bundle.tare_by(&call, &["create", &bundle.id]);
        if answer.code == 0 {
            break;
        }
        failures += 1;
        let left = machine::groups(&bundle.id);
        assert!(left.is_empty(), "{descriptors} descriptors: {answer:?}: {left:#?}");
    }
    assert!(failures > 5, "{failures}");
    bundle.tare(&["delete", "--force", &bundle.id]);
    for above in machine::groups(&bundle.id) {
        let _ = fs::remove_dir(above);
    }
}
