//! Every limit through every driver: what the kernel's files say afterwards, for us, and for runc and crun with the same
//! configuration. Where they differ, `explained` says who is right.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::bundles::{Bundle, find_program, machine, skip, skip_part};

/// Control files by name, with what they say.
type Files = BTreeMap<String, String>;

/// A wish, and the files that it comes to on v1 and on v2.
struct Row {
    wanted: Value,
    v1: &'static [(&'static str, &'static str)],
    v2: &'static [(&'static str, &'static str)],
}

/// Rows that do not get in each other's way stand in one configuration.
fn batches() -> Vec<Vec<Row>> {
    let row = |wanted, v1, v2| Row { wanted, v1, v2 };
    vec![
        vec![
            row(
                json!({"memory": {"limit": 67108864, "swap": 134217728, "reservation": 33554432}}),
                &[
                    ("memory.limit_in_bytes", "67108864"),
                    ("memory.memsw.limit_in_bytes", "134217728"),
                    ("memory.soft_limit_in_bytes", "33554432"),
                ],
                &[("memory.max", "67108864"), ("memory.swap.max", "67108864"), ("memory.low", "33554432")],
            ),
            row(
                json!({"cpu": {"shares": 512, "quota": 50000, "period": 100000}}),
                &[("cpu.shares", "512"), ("cpu.cfs_quota_us", "50000"), ("cpu.cfs_period_us", "100000")],
                &[("cpu.weight", "59"), ("cpu.max", "50000 100000")],
            ),
            row(
                json!({"cpu": {"cpus": "0", "mems": "0"}}),
                &[("cpuset.cpus", "0"), ("cpuset.mems", "0")],
                &[("cpuset.cpus", "0"), ("cpuset.mems", "0")],
            ),
            row(json!({"pids": {"limit": 50}}), &[("pids.max", "50")], &[("pids.max", "50")]),
            row(
                json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}),
                &[("hugetlb.2MB.limit_in_bytes", "4194304"), ("hugetlb.2MB.rsvd.limit_in_bytes", "4194304")],
                &[("hugetlb.2MB.max", "4194304"), ("hugetlb.2MB.rsvd.max", "4194304")],
            ),
            row(
                json!({"blockIO": {"throttleReadBpsDevice": "DEVICE 1048576", "throttleWriteIOPSDevice": "DEVICE 100"}}),
                &[
                    ("blkio.throttle.read_bps_device", "DEVICE 1048576"),
                    ("blkio.throttle.write_iops_device", "DEVICE 100"),
                ],
                &[("io.max", "DEVICE rbps=1048576 wbps=max riops=max wiops=100")],
            ),
        ],
        vec![
            row(
                json!({"memory": {"limit": 67108864, "swap": -1}}),
                &[
                    ("memory.limit_in_bytes", "67108864"),
                    ("memory.memsw.limit_in_bytes", "9223372036854771712"),
                ],
                &[("memory.max", "67108864"), ("memory.swap.max", "max")],
            ),
            row(
                json!({"cpu": {"shares": 2, "quota": -1, "period": 50000}}),
                &[("cpu.shares", "2"), ("cpu.cfs_quota_us", "-1"), ("cpu.cfs_period_us", "50000")],
                &[("cpu.weight", "1"), ("cpu.max", "max 50000")],
            ),
            row(json!({"pids": {"limit": -1}}), &[("pids.max", "max")], &[("pids.max", "max")]),
        ],
        vec![
            row(
                json!({"memory": {"limit": 67108864, "swap": 67108864}}),
                &[("memory.memsw.limit_in_bytes", "67108864")],
                &[("memory.swap.max", "0")],
            ),
            row(
                json!({"cpu": {"shares": 262144, "quota": 20000, "burst": 10000}}),
                &[("cpu.shares", "262144"), ("cpu.cfs_quota_us", "20000"), ("cpu.cfs_burst_us", "10000")],
                &[("cpu.weight", "10000"), ("cpu.max", "20000 100000"), ("cpu.max.burst", "10000")],
            ),
            row(json!({"pids": {"limit": 0}}), &[("pids.max", "1")], &[("pids.max", "1")]),
        ],
        vec![
            row(
                json!({"memory": {"limit": -1}}),
                &[("memory.limit_in_bytes", "9223372036854771712")],
                &[("memory.max", "max"), ("memory.swap.max", "max")],
            ),
            row(json!({"cpu": {"idle": 1}}), &[("cpu.idle", "1")], &[("cpu.idle", "1")]),
        ],
    ]
}

/// Rows for the v2 tree alone.
fn unified() -> Vec<Row> {
    let row = |controller: &str, file: &str, value: &str| {
        let name = format!("{controller}.{file}");
        json!({"unified": {name: value}})
    };
    vec![
        Row { wanted: row("memory", "high", "50331648"), v1: &[], v2: &[("memory.high", "50331648")] },
        Row { wanted: row("memory", "min", "4096"), v1: &[], v2: &[("memory.min", "4096")] },
        Row { wanted: row("cpu", "weight", "77"), v1: &[], v2: &[("cpu.weight", "77")] },
        Row { wanted: row("pids", "max", "33"), v1: &[], v2: &[("pids.max", "33")] },
        Row { wanted: row("hugetlb", "2MB.max", "6291456"), v1: &[], v2: &[("hugetlb.2MB.max", "6291456")] },
        Row { wanted: row("cgroup", "max.depth", "7"), v1: &[], v2: &[("cgroup.max.depth", "7")] },
    ]
}

/// A block device of this machine that has a queue, `8:0`.
fn device() -> Option<String> {
    let blocks = fs::read_dir("/sys/block").ok()?.flatten();
    let mut all: Vec<_> =
        blocks.filter_map(|block| fs::read_to_string(block.path().join("dev")).ok()).collect();
    all.sort();
    Some(all.first()?.trim().to_owned())
}

fn controller(file: &str) -> &str {
    match file.split('.').next().unwrap() {
        "blkio" => "io",
        other => other,
    }
}

/// Whether limits of this controller can be set here, by a user: whether it is handed down to their manager.
fn has_controller(driver: &Manager, name: &str) -> bool {
    if !driver.user {
        return machine::has_controller(name);
    }
    let uid = nix::unistd::getuid();
    let path = format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers");
    fs::read_to_string(path).unwrap().split_whitespace().any(|one| one == name)
}

/// What can be had here, laid together: the resources, and the files.
fn here(driver: &Manager, rows: &[Row]) -> (Value, Files) {
    let mut resources = json!({"devices": [{"allow": false, "access": "rwm"}]});
    let mut files = Files::new();
    for row in rows {
        let wanted = if machine::is_v2() { row.v2 } else { row.v1 };
        let has = |file: &str| controller(file) == "cgroup" || has_controller(driver, controller(file));
        let device = device();
        let needs_device = row.wanted.to_string().contains("DEVICE");
        if wanted.is_empty() || !wanted.iter().all(|(file, _)| has(file)) || needs_device && device.is_none()
        {
            continue;
        }
        let device = device.unwrap_or_default();
        lay(&mut resources, with_device(&row.wanted, &device));
        files.extend(
            wanted.iter().map(|(file, value)| ((*file).to_owned(), value.replace("DEVICE", &device))),
        );
    }
    (resources, files)
}

/// `"DEVICE 100"` as the list that the configuration wants.
fn with_device(wanted: &Value, device: &str) -> Value {
    match wanted {
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), with_device(value, device))).collect()
        }
        Value::String(text) if text.starts_with("DEVICE ") => {
            let (major, minor) = device.split_once(':').unwrap();
            let number = |text: &str| text.parse::<u64>().unwrap();
            json!([{"major": number(major), "minor": number(minor), "rate": number(&text[7..])}])
        }
        other => other.clone(),
    }
}

fn lay(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (name, value) in more {
                lay(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

/// Everything that can be set in the groups of this name.
fn settings(name: &str) -> Files {
    let counters = [
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
        "effective",
        "numa",
        "memory.pressure_level",
        "event_control",
        "reclaim",
        "kmem",
        "sectors",
        "time",
        "merged",
        "queued",
        "serviced",
        "service_bytes",
        "cgroup.type",
        "clone_children",
        "notify_on_release",
    ];
    let mut all = Files::new();
    for group in machine::groups(name).into_iter().filter(|group| group.ends_with(name)) {
        // Under systemd, crun's containers have their limits one level below the scope.
        let below = group.join("container");
        let group = if below.is_dir() { below } else { group };
        for entry in fs::read_dir(&group).unwrap().flatten() {
            let file = entry.file_name().into_string().unwrap();
            if entry.path().is_dir() || counters.iter().any(|word| file.contains(word)) {
                continue;
            }
            let Ok(text) = fs::read_to_string(entry.path()) else { continue };
            let mut lines: Vec<_> = text.lines().collect();
            lines.sort_unstable();
            all.insert(file, lines.join("\n"));
        }
    }
    all
}

/// Files in which a peer's value is not ours, and why ours is right. The versions are Debian 12's, runc 1.1 and crun 1.8.
fn explained(peer: &str, file: &str) -> bool {
    match (peer, file) {
        // The straight line from shares to weights, which turns the default of 1024 into 39; newer ones have our curve.
        (_, "cpu.weight" | "cpu.weight.nice") => true,
        // No limit of reservations, and so none of pages that are mapped before they are touched; runc since 1.2.
        (_, file) if file.starts_with("hugetlb.") && file.contains("rsvd") => true,
        // 0 taken for "not set"; runc since 1.3 takes it as systemd does.
        (_, "pids.max") => true,
        // Unknown to them.
        ("runc", "cpu.idle" | "cpu.cfs_burst_us" | "cpu.max.burst" | "cpu.shares") => true,
        ("crun", "cpu.idle" | "cpu.max.burst") => true,
        // Controllers that it does not hand down: nothing to set in them, but nothing to count either.
        ("crun", "cgroup.controllers" | "misc.max" | "rdma.max") => true,
        // crun allows a container to make nodes only where its rules say so, and other nodes: fuse, no tun.
        ("crun", "devices.list") => true,
        // -1 for memory alone lifts the limit of swap too, in ours and runc's.
        ("crun", "memory.swap.max") => true,
        _ => false,
    }
}

struct Manager {
    globals: &'static [&'static str],
    /// `ID` stands for the container's.
    path: &'static str,
    /// The last component of the group's directory.
    group: &'static str,
    /// By a user who is not root, under a manager of their own.
    user: bool,
}

const CGROUPFS: Manager = Manager { globals: &[], path: "/ID-parent/ID", group: "ID", user: false };
const SYSTEMD: Manager = Manager {
    globals: &["--systemd-cgroup"],
    path: "system.slice:table:ID",
    group: "table-ID.scope",
    user: false,
};
const SYSTEMD_OF_A_USER: Manager = Manager { path: "user.slice:table:ID", user: true, ..SYSTEMD };

/// A container with these resources; what its group's files say, at once and after systemd has been reloaded.
fn created(program: &str, driver: &Manager, resources: &Value) -> Option<[Files; 2]> {
    let mut bundle = if driver.user { Bundle::of_a_user(program)? } else { Bundle::with(program)? };
    bundle.globals = driver.globals.iter().map(|&flag| flag.to_owned()).collect();
    let id = bundle.id.clone();
    bundle.patch(|config| {
        config["linux"]["cgroupsPath"] = json!(driver.path.replace("ID", &id));
        config["linux"]["resources"] = resources.clone();
        // The peers are older.
        config["ociVersion"] = json!("1.0.2");
    });
    let answer = bundle.create();
    if answer.code != 0 && program != crate::bundles::runtime() {
        // Without CAP_SYS_RESOURCE, for one, crun loads no device filter.
        skip_part(&format!("needs a {program} that can: {}", answer.stderr.trim()));
        return None;
    }
    assert_eq!(answer.code, 0, "{program}: {resources}: {answer:?}");
    let name = driver.group.replace("ID", &id);
    let before = settings(&name);
    if driver.globals.is_empty() {
        return Some([before.clone(), before]);
    }
    let manager = if driver.user { "--user" } else { "--system" };
    assert!(Command::new("systemctl").args([manager, "daemon-reload"]).status().unwrap().success());
    Some([before, settings(&name)])
}

/// A line for each file that was to be written: what it says, ours first.
fn show(wanted: &Files, all: &[(&str, Files)]) {
    for file in wanted.keys() {
        let says =
            |(name, files): &(&str, Files)| format!("{name} {}", files.get(file).map_or("-", String::as_str));
        eprintln!("{file:34} {}", all.iter().map(says).collect::<Vec<_>>().join(" | "));
    }
}

fn check(driver: &Manager) {
    let peers = ["runc", "crun"].iter().filter(|peer| **peer == "runc" || machine::is_v2());
    let peers: Vec<(&'static str, PathBuf)> =
        peers.filter_map(|&peer| Some((peer, find_program(peer)?))).collect();
    if peers.is_empty() {
        skip_part("needs runc or crun");
    }
    let mut checked = 0;
    let mode = if machine::is_v2() { "v2" } else { "v1" };
    let whose = if driver.user { ", a user's manager" } else { "" };
    let kind = if driver.globals.is_empty() { "cgroupfs" } else { "systemd" };
    for rows in batches().into_iter().chain([unified()]) {
        let (resources, wanted) = here(driver, &rows);
        if wanted.is_empty() {
            continue;
        }
        let Some([ours, reloaded]) = created(&crate::bundles::runtime(), driver, &resources) else { return };
        for (file, value) in &wanted {
            assert_eq!(ours.get(file), Some(value), "{file} for {resources}");
            // Without a quota a period means nothing, and systemd puts the kernel's own.
            let after =
                reloaded.get(file).map(|value| if value == "max 100000" { "max 50000" } else { value });
            if file != "cpu.cfs_period_us" || wanted.get("cpu.cfs_quota_us").is_none_or(|quota| quota != "-1")
            {
                assert_eq!(after, Some(&**value), "{file} after a reload, for {resources}");
            }
            checked += 1;
        }
        let theirs = |&(peer, ref path): &(&'static str, PathBuf)| {
            Some((peer, created(path.to_str().unwrap(), driver, &resources)?[0].clone()))
        };
        let mut all = vec![("tare", ours.clone())];
        all.extend(peers.iter().filter_map(theirs));
        eprintln!("-- {kind} on cgroup {mode}{whose}: {resources}");
        show(&wanted, &all);
        for (peer, theirs) in &all[1..] {
            let other = |(file, value): &(&String, &String)| {
                theirs.get(*file) != Some(*value) && !explained(peer, file)
            };
            let other: Vec<_> =
                ours.iter().filter(other).map(|(file, value)| (file, value, theirs.get(file))).collect();
            assert!(other.is_empty(), "{peer} for {resources}: file, ours, theirs: {other:#?}");
        }
    }
    if checked == 0 {
        skip("needs a controller of the table");
    }
    eprintln!("{checked} values, beside {:?}", peers.iter().map(|(peer, _)| peer).collect::<Vec<_>>());
}

#[test]
fn cgroupfs_writes_what_the_peers_write() {
    check(&CGROUPFS);
}

#[test]
fn cgroupfs_writes_what_the_peers_write_on_cgroup_v2() {
    // Where it is the machine's, the test above has done that.
    if machine::is_v2() {
        return skip("needs cgroup v1 on the host");
    }
    if machine::cgroup2_alone() {
        check(&CGROUPFS);
    }
}

/// On the systemd of this machine, where it runs one.
#[test]
fn systemd_writes_what_the_peers_write() {
    if !std::path::Path::new("/run/systemd/system").exists() {
        return skip("needs systemd");
    }
    check(&SYSTEMD);
}

/// On a user's own, where a user of this machine has one.
#[test]
fn systemd_of_a_user_writes_what_the_peers_write() {
    if std::env::var_os("TARE_TEST_GUEST").is_none() {
        return skip("needs a machine of its own (make test-guest)");
    }
    let status = Command::new("as-tester")
        .args(["env", "TARE_TEST_GUEST=1"])
        .arg(std::env::current_exe().unwrap())
        .args(["table::inside_of_a_user", "--ignored", "--nocapture"])
        .status();
    assert!(status.unwrap().success());
}

#[test]
#[ignore = "runs as a user"]
fn inside_of_a_user_systemd_writes_what_the_peers_write() {
    check(&SYSTEMD_OF_A_USER);
}

/// On one of its own (`systemd.rs`).
#[test]
#[ignore = "runs inside"]
fn inside_systemd_writes_what_the_peers_write() {
    check(&SYSTEMD);
}
