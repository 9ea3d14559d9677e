//! A container's cgroup as another program sees it: read through the crate `cgroups-rs`, which Kata Containers reads and
//! writes its groups with. It knows nothing of tare, so what it finds is what the kernel holds, in the usual places.

use std::path::{Path, PathBuf};

use cgroups_rs::CgroupPid;
use cgroups_rs::fs::MaxValue;
use cgroups_rs::fs::cgroup::Cgroup;
use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::cpuset::CpuSetController;
use cgroups_rs::fs::hierarchies;
use cgroups_rs::fs::memory::{MemController, Memory};
use cgroups_rs::fs::pid::PidController;
use serde_json::json;

use crate::support::{Bundle, machine, skip};

const MEBIBYTE: i64 = 1 << 20;

/// The container's group in the hierarchy that has one of these files: on v1 the path may be another in each.
fn group_with(id: &str, files: [&str; 2]) -> Cgroup {
    let group =
        files.into_iter().find_map(|file| machine::group_with(id, file)).expect("the container has a group");
    let hierarchy = if machine::is_v2() { 4 } else { 5 }; // "/", sys, fs, cgroup, and on v1 the controller
    let below: PathBuf = group.components().skip(hierarchy).map(|part| Path::new(part.as_os_str())).collect();
    Cgroup::load(hierarchies::auto(), below)
}

fn memory_of(id: &str) -> Memory {
    let group = group_with(id, ["memory.max", "memory.limit_in_bytes"]);
    group.controller_of::<MemController>().expect("memory").memory_stat()
}

fn limited() -> Option<Bundle> {
    let mut bundle = Bundle::new()?;
    bundle.patch(|config| {
        config["linux"]["resources"] = json!({
            "memory": {"limit": 64 * MEBIBYTE, "reservation": 32 * MEBIBYTE},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0"},
            "pids": {"limit": 50},
        });
    });
    bundle.up();
    Some(bundle)
}

#[test]
fn limits_and_usage_are_where_another_program_looks() {
    if !["memory", "cpu", "cpuset", "pids"].into_iter().all(machine::has_controller) {
        return skip("needs the controllers memory, cpu, cpuset and pids");
    }
    let Some(bundle) = limited() else { return };
    let memory = memory_of(&bundle.id);
    assert_eq!(memory.limit_in_bytes, 64 * MEBIBYTE);
    assert_eq!(memory.soft_limit_in_bytes, 32 * MEBIBYTE);
    assert!((1..64 * MEBIBYTE as u64).contains(&memory.usage_in_bytes), "{}", memory.usage_in_bytes);

    let group = group_with(&bundle.id, ["cpu.max", "cpu.cfs_quota_us"]);
    let cpu = group.controller_of::<CpuController>().expect("cpu");
    assert_eq!(cpu.cfs_quota().unwrap(), 50000);
    assert_eq!(cpu.cfs_period().unwrap(), 100_000);
    let group = group_with(&bundle.id, ["cpuset.cpus"; 2]);
    assert_eq!(group.controller_of::<CpuSetController>().expect("cpuset").cpuset().cpus, [(0, 0)]);

    let group = group_with(&bundle.id, ["pids.max"; 2]);
    let pids = group.controller_of::<PidController>().expect("pids");
    assert_eq!(pids.get_pid_max().unwrap(), MaxValue::Value(50));
    // The shell of the container, and what it sleeps with.
    assert!((1..=2).contains(&pids.get_pid_current().unwrap()));
    let init = CgroupPid::from(bundle.pid().parse::<u64>().unwrap());
    assert!(group.procs().contains(&init), "{:?}", group.procs());
}

#[test]
fn an_update_is_seen_by_another_program() {
    if !["memory", "cpu", "cpuset", "pids"].into_iter().all(machine::has_controller) {
        return skip("needs the controllers memory, cpu, cpuset and pids");
    }
    let Some(bundle) = limited() else { return };
    bundle.tare(&["update", "--pids-limit", "77", "--memory", "48m", &bundle.id]).ok();
    let group = group_with(&bundle.id, ["pids.max"; 2]);
    let pids = group.controller_of::<PidController>().expect("pids");
    assert_eq!(pids.get_pid_max().unwrap(), MaxValue::Value(77));
    assert_eq!(memory_of(&bundle.id).limit_in_bytes, 48 * MEBIBYTE);
}
