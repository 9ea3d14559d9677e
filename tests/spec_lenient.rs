//! What looks wrong and is accepted, because engines write it and other runtimes read it.

#![allow(clippy::unwrap_used, clippy::panic)]

use oci_spec::runtime::{LinuxSchedulerFlag, Spec};
use serde_json::{Value, json};
use tare::testing::spec::{self, CheckedSpec};

const FULL: &str = include_str!("fixtures/spec/full.json");

/// The full configuration with `changes` merged into it, null taking a member away (RFC 7396).
fn with(changes: &Value) -> Value {
    let mut document = serde_json::from_str(FULL).unwrap();
    merge(&mut document, changes);
    document
}

fn merge(into: &mut Value, changes: &Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (name, change) in changes {
                if change.is_null() {
                    into.remove(name);
                } else {
                    merge(into.entry(name).or_insert(Value::Null), change);
                }
            }
        }
        (into, changes) => *into = changes.clone(),
    }
}

fn parse(document: &Value) -> CheckedSpec {
    spec::parse(&serde_json::to_vec(document).unwrap()).unwrap_or_else(|error| panic!("{error}"))
}

fn read(changes: &Value) -> CheckedSpec {
    parse(&with(changes))
}

#[test]
fn unknown_members_are_accepted_everywhere() {
    fn add(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.values_mut().for_each(add);
                members.insert("x-unknown".to_owned(), json!({"deep": [1, null, {"a": "b"}]}));
            }
            Value::Array(items) => items.iter_mut().for_each(add),
            _ => {}
        }
    }
    let mut document: Value = serde_json::from_str(FULL).unwrap();
    add(&mut document);
    // These are maps of any name, whose values have a type.
    for pointer in [
        "/annotations",
        "/linux/sysctl",
        "/linux/netDevices",
        "/linux/timeOffsets",
        "/linux/resources/rdma",
        "/linux/resources/unified",
    ] {
        document.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove("x-unknown");
    }
    assert_eq!(parse(&document), spec::parse(FULL.as_bytes()).unwrap());
}

#[test]
fn depth_below_an_unknown_member_is_accepted() {
    let bomb = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let document = FULL.replacen('{', &format!("{{\"x\": {bomb},"), 1);
    spec::parse(document.as_bytes()).unwrap();
}

#[test]
fn sections_for_other_systems_are_not_judged() {
    let document = json!({
        "windows": {"layerFolders": 5}, "solaris": [], "vm": {"kernel": 1}, "zos": "x", "freebsd": {"a": 1},
        "uidMappings": "none",
    });
    assert_eq!(*read(&document), *spec::parse(FULL.as_bytes()).unwrap());
}

#[test]
fn null_is_as_good_as_absent() {
    let mut document: Value = serde_json::from_str(FULL).unwrap();
    for pointer in [
        "/ociVersion",
        "/hostname",
        "/mounts",
        "/hooks",
        "/annotations",
        "/process/user",
        "/process/env",
        "/process/capabilities",
        "/process/scheduler",
        "/process/rlimits",
        "/linux/devices",
        "/linux/seccomp",
        "/linux/resources/memory/limit",
        "/linux/resources/devices/0/access",
    ] {
        *document.pointer_mut(pointer).unwrap() = Value::Null;
    }
    document["linux"]["resources"]["devices"][0]["access"] = json!("rwm");
    let checked = parse(&document);
    assert!(checked.hostname().is_none() && checked.mounts().is_none());
    assert_eq!(checked.process().as_ref().unwrap().user().uid(), 0);
    assert_eq!(checked.version(), "");
}

#[test]
fn an_empty_text_means_not_given() {
    let checked = read(&json!({
        "hostname": "", "domainname": "",
        "process": {"apparmorProfile": "", "selinuxLabel": ""},
        "linux": {
            "cgroupsPath": "", "rootfsPropagation": "", "mountLabel": "",
            "namespaces": [
                {"type": "user", "path": ""}, {"type": "mount"}, {"type": "network"}, {"type": "ipc"},
                {"type": "time"}, {"type": "uts"}
            ],
            "resources": {"cpu": {"cpus": "", "mems": ""}},
            "netDevices": {"eth0": {"name": ""}},
            "intelRdt": {"closID": "", "l3CacheSchema": "", "memBwSchema": ""},
        },
    }));
    assert_eq!((checked.hostname(), checked.domainname()), (&None, &None));
    let process = checked.process().as_ref().unwrap();
    assert_eq!((process.apparmor_profile(), process.selinux_label()), (&None, &None));
    let linux = checked.linux().as_ref().unwrap();
    assert_eq!(
        (linux.rootfs_propagation(), linux.mount_label(), linux.cgroups_path()),
        (&None, &None, &None)
    );
    assert_eq!(linux.namespaces().as_ref().unwrap()[0].path(), &None);
    let cpu = linux.resources().as_ref().unwrap().cpu().as_ref().unwrap();
    assert_eq!((cpu.cpus(), cpu.mems()), (&None, &None));
    assert_eq!(linux.net_devices().as_ref().unwrap()["eth0"].name(), &None);
    assert_eq!(linux.intel_rdt().as_ref().unwrap().clos_id(), &None);
}

#[test]
fn unknown_capabilities_are_dropped_with_one_warning() {
    let checked = read(&json!({"process": {"capabilities": {
        "bounding": ["CAP_KILL", "CAP_TELEPORT", "CAP_NET_RAW"],
        "effective": ["CAP_TELEPORT"],
        "ambient": ["CAP_\n"],
    }}}));
    let capabilities = checked.process().as_ref().unwrap().capabilities().as_ref().unwrap().clone();
    assert_eq!(capabilities.bounding().as_ref().unwrap().len(), 2);
    assert_eq!(capabilities.effective().as_ref().unwrap().len(), 0);
    assert_eq!(checked.warnings.len(), 1);
    let warning = &checked.warnings[0];
    assert!(
        warning.starts_with("/process/capabilities: ignoring unknown or unavailable capabilities: "),
        "{warning}"
    );
    assert!(warning.contains("\"CAP_TELEPORT\"") && warning.contains(r#""CAP_\n""#), "{warning}");
}

#[test]
fn the_scheduler_flags_of_the_specification_are_known() {
    let checked = read(&json!({"process": {"scheduler": {"flags": [
        "SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_KEEP_POLICY",
        "SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX",
    ]}}}));
    let scheduler = checked.process().as_ref().unwrap().scheduler().as_ref().unwrap().clone();
    let flags = scheduler.flags().as_ref().unwrap();
    assert_eq!(flags.len(), 7);
    assert_eq!(flags[0], LinuxSchedulerFlag::SchedResetOnFork);
    assert_eq!(flags[2], LinuxSchedulerFlag::SchedFlagDLOverrun);
}

/// Go's reader takes them, so there are configurations that have them: a limit must not be lost in silence.
#[test]
fn names_that_differ_in_case_alone_are_the_same() {
    let text = FULL
        .replace("\"cpu\":", "\"CPU\":")
        .replace("\"cpus\":", "\"Cpus\":")
        .replace("\"pageSize\":", "\"pagesize\":")
        .replace("\"rlimits\":", "\"RLimits\":")
        .replace("\"namespaces\":", "\"Namespaces\":");
    assert_ne!(text, FULL);
    assert_eq!(spec::parse(text.as_bytes()).unwrap(), spec::parse(FULL.as_bytes()).unwrap());
    // Also where the fast pass fails, and in what is said about it.
    let text =
        text.replace("\"bounding\": [", "\"Bounding\": [\"CAP_X\", ").replace("\"user\":", "\"USER\":");
    assert_eq!(spec::parse(text.as_bytes()).unwrap().warnings.len(), 1);
    let text =
        text.replace("\"pagesize\": \"2MB\"", "\"pagesize\": 2").replace("\"Cpus\": \"0-1\"", "\"Cpus\": []");
    let error = spec::parse(text.as_bytes()).unwrap_err().to_string();
    for pointer in ["/linux/resources/hugepageLimits/0/pageSize (line 1", "/linux/resources/cpu/cpus (line 1"]
    {
        assert!(error.contains(pointer), "{error}");
    }
    // The names of a map are no names of members.
    let checked = read(&json!({"annotations": {"A": "1", "a": "2"}}));
    assert_eq!(checked.annotations().as_ref().unwrap().len(), 3);
}

#[test]
fn resources_may_be_a_document_of_their_own() {
    let (resources, warnings) = spec::parse_resources(br#"{"CPU": {"Cpus": "1"}, "pids": {}}"#).unwrap();
    assert_eq!(resources.cpu().as_ref().unwrap().cpus().as_deref(), Some("1"));
    assert_eq!((resources.pids(), warnings), (&None, vec![]));
    let (resources, _) = spec::parse_resources(br#"{"pids": {"limit": 0}}"#).unwrap();
    assert_eq!(resources.pids().unwrap().limit(), 0);
    let error =
        spec::parse_resources(br#"{"devices": [{"type": "x"}], "memory": {"limit": ""}}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/devices/0/type (line 1, column 23): invalid cgroup device type \"x\": not one of a, b, c, u, p; \
         /memory/limit (line 1, column 50): invalid type: string \"\", expected i64 (a whole number, without quotes); \
         /devices/0/access (line 1, column 14): device access at 0 field cannot be empty"
    );
    let error = spec::parse_resources(br#"{"unified": {"a/b": "1"}}"#).unwrap_err();
    assert!(error.to_string().starts_with("/unified/a~1b (line 1, column 21): unified resource"), "{error}");
}

#[test]
fn an_affinity_may_be_empty_or_have_spaces() {
    for (initial, last, expected) in [
        (json!("0-1"), json!(""), (Some("0-1"), None)),
        (json!(" 0 - 1"), json!("0"), (None, None)),
        (json!("0-3, 7,"), json!(" "), (Some("0-3,7"), None)),
        (json!(""), json!(""), (None, None)),
    ] {
        let document = with(&json!({"process": {"execCPUAffinity": {"initial": initial, "final": last}}}));
        let Ok(checked) = spec::parse(&serde_json::to_vec(&document).unwrap()) else {
            assert_eq!(initial, " 0 - 1", "only spaces within a range are wrong");
            continue;
        };
        let affinity = checked.process().as_ref().unwrap().exec_cpu_affinity().as_ref().unwrap().clone();
        let have = (affinity.initial().as_deref(), affinity.cpu_affinity_final().as_deref());
        assert_eq!(have, expected, "{initial} {last}");
    }
}

#[test]
fn a_process_without_a_user_is_root() {
    assert_eq!(read(&json!({"process": {"user": null}})).process().as_ref().unwrap().user().uid(), 0);
}

#[test]
fn pids_without_a_limit_leave_the_limit_alone() {
    let pids = |changes| {
        let checked = read(&json!({"linux": {"resources": {"pids": changes}}}));
        checked.linux().as_ref().unwrap().resources().as_ref().unwrap().pids().map(|pids| pids.limit())
    };
    assert_eq!(pids(json!({"limit": 0})), Some(0));
    assert_eq!(pids(json!({"limit": -1})), Some(-1));
    assert_eq!(pids(json!({"limit": null})), None);
    // A null that stays in the text.
    let text = FULL.replace("\"pids\": {\"limit\": 100}", "\"pids\": {\"limit\": null}");
    let checked = spec::parse(text.as_bytes()).unwrap();
    assert_eq!(checked.linux().as_ref().unwrap().resources().as_ref().unwrap().pids(), &None);
}

#[test]
fn a_seccomp_object_that_says_nothing_is_none() {
    for seccomp in [json!({}), json!({"defaultAction": "", "syscalls": []}), json!({"architectures": []})] {
        let mut document: Value = serde_json::from_str(FULL).unwrap();
        document["linux"]["seccomp"] = seccomp;
        assert_eq!(parse(&document).linux().as_ref().unwrap().seccomp(), &None);
    }
    let mut document: Value = serde_json::from_str(FULL).unwrap();
    document["linux"]["seccomp"]["syscalls"] = json!([{"action": "SCMP_ACT_ALLOW"}, {"names": ["a"], "action": "SCMP_ACT_KILL", "args": [{"op": "SCMP_CMP_EQ"}]}]);
    let checked = parse(&document);
    let syscalls = checked.linux().as_ref().unwrap().seccomp().as_ref().unwrap().syscalls().clone().unwrap();
    assert!(syscalls[0].names().is_empty());
    assert_eq!(syscalls[1].args().as_ref().unwrap()[0].value(), 0);
}

#[test]
fn a_hugepage_limit_beyond_any_machine_is_no_limit() {
    let checked = read(&json!({"linux": {"resources": {"hugepageLimits": [
        {"pageSize": "2MB", "limit": 18_446_744_073_709_551_615_u64}, {"pageSize": "1GB", "limit": 5}
    ]}}}));
    let limits =
        checked.linux().as_ref().unwrap().resources().as_ref().unwrap().hugepage_limits().clone().unwrap();
    assert_eq!((limits[0].limit(), limits[1].limit()), (i64::MAX, 5));
}

#[test]
fn what_is_odd_is_a_warning_with_its_place() {
    for (changes, expected) in [
        (
            json!({"mounts": [{"destination": "proc", "type": "proc"}]}),
            "/mounts/0/destination: \"proc\": relative destination path is deprecated, using it as relative to /",
        ),
        (
            json!({"mounts": [{"destination": "/x", "type": "proc", "options": ["tmpcopyup"]}]}),
            "/mounts/0/options/0: \"tmpcopyup\" is for tmpfs alone and does nothing here",
        ),
        (
            json!({"linux": {"personality": {"flags": ["ADDR_NO_RANDOMIZE"]}}}),
            "/linux/personality/flags: ignoring unsupported personality flags: \"ADDR_NO_RANDOMIZE\"",
        ),
        (
            json!({"linux": {"resources": {"devices": [{"allow": false, "access": "rwa"}]}}}),
            "/linux/resources/devices/0/access: \"rwa\" has letters other than r, w and m: ignored",
        ),
        (
            json!({"linux": {"resources": {"memory": {"kernel": -1}}}}),
            "/linux/resources/memory/kernel: ignored: kernels have no limit of kernel memory alone any more",
        ),
    ] {
        assert_eq!(read(&changes).warnings, [expected]);
    }
}

#[test]
fn values_at_the_edge_are_accepted_in_silence() {
    let many: Vec<u32> = (0..65536).collect();
    let lines: Vec<Value> = (0..340).map(|n| json!({"containerID": n, "hostID": n, "size": 1})).collect();
    for changes in [
        json!({"ociVersion": "9.9.9-future"}),
        json!({"hostname": "x".repeat(64)}),
        json!({"annotations": {"a": "", "nul": "a\u{0}b"}}),
        json!({"process": {"env": [], "rlimits": [], "capabilities": {}}}),
        json!({"process": {"env": ["A=", "A==", "A=b=c", "PATH=/x", "PATH=/y"]}}),
        json!({"process": {"args": [""]}}),
        json!({"process": {"terminal": false, "consoleSize": {"height": 70000, "width": 5}}}),
        json!({"process": {"user": {"uid": 4_294_967_294_u32, "additionalGids": many}}}),
        json!({"process": {"oomScoreAdj": -1000}}),
        json!({"process": {"rlimits": [{"type": "RLIMIT_AS", "hard": u64::MAX, "soft": u64::MAX}]}}),
        json!({"process": {"capabilities": {"bounding": ["CAP_KILL", "CAP_SYS_ADMIN"]}}}),
        json!({"process": {"scheduler": {"policy": "SCHED_FIFO", "priority": 99, "nice": 99}}}),
        json!({"process": {"scheduler": {"policy": "SCHED_IDLE", "nice": 30}}}),
        json!({"process": {"scheduler": {"policy": "SCHED_DEADLINE", "runtime": 5, "deadline": 5, "period": 0}}}),
        json!({"process": {"ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0}}}),
        json!({"mounts": [
            {"destination": "/a", "type": "bind", "source": "x"},
            {"destination": "/b", "type": "none", "source": "x", "options": ["rbind", "defaults", "copy-symlink"]},
            {"destination": "/c", "options": ["remount", "ro"]},
            {"destination": "/d/../e", "type": "tmpfs", "options": ["size=1k", "unheard-of", "context=\"a,b\""]},
            {"destination": "/f", "type": "bind", "source": "x", "options": ["bind", "idmap"]},
            {"destination": "/g", "type": "overlay", "options": ["lowerdir=/a:/b"]},
        ]}),
        json!({"linux": {"uidMappings": lines}}),
        json!({"linux": {"namespaces": [
            {"type": "user", "path": "/proc/1/ns/user"}, {"type": "mount"}, {"type": "network"}, {"type": "ipc"},
            {"type": "time"}, {"type": "uts"}
        ]}}),
        json!({"linux": {"maskedPaths": [], "readonlyPaths": [], "devices": [], "namespaces": [
            {"type": "user"}, {"type": "network"}, {"type": "ipc"}, {"type": "time"}, {"type": "uts"}
        ]}}),
        json!({"linux": {"devices": [
            {"path": "/dev/x", "type": "b", "major": 4095, "minor": 1_048_575, "fileMode": 8624},
            {"path": "/dev/y", "type": "u"}, {"path": "/dev/p", "type": "p", "major": -1}
        ]}}),
        json!({"linux": {"sysctl": {"net/ipv4/conf/eth0.100/rp_filter": "1", "net.a": "", "kernel/sem": "1 2"}}}),
        json!({"linux": {"intelRdt": {"closID": "/"}}}),
        json!({"linux": {"memoryPolicy": {"mode": "MPOL_PREFERRED", "nodes": ""}}}),
        json!({"linux": {"resources": {"devices": [{"allow": true, "type": "a", "major": -1, "minor": -1, "access": "mwr"}]}}}),
        json!({"linux": {"resources": {"memory": {"limit": -1, "swap": -1, "reservation": 0, "swappiness": u64::MAX}}}}),
        json!({"linux": {"resources": {"memory": {"limit": 0, "swap": 0}}}}),
        json!({"linux": {"resources": {"cpu": {
            "shares": 0, "quota": -1, "period": 0, "cpus": "0-7:2/4", "mems": "all", "idle": 1
        }}}}),
        json!({"linux": {"resources": {"blockIO": {"weight": 0, "leafWeight": 1000}}}}),
    ] {
        assert_eq!(read(&changes).warnings, Vec::<String>::new(), "{changes}");
    }
}

#[test]
fn the_template_can_be_read_in_all_its_forms() {
    for rootless in [None, Some((1000, 100))] {
        for cgroup_v2 in [false, true] {
            let text = spec::template(rootless, cgroup_v2);
            let checked = spec::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(checked.warnings, Vec::<String>::new());
            assert!(
                text.starts_with(
                    "{\n\t\"ociVersion\": \"1.3.0\",\n\t\"process\": {\n\t\t\"terminal\": true,"
                ),
                "{text}"
            );
            assert!(text.ends_with("\n}\n"));
            judge_template(&checked, rootless, cgroup_v2);
        }
    }
}

fn judge_template(checked: &Spec, rootless: Option<(u32, u32)>, cgroup_v2: bool) {
    let linux = checked.linux().as_ref().unwrap();
    let namespaces: Vec<String> = linux
        .namespaces()
        .iter()
        .flatten()
        .map(|namespace| format!("{:?}", namespace.typ()).to_lowercase())
        .collect();
    let mut expected = match rootless {
        None => vec!["pid", "network", "ipc", "uts", "mount"],
        Some(_) => vec!["pid", "ipc", "uts", "mount"],
    };
    expected.extend(cgroup_v2.then_some("cgroup"));
    expected.extend(rootless.map(|_| "user"));
    assert_eq!(namespaces, expected);
    assert_eq!(linux.resources().is_none(), rootless.is_some());
    let mapped = linux
        .uid_mappings()
        .iter()
        .flatten()
        .map(|map| (map.container_id(), map.host_id(), map.size()))
        .next();
    assert_eq!(mapped, rootless.map(|(uid, _)| (0, uid, 1)));
    let mapped = linux
        .gid_mappings()
        .iter()
        .flatten()
        .map(|map| (map.container_id(), map.host_id(), map.size()))
        .next();
    assert_eq!(mapped, rootless.map(|(_, gid)| (0, gid, 1)));
    let mounts = checked.mounts().as_ref().unwrap();
    assert_eq!(mounts.len(), 7);
    assert_eq!(mounts[5].typ().as_deref(), Some(if rootless.is_some() { "none" } else { "sysfs" }));
    let ids = mounts
        .iter()
        .flat_map(|mount| mount.options().iter().flatten())
        .filter(|option| option.starts_with("gid="));
    assert_eq!(ids.count(), usize::from(rootless.is_none()));
}

#[test]
fn members_that_differ_in_case_alone_are_read_one_into_the_other() {
    let mut document = with(&json!({}));
    document["linux"]["resources"] = json!({
        "cpu": {"shares": 5, "cpus": "0"}, "CPU": {"Idle": 1, "Cpus": "1"}, "Pids": {"limit": 3}
    });
    let checked = parse(&document);
    let linux = checked.linux().clone().unwrap();
    let cpu = linux.resources().as_ref().unwrap().cpu().clone().unwrap();
    assert_eq!((cpu.shares(), cpu.idle(), cpu.cpus().as_deref()), (Some(5), Some(1), Some("0")));
    assert!(
        checked.warnings.iter().any(|warning| warning.contains("/linux/resources")),
        "{:?}",
        checked.warnings
    );
}
