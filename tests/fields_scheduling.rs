//! When and where a container's processes run: scheduler, I/O priority, CPUs, memory nodes.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Bundle, skip, skip_part};

/// Policy, priority and nice value of a process: fields 41, 40 and 19 of /proc/PID/stat.
fn scheduler_of(pid: &str) -> (u32, u32, i32) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // The first of these is field 3.
    (fields[38].parse().unwrap(), fields[37].parse().unwrap(), fields[16].parse().unwrap())
}

fn with_process(bundle: &mut Bundle, name: &str, value: &Value) {
    bundle.patch(|config| config["process"][name] = value.clone());
}

/// Writes a process file: what runs in the container, with one more member.
fn process_file(bundle: &Bundle, args: &[&str], name: &str, value: &Value) -> String {
    let mut process = bundle.config["process"].clone();
    process["args"] = json!(args);
    process[name] = value.clone();
    fs::write(bundle.dir.join("process.json"), process.to_string()).unwrap();
    bundle.path("process.json")
}

#[test]
fn each_policy_is_set_with_its_parameters() {
    let rows = [
        (json!({"policy": "SCHED_OTHER", "nice": 5}), (0, 0, 5)),
        (json!({"policy": "SCHED_OTHER", "nice": -5}), (0, 0, -5)),
        (json!({"policy": "SCHED_BATCH", "nice": 3}), (3, 0, 3)),
        (json!({"policy": "SCHED_IDLE"}), (5, 0, 0)),
        (json!({"policy": "SCHED_FIFO", "priority": 7}), (1, 7, 0)),
        (json!({"policy": "SCHED_RR", "priority": 99}), (2, 99, 0)),
        (
            json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 10_000_000,
            "period": 10_000_000}),
            (6, 0, 0),
        ),
    ];
    for (scheduler, seen) in rows {
        let Some(mut bundle) = Bundle::new() else { return };
        with_process(&mut bundle, "scheduler", &scheduler);
        if seen.1 > 0 {
            // Where the kernel has RT_GROUP_SCHED, a group has no time for real-time tasks unless it is given some.
            let id = bundle.id.clone();
            bundle.patch(|config| {
                config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
                config["linux"]["resources"]["cpu"] =
                    json!({"realtimeRuntime": 1000, "realtimePeriod": 1_000_000});
            });
        }
        bundle.args(&["sleep", "100"]);
        let created = bundle.create();
        if created.code != 0
            && seen.0 != 0
            && created.told().contains("sched_setattr: operation not permitted")
        {
            skip_part(&format!("{scheduler}: needs a cgroup with time for real-time tasks"));
            continue;
        }
        created.ok();
        bundle.start().ok();
        let (policy, priority, nice) = scheduler_of(&bundle.pid());
        // Without a nice value in the configuration it is our caller's.
        let nice = if scheduler.get("nice").is_some() { nice } else { 0 };
        assert_eq!((policy, priority, nice), seen, "{scheduler}");
    }
}

#[test]
fn reset_on_fork_gives_children_the_default() {
    let Some(mut bundle) = Bundle::new() else { return };
    let scheduler = json!({"policy": "SCHED_BATCH", "nice": -3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]});
    with_process(&mut bundle, "scheduler", &scheduler);
    // The shell's own nice value and its child's.
    let shown = bundle.output_of("read a </proc/self/stat; cat /proc/self/stat; echo $a");
    let nice: Vec<&str> = shown.lines().map(|line| line.split(' ').nth(18).unwrap()).collect();
    assert_eq!(nice, ["0", "-3"], "{shown}");
}

#[test]
fn a_scheduler_that_the_kernel_refuses_is_told_with_its_place() {
    let Some(mut bundle) = Bundle::new() else { return };
    let scheduler = json!({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3});
    with_process(&mut bundle, "scheduler", &scheduler);
    bundle.run().fails(1, "/process/scheduler: set the scheduler: sched_setattr: invalid argument");
    bundle.leaves_nothing();
}

#[test]
fn an_added_process_has_a_scheduler_of_its_own() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let file = process_file(
        &bundle,
        &["cut", "-d ", "-f19", "/proc/self/stat"],
        "scheduler",
        &json!({"policy": "SCHED_OTHER", "nice": 11}),
    );
    let answer = bundle.tare(&["exec", "--process", &file, &bundle.id]).ok();
    assert_eq!(answer.stdout, "11\n");
}

#[test]
fn io_priority_is_set_for_the_container_and_for_exec() {
    let rows = [
        ("IOPRIO_CLASS_RT", 3, "realtime: prio 3"),
        ("IOPRIO_CLASS_BE", 6, "best-effort: prio 6"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ];
    for (class, priority, seen) in rows {
        let Some(mut bundle) = Bundle::new() else { return };
        let wanted = json!({"class": class, "priority": priority});
        with_process(&mut bundle, "ioPriority", &wanted);
        assert_eq!(bundle.output_of("ionice -p $$").trim(), seen);

        let Some(mut bundle) = Bundle::new() else { return };
        bundle.up();
        let file = process_file(&bundle, &["sh", "-c", "ionice -p $$"], "ioPriority", &wanted);
        let answer = bundle.tare(&["exec", "--process", &file, &bundle.id]).ok();
        assert_eq!(answer.stdout.trim(), seen);
    }
}

/// The policies of a process's mappings; busybox has some.
const POLICY: &str = "cut -d' ' -f2 /proc/self/numa_maps | sort -u";

#[test]
fn memory_policies_are_set_for_the_container_and_for_exec() {
    if !std::path::Path::new("/proc/self/numa_maps").exists() {
        return skip("needs NUMA in the kernel");
    }
    let rows = [
        (json!({"mode": "MPOL_DEFAULT"}), "default"),
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), "bind:0"),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}), "bind=static:0"),
        (
            json!({"mode": "MPOL_INTERLEAVE", "nodes": "0-0", "flags": ["MPOL_F_RELATIVE_NODES"]}),
            "interleave=relative:0",
        ),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0"}), "prefer:0"),
        (json!({"mode": "MPOL_LOCAL"}), "local"),
        (json!({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}), "prefer (many):0"),
    ];
    for (policy, seen) in rows {
        let Some(mut bundle) = Bundle::new() else { return };
        bundle.patch(|config| config["linux"]["memoryPolicy"] = policy.clone());
        let all = "cat /proc/self/numa_maps";
        let answer = bundle.output_of(all);
        assert!(answer.contains(&format!(" {seen} ")), "{policy}: {answer}");
    }
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0"}));
    bundle.up();
    assert_eq!(bundle.exec(&["sh", "-c", POLICY]).ok().stdout, "bind:0\n");
}

#[test]
fn a_node_that_there_is_not_is_told_with_its_place() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "876"}));
    bundle.run().fails(1, "/linux/memoryPolicy: set the memory policy: set_mempolicy: invalid argument");
    bundle.leaves_nothing();
}

const CPUS: &str = "grep Cpus_allowed_list /proc/self/status | cut -f2";

/// All that this process may run on.
fn all_cpus() -> String {
    fs::read_to_string("/sys/devices/system/cpu/online").unwrap().trim().to_owned()
}

#[test]
fn an_affinity_of_the_caller_does_not_reach_the_container() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script(CPUS);
    let answer = bundle.tare_by("exec taskset -c 0 \"$@\"", &["run", &bundle.id]).ok();
    assert_eq!(answer.stdout.trim(), all_cpus());
    bundle.up();
    let answer = bundle.tare_by("exec taskset -c 0 \"$@\"", &["exec", &bundle.id, "sh", "-c", CPUS]).ok();
    assert_eq!(answer.stdout.trim(), all_cpus());
}

#[test]
fn exec_affinity_is_final_or_else_initial() {
    if all_cpus() == "0" {
        return skip("needs two CPUs");
    }
    let Some(mut bundle) = Bundle::new() else { return };
    // The container's own process has none of it.
    with_process(&mut bundle, "execCPUAffinity", &json!({"initial": "0", "final": "1"}));
    assert_eq!(bundle.output_of(CPUS).trim(), all_cpus());
    bundle.up();
    // From config.json, then from process files.
    assert_eq!(bundle.exec(&["sh", "-c", CPUS]).ok().stdout, "1\n");
    let rows = [
        (json!({"initial": "1"}), "1"),
        (json!({"final": "0"}), "0"),
        (json!({"initial": "1", "final": "0,4000"}), "0"),
        (json!({"initial": "", "final": ""}), &all_cpus()),
    ];
    for (affinity, seen) in rows {
        let file = process_file(&bundle, &["sh", "-c", CPUS], "execCPUAffinity", &affinity);
        let answer = bundle.tare(&["exec", "--process", &file, &bundle.id]).ok();
        assert_eq!(answer.stdout.trim(), seen, "{affinity}");
    }
}

#[test]
fn cpus_that_there_are_not_are_told_with_their_place() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let rows = [
        ("initial", "/process/execCPUAffinity/initial: set CPU affinity: invalid argument"),
        ("final", "/process/execCPUAffinity/final: set CPU affinity: sched_setaffinity: invalid argument"),
    ];
    for (name, words) in rows {
        let file = process_file(&bundle, &["true"], "execCPUAffinity", &json!({name: "4000"}));
        let answer = bundle.tare(&["exec", "--process", &file, &bundle.id]);
        answer.fails(255, words);
    }
}
