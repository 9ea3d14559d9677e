//! On this host's v1 hierarchies.

use std::io::Read;
use std::time::Duration;

use serde_json::json;
use tare::testing::cgroup::Group;
use tare::testing::host::cgroup::{Layout, Mode};

use crate::bundles::skip;
use crate::support::{Inmate, Scratch, assert_told, born_in, path, planned};

/// The host's layout, where it is v1 or hybrid and ours to change.
fn layout() -> Option<Layout> {
    let layout = tare::testing::host::probe::cgroup::read_layout().unwrap();
    if layout.mode() == Mode::V2 || !nix::unistd::geteuid().is_root() {
        skip("needs cgroup v1 and root");
        return None;
    }
    Some(layout)
}

#[test]
fn limits_read_back_from_the_kernels_files() {
    let Some(layout) = layout() else { return };
    let scratch = Scratch::new(
        &json!({
            "memory": {"limit": 67108864, "swap": 134217728, "reservation": 33554432, "swappiness": 10,
                "disableOOMKiller": true},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000, "burst": 10000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 50},
        }),
        &layout,
    );
    for (file, want) in [
        ("memory.limit_in_bytes", "67108864"),
        ("memory.memsw.limit_in_bytes", "134217728"),
        ("memory.soft_limit_in_bytes", "33554432"),
        ("memory.swappiness", "10"),
        ("cpu.shares", "512"),
        ("cpu.cfs_quota_us", "50000"),
        ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_burst_us", "10000"),
        ("cpuset.cpus", "0"),
        ("cpuset.mems", "0"),
        ("pids.max", "50"),
    ] {
        assert_eq!(scratch.read(file), want, "{file}");
    }
    assert!(scratch.read("memory.oom_control").contains("oom_kill_disable 1"));
    assert_eq!(scratch.group.oom_kills(), Some(0));
}

#[test]
fn memory_of_tcp_is_limited_where_the_kernel_has_the_file() {
    let Some(layout) = layout() else { return };
    let scratch = Scratch::new(&json!({"memory": {"kernelTCP": 1_048_576}}), &layout);
    if !scratch.directory("memory").join("memory.kmem.tcp.limit_in_bytes").exists() {
        return skip("needs a kernel with memory.kmem.tcp.limit_in_bytes");
    }
    assert_eq!(scratch.read("memory.kmem.tcp.limit_in_bytes"), "1048576");
}

#[test]
fn no_limit_of_what_the_host_does_not_count_is_no_failure() {
    let Some(layout) = layout() else { return };
    if layout.v1.iter().any(|tree| tree.controllers.iter().any(|name| name == "hugetlb")) {
        return skip("needs a host without the hugetlb controller");
    }
    let none = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 9_223_372_036_854_771_712_i64}]});
    drop(Scratch::new(&none, &layout));
}

#[test]
fn a_new_parent_has_the_real_time_bandwidth_that_its_group_gets() {
    let Some(layout) = layout() else { return };
    if !std::path::Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        return skip("needs a kernel that divides real-time bandwidth");
    }
    let path = path();
    let wanted = json!({"cpu": {"realtimeRuntime": 2000, "realtimePeriod": 500000}});
    let scratch = Scratch::try_new(&path, &wanted, &layout).unwrap();
    let parent = scratch.directory("cpu").parent().unwrap().to_owned();
    for directory in [&scratch.directory("cpu"), &parent] {
        for (file, want) in [("cpu.rt_runtime_us", "2000\n"), ("cpu.rt_period_us", "500000\n")] {
            assert_eq!(std::fs::read_to_string(directory.join(file)).unwrap(), want, "{file}");
        }
    }
    // A parent that was there is somebody's: it is not given more.
    let error = Scratch::try_new(&format!("{path}2"), &wanted, &layout).map(drop).unwrap_err();
    assert!(
        error.to_string().starts_with("/linux/resources/cpu/realtimeRuntime: write \"2000\" to "),
        "{error}"
    );
    let hint = format!(
        "a group's real-time bandwidth is part of its parent's: {}",
        parent.join("cpu.rt_runtime_us").display()
    );
    assert_eq!(error.hint(), Some(&*hint));
}

#[test]
fn limits_move_up_and_down_in_any_order() {
    let Some(layout) = layout() else { return };
    let scratch = Scratch::new(&json!({"memory": {"limit": 16777216, "swap": 16777216}}), &layout);
    for (limit, swap) in [(67108864, 134217728), (8388608, 8388608), (33554432, 33554432), (33554432, -1)] {
        let resources = serde_json::from_value(json!({"memory": {"limit": limit, "swap": swap}})).unwrap();
        let plan = tare::testing::cgroup::plan::update(scratch.group.record(), &resources, false).unwrap();
        scratch.group.update(&plan).unwrap();
        assert_eq!(scratch.read("memory.limit_in_bytes"), limit.to_string());
    }
    assert!(scratch.read("memory.memsw.limit_in_bytes").starts_with("922337203685477"));
}

#[test]
fn a_process_joins_every_hierarchy_and_can_be_counted() {
    let Some(layout) = layout() else { return };
    let scratch = Scratch::new(&json!({}), &layout);
    let inmate = scratch.sleeper();
    for line in inmate.groups().lines().filter(|line| !line.ends_with(":/")) {
        let path = scratch.group.record().locations[0].path.display().to_string();
        assert!(line.ends_with(&path), "{line}");
    }
    assert_eq!(inmate.groups().matches("tare-test-").count(), scratch.group.record().locations.len());
    assert_eq!(scratch.group.procs().unwrap(), [inmate.pid()]);
    let found = Group::from_record(scratch.group.record());
    assert_eq!(found.procs().unwrap(), [inmate.pid()]);
    assert!(found.exists().unwrap());
}

/// Moved by another, a process makes the kernel wait.
#[test]
fn a_new_process_comes_into_every_hierarchy_by_itself() {
    let Some(layout) = layout() else { return };
    let scratch = Scratch::new(&json!({}), &layout);
    // Nothing is allocated: the child has the locks of threads that it does not have.
    let hierarchies = || {
        let mut text = [0; 4096];
        let file = std::fs::File::open("/proc/self/cgroup");
        let length = file.and_then(|mut file| file.read(&mut text)).unwrap_or(0);
        text[..length].windows(10).filter(|part| part == b"tare-test-").count() as i32
    };
    assert_eq!(born_in(&scratch.group, hierarchies), scratch.group.record().locations.len() as i32);
}

#[test]
fn devices_are_those_of_the_rules() {
    let Some(layout) = layout() else { return };
    let deny = json!({"allow": false, "access": "rwm"});
    let rules = json!({"devices": [deny, {"allow": true, "type": "b", "major": 7, "access": "r"}]});
    let scratch = Scratch::new(&rules, &layout);
    let mut list: Vec<String> = scratch.read("devices.list").lines().map(str::to_owned).collect();
    list.sort();
    assert_eq!(
        list,
        [
            "b *:* m",
            "b 7:* r",
            "c *:* m",
            "c 10:200 rwm",
            "c 136:* rwm",
            "c 1:3 rwm",
            "c 1:5 rwm",
            "c 1:7 rwm",
            "c 1:8 rwm",
            "c 1:9 rwm",
            "c 5:0 rwm",
            "c 5:2 rwm"
        ]
    );
    let open = Scratch::new(&json!({"devices": [{"allow": true, "access": "rwm"}]}), &layout);
    assert_eq!(open.read("devices.list"), "a *:* rwm");
    // A second time over what is there: nothing flickers and nothing is left over.
    scratch.group.apply(&scratch.plan).unwrap();
    open.group.apply(&scratch.plan).unwrap();
}

#[test]
fn a_frozen_group_says_so_and_goes_on_after_thaw() {
    let Some(layout) = layout() else { return };
    let scratch = Scratch::new(&json!({}), &layout);
    let _inmate = scratch.sleeper();
    assert!(!scratch.group.is_frozen().unwrap());
    scratch.group.freeze().unwrap();
    assert!(scratch.group.is_frozen().unwrap());
    assert!(Group::from_record(scratch.group.record()).is_frozen().unwrap());
    scratch.group.thaw().unwrap();
    assert!(!scratch.group.is_frozen().unwrap());
}

#[test]
fn a_frozen_group_dies_of_a_kill_with_its_frozen_subgroups() {
    let Some(layout) = layout() else { return };
    let scratch = Scratch::new(&json!({}), &layout);
    let mut inmate = scratch.sleeper();
    let mut nested = Inmate::outside();
    for location in &scratch.group.record().locations {
        let inner = location.directory().join("inner");
        std::fs::create_dir(&inner).unwrap();
        if location.controllers == ["cpuset"] {
            std::fs::write(inner.join("cpuset.cpus"), scratch.read("cpuset.cpus")).unwrap();
            std::fs::write(inner.join("cpuset.mems"), scratch.read("cpuset.mems")).unwrap();
        }
        std::fs::write(inner.join("cgroup.procs"), nested.pid().to_string()).unwrap();
    }
    std::fs::write(scratch.directory("freezer").join("inner/freezer.state"), "FROZEN").unwrap();
    scratch.group.freeze().unwrap();
    assert_eq!(scratch.group.procs().unwrap().len(), 2);
    scratch.group.kill_all(libc::SIGKILL).unwrap();
    scratch.group.remove().unwrap();
    assert!(!inmate.is_alive() && !nested.is_alive());
    assert!(!scratch.group.exists().unwrap());
    scratch.group.remove().unwrap();
    assert!(scratch.group.procs().unwrap().is_empty());
    assert!(!scratch.group.is_frozen().unwrap());
}

#[test]
fn a_signal_reaches_every_process() {
    let Some(layout) = layout() else { return };
    let scratch = Scratch::new(&json!({}), &layout);
    let (mut one, mut two) = (scratch.sleeper(), scratch.sleeper());
    scratch.group.kill_all(libc::SIGTERM).unwrap();
    for inmate in [&mut one, &mut two] {
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(inmate.0.wait().unwrap().signal(), Some(15));
    }
}

#[test]
fn a_group_that_holds_processes_or_is_frozen_is_refused() {
    let Some(layout) = layout() else { return };
    let path = path();
    let scratch = Scratch::try_new(&path, &json!({}), &layout).unwrap();
    planned(&path, &json!({}), &layout).create().unwrap();
    scratch.group.freeze().unwrap();
    let error = planned(&path, &json!({}), &layout).create().unwrap_err();
    assert_told(&error, "container's cgroup unexpectedly frozen");
    scratch.group.thaw().unwrap();
    let _inmate = scratch.sleeper();
    let error = planned(&path, &json!({}), &layout).create().unwrap_err();
    assert_told(&error, "container's cgroup is not empty: 1 process(es) found");
}

#[test]
fn what_a_failed_create_made_is_gone_again() {
    let Some(layout) = layout() else { return };
    let mut broken = layout.clone();
    broken.v1.last_mut().unwrap().mountpoint = "/proc/self".into();
    broken.unified = None;
    let path = path();
    let error = planned(&path, &json!({}), &broken).create().unwrap_err();
    assert_eq!(
        error.to_string(),
        "open control group hierarchy /proc/self: no control group hierarchy is mounted there"
    );
    let parent = std::path::Path::new(&path).parent().unwrap().strip_prefix("/").unwrap().to_owned();
    for tree in &layout.v1 {
        assert!(!tree.mountpoint.join(&parent).exists(), "{}", tree.mountpoint.display());
    }
}

#[test]
fn a_refused_value_names_the_field_the_file_and_the_kernels_answer() {
    let Some(layout) = layout() else { return };
    let path = path();
    let scratch = Scratch::try_new(&path, &json!({}), &layout).unwrap();
    let plan = planned(&path, &json!({"cpu": {"cpus": "0-9999"}}), &layout);
    let error = scratch.group.apply(&plan).unwrap_err();
    let file = scratch.directory("cpuset").join("cpuset.cpus");
    let (start, end) = (format!("write \"0-9999\" to {}: ", file.display()), error.to_string());
    assert!(end.starts_with(&format!("/linux/resources/cpu/cpus: {start}")), "{error}");
}

#[test]
fn a_busy_group_is_told_with_its_processes() {
    let Some(layout) = layout() else { return };
    let scratch = Scratch::new(&json!({}), &layout);
    let inmate = scratch.sleeper();
    let error = scratch.group.remove_within(Duration::from_millis(20)).unwrap_err().to_string();
    assert!(error.starts_with("unable to remove cgroup /"), "{error}");
    assert!(error.ends_with(&format!("still in it: {} (sleep, S)", inmate.pid())), "{error}");
}

/// A process that takes memory without end, once it is in the group.
fn glutton(scratch: &Scratch) -> std::process::ExitStatus {
    use std::io::Write;
    let mut command = std::process::Command::new("sh");
    let command = command.args(["-c", "read x; exec tail /dev/zero"]).stdin(std::process::Stdio::piped());
    let mut inmate = Inmate(command.spawn().unwrap());
    scratch.group.join(inmate.pid()).unwrap();
    inmate.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
    inmate.0.wait().unwrap()
}

#[test]
fn an_out_of_memory_kill_is_told_and_counted() {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    use std::os::unix::process::ExitStatusExt;
    use tare::testing::cgroup::live::oom::OomEvent;

    let Some(layout) = layout() else { return };
    let scratch = Scratch::new(&json!({"memory": {"limit": 16777216, "swap": 16777216}}), &layout);
    let mut watch = scratch.group.watch_oom().unwrap();
    assert_eq!(glutton(&scratch).signal(), Some(9));
    let wait = |watch: &tare::testing::cgroup::live::oom::OomWatch<'_>| {
        let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(5000_u16)).unwrap(), 1);
    };
    wait(&watch);
    assert_eq!(watch.read_event().unwrap(), OomEvent::Kills(1));
    assert_eq!(scratch.group.oom_kills(), Some(1));
    let stats = scratch.group.stats().unwrap();
    assert_eq!(stats.memory.usage.limit, 16777216);
    assert!(stats.memory.usage.max > 8388608, "{stats:?}");
    assert!(stats.cpu.usage.total > 0 && !stats.cpu.usage.percpu.is_empty());
    Group::from_record(scratch.group.record()).remove().unwrap();
    wait(&watch);
    assert_eq!(watch.read_event().unwrap(), OomEvent::GroupRemoved);
}

/// Debian's runc as the oracle: the same members in the same places, for the same group.
#[test]
fn statistics_have_the_shape_that_runc_gives_them() {
    let Some(layout) = layout() else { return };
    let scratch = Scratch::new(&json!({"pids": {"limit": 7}, "memory": {"limit": 67108864}}), &layout);
    let _inmate = scratch.sleeper();
    let mut stats = scratch.group.stats().unwrap();
    (stats.cpu.usage.total, stats.memory.cache) = (1, 1);
    let stats = serde_json::to_value(stats).unwrap();
    assert_eq!(stats["pids"], json!({"current": 1, "limit": 7}));
    assert_eq!(stats["memory"]["usage"]["limit"], 67108864);
    let members =
        |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(members(&stats), "blkio cpu cpuset hugetlb memory pids");
    assert_eq!(members(&stats["cpu"]["usage"]), "kernel percpu percpu_kernel percpu_user total user");
    // Pressure is the v2 tree's, on a hybrid host.
    assert_eq!(members(&stats["memory"]).replace(" psi", ""), "cache kernel kernelTCP raw swap usage");
    assert_eq!(
        members(&stats["cpuset"]),
        "cpu_exclusive cpus mem_exclusive mem_hardwall memory_migrate memory_pressure memory_spread_page \
         memory_spread_slab mems sched_load_balance sched_relax_domain_level"
    );
}

#[test]
fn a_refused_update_leaves_everything_as_it_was() {
    let Some(layout) = layout() else { return };
    let resources = json!({"memory": {"limit": 16777216, "swap": 33554432}, "pids": {"limit": 5}, "cpu": {"shares": 100}});
    let scratch = Scratch::new(&resources, &layout);
    let wanted = json!({
        "memory": {"limit": 67108864, "swap": 134217728}, "pids": {"limit": 9},
        "cpu": {"shares": 200, "cpus": "0-9999"},
    });
    let wanted = serde_json::from_value(wanted).unwrap();
    let plan = tare::testing::cgroup::plan::update(scratch.group.record(), &wanted, false).unwrap();
    let error = scratch.group.update(&plan).unwrap_err().to_string();
    assert!(error.starts_with("/linux/resources/cpu/cpus: "), "{error}");
    for (file, want) in [
        ("memory.limit_in_bytes", "16777216"),
        ("memory.memsw.limit_in_bytes", "33554432"),
        ("pids.max", "5"),
        ("cpu.shares", "100"),
    ] {
        assert_eq!(scratch.read(file), want, "{file}");
    }
}
