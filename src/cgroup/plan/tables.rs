//! Tables: resources as engines write them, and the writes that each interface gets.

use oci_spec::runtime::Linux;
use serde_json::{Value, json};

use super::manager::Manager;
use super::testing::{hybrid, v1, v2};
use super::{Plan, Request, new_group};
use crate::container_id::ContainerId;
use crate::error::{Error, Kind};
use crate::host::cgroup::Layout;

fn linux(resources: &Value) -> Linux {
    serde_json::from_value(json!({"cgroupsPath": "/t", "resources": resources})).unwrap()
}

fn try_plan(resources: &Value, layout: &Layout) -> Result<Plan, Error> {
    try_plan_by(Manager::Cgroupfs, resources, layout)
}

fn try_plan_by(manager: Manager, resources: &Value, layout: &Layout) -> Result<Plan, Error> {
    new_group(&Request {
        linux: Some(&linux(resources)),
        annotations: None,
        id: &ContainerId::parse("id").unwrap(),
        manager,
        layout,
        rootless: false,
        systemd_subgroup: None,
        without_default_devices: false,
    })
}

/// `file=value`, `?` after a file that may be missing, `|file=value` for the second choice.
fn writes(resources: &Value, layout: &Layout) -> Vec<String> {
    let plan = try_plan(resources, layout).unwrap();
    plan.writes.iter().map(short).collect()
}

fn short(write: &super::write::Write) -> String {
    match &write.if_missing {
        super::write::IfMissing::Fail => format!("{}={}", write.file, write.value),
        super::write::IfMissing::Skip | super::write::IfMissing::Warn => {
            format!("{}?={}", write.file, write.value)
        }
        super::write::IfMissing::Fallback { file, value } => {
            format!("{}={}|{file}={value}", write.file, write.value)
        }
    }
}

#[test]
fn every_resource_becomes_the_files_of_its_interface() {
    for (resources, on_v1, on_v2) in [
        (json!({"pids": {"limit": 50}}), &["pids.max=50"][..], &["pids.max=50"][..]),
        (json!({"pids": {"limit": -1}}), &["pids.max=max"], &["pids.max=max"]),
        (json!({"pids": {"limit": 0}}), &["pids.max=1"], &["pids.max=1"]),
        (json!({"memory": {"limit": 64}}), &["memory.limit_in_bytes=64"], &["memory.max=64"]),
        (
            json!({"memory": {"limit": 64, "swap": 100}}),
            &["memory.limit_in_bytes=64", "memory.memsw.limit_in_bytes=100"],
            &["memory.swap.max=36", "memory.max=64"],
        ),
        (
            json!({"memory": {"limit": 64, "swap": 64}}),
            &["memory.limit_in_bytes=64", "memory.memsw.limit_in_bytes=64"],
            &["memory.swap.max?=0", "memory.max=64"],
        ),
        (
            json!({"memory": {"limit": 64, "swap": -1}}),
            &["memory.limit_in_bytes=64", "memory.memsw.limit_in_bytes=-1"],
            &["memory.swap.max?=max", "memory.max=64"],
        ),
        (
            json!({"memory": {"limit": -1}}),
            &["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes?=-1"],
            &["memory.swap.max?=max", "memory.max=max"],
        ),
        (json!({"memory": {"reservation": 7}}), &["memory.soft_limit_in_bytes=7"], &["memory.low=7"]),
        (json!({"memory": {"kernelTCP": 9}}), &["memory.kmem.tcp.limit_in_bytes?=9"], &[]),
        (json!({"memory": {"kernelTCP": 0, "kernel": 5}}), &[], &[]),
        (json!({"memory": {"swappiness": 0}}), &["memory.swappiness=0"], &[]),
        (json!({"memory": {"swappiness": u64::MAX}}), &[], &[]),
        (json!({"memory": {"disableOOMKiller": true}}), &["memory.oom_control=1"], &[]),
        (json!({"cpu": {"shares": 1024}}), &["cpu.shares=1024"], &["cpu.weight=100"]),
        (
            json!({"cpu": {"quota": 5000, "period": 10000}}),
            &["cpu.cfs_period_us=10000", "cpu.cfs_quota_us=5000"],
            &["cpu.max=5000 10000"],
        ),
        (json!({"cpu": {"quota": -1}}), &["cpu.cfs_quota_us=-1"], &["cpu.max=max 100000"]),
        (json!({"cpu": {"period": 20000}}), &["cpu.cfs_period_us=20000"], &["cpu.max=max 20000"]),
        (
            json!({"cpu": {"quota": 5000, "burst": 0}}),
            &["cpu.cfs_burst_us=0", "cpu.cfs_quota_us=5000"],
            &["cpu.max.burst=0", "cpu.max=5000 100000"],
        ),
        (json!({"cpu": {"idle": 1, "shares": 200}}), &["cpu.idle=1"], &["cpu.idle=1"]),
        (
            json!({"cpu": {"realtimeRuntime": 9, "realtimePeriod": 10}}),
            &["cpu.rt_period_us=10", "cpu.rt_runtime_us=9"],
            &[],
        ),
        (
            json!({"cpu": {"cpus": "0-1", "mems": "0"}}),
            &["cpuset.cpus=0-1", "cpuset.mems=0"],
            &["cpuset.cpus=0-1", "cpuset.mems=0"],
        ),
        (
            json!({"blockIO": {"weight": 500, "leafWeight": 300}}),
            &["blkio.bfq.weight=500|blkio.weight=500", "blkio.leaf_weight=300"],
            &["io.bfq.weight=500|io.weight=4950"],
        ),
        (
            json!({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 10, "leafWeight": 20}]}}),
            &["blkio.bfq.weight_device=8:0 10|blkio.weight_device=8:0 10", "blkio.leaf_weight_device=8:0 20"],
            &["io.bfq.weight=8:0 10|io.weight=8:0 1"],
        ),
        (
            json!({"blockIO": {
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}],
                "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 0}],
                "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 3}],
                "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 4}],
            }}),
            &[
                "blkio.throttle.read_bps_device=8:0 1",
                "blkio.throttle.write_bps_device=8:0 0",
                "blkio.throttle.read_iops_device=8:0 3",
                "blkio.throttle.write_iops_device=8:0 4",
            ],
            &["io.max=8:0 rbps=1", "io.max=8:0 wbps=max", "io.max=8:0 riops=3", "io.max=8:0 wiops=4"],
        ),
        (
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}),
            &["hugetlb.2MB.limit_in_bytes=4194304", "hugetlb.2MB.rsvd.limit_in_bytes?=4194304"],
            &["hugetlb.2MB.max=4194304", "hugetlb.2MB.rsvd.max?=4194304"],
        ),
        (
            json!({"network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]}}),
            &["net_cls.classid=1048577", "net_prio.ifpriomap=eth0 5"],
            &[],
        ),
        (
            json!({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 9}, "mlx4": {"hcaObjects": 1}, "none": {}}}),
            &["rdma.max=mlx4 hca_object=1", "rdma.max=mlx5_1 hca_handle=3 hca_object=9"],
            &["rdma.max=mlx4 hca_object=1", "rdma.max=mlx5_1 hca_handle=3 hca_object=9"],
        ),
    ] {
        assert_eq!(writes(&resources, &v1()), on_v1, "v1 {resources}");
        assert_eq!(writes(&resources, &v2()), on_v2, "v2 {resources}");
    }
}

#[test]
fn what_engines_write_for_not_set_is_not_set() {
    for resources in [
        json!({"memory": {"disableOOMKiller": false}, "cpu": {"shares": 0}, "blockIO": {"weight": 0}}),
        json!({"memory": {"limit": 0, "swap": 0, "reservation": 0, "useHierarchy": true, "checkBeforeUpdate": false}}),
        json!({"cpu": {"quota": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0, "cpus": "", "mems": ""}}),
        json!({"network": {"classID": 0, "priorities": []}, "hugepageLimits": [], "rdma": {}, "unified": {}}),
        json!({"blockIO": {"leafWeight": 0, "weightDevice": [{"major": 8, "minor": 0, "weight": 0}]}}),
        json!({}),
    ] {
        for layout in [v1(), v2(), hybrid_with_devices()] {
            let plan = try_plan(&resources, &layout).unwrap();
            assert_eq!(plan.writes, [], "{resources}");
            assert_eq!(plan.warnings, [""; 0], "{resources}");
        }
    }
}

fn hybrid_with_devices() -> Layout {
    let mut layout = hybrid();
    layout.v1.extend(v1().v1.into_iter().filter(|tree| tree.controllers == ["devices"]));
    layout
}

#[test]
fn unified_values_come_last_line_by_line() {
    let resources = json!({
        "unified": {"memory.high": "5", "cgroup.max.depth": "1", "io.max": "8:0 rbps=1\n8:16 wbps=2\n"},
        "pids": {"limit": 3},
    });
    assert_eq!(
        writes(&resources, &v2()),
        ["pids.max=3", "cgroup.max.depth=1", "io.max=8:0 rbps=1", "io.max=8:16 wbps=2", "memory.high=5"]
    );
}

#[test]
fn what_v2_cannot_limit_is_said_in_the_log() {
    let resources = json!({
        "memory": {"swappiness": 60, "disableOOMKiller": true},
        "cpu": {"realtimeRuntime": 5},
        "blockIO": {"leafWeight": 10},
        "network": {"classID": 1},
    });
    let plan = try_plan(&resources, &v2()).unwrap();
    let fields: Vec<&str> = plan.warnings.iter().filter_map(|warning| warning.split(' ').next()).collect();
    assert_eq!(
        fields,
        [
            "/linux/resources/memory/swappiness",
            "/linux/resources/memory/disableOOMKiller",
            "/linux/resources/blockIO/leafWeight",
            "/linux/resources/cpu/realtimeRuntime",
            "/linux/resources/network/classID",
        ]
    );
}

#[test]
fn a_value_that_cannot_be_set_is_told_with_its_field() {
    let mut poor = v2();
    poor.unified.as_mut().unwrap().controllers = vec!["pids".to_owned()];
    for (resources, layout, kind, want) in [
        (
            json!({"unified": {"memory.high": "5"}}),
            v1(),
            Kind::Spec,
            "/linux/resources/unified: invalid configuration: cannot use unified on cgroup v1",
        ),
        (
            json!({"unified": {"memory.high": "5"}}),
            poor.clone(),
            Kind::Unsupported,
            "/linux/resources/unified/memory.high: unified resource \"memory.high\" can't be set: \
             controller \"memory\" not available",
        ),
        (
            json!({"memory": {"limit": 5}}),
            poor,
            Kind::Unsupported,
            "/linux/resources/memory/limit: cannot set memory limit: container could not join or create cgroup: \
             this host has no memory controller in cgroup v2",
        ),
        (
            json!({"pids": {"limit": 5}}),
            hybrid_with_devices(),
            Kind::Unsupported,
            "/linux/resources/pids/limit: cannot set pids limit: container could not join or create cgroup: \
             this host has no pids controller in cgroup v1",
        ),
        (
            json!({"memory": {"swap": 5}}),
            v2(),
            Kind::Spec,
            "/linux/resources/memory/swap: unable to set swap limit without memory limit",
        ),
        (
            json!({"cpu": {"shares": 1}}),
            v1(),
            Kind::Spec,
            "/linux/resources/cpu/shares: the minimum allowed cpu-shares is 2",
        ),
        (
            json!({"cpu": {"shares": 262_145}}),
            v1(),
            Kind::Spec,
            "/linux/resources/cpu/shares: the maximum allowed cpu-shares is 262144",
        ),
        (
            json!({}),
            hybrid(),
            Kind::Unsupported,
            "/linux/resources/devices: cannot set devices limit: container could not join or create cgroup: \
             this host has no devices controller in cgroup v1",
        ),
        (
            json!({}),
            Layout::default(),
            Kind::Unsupported,
            "/linux/cgroupsPath: no control group hierarchy is mounted on this host",
        ),
    ] {
        let error = try_plan(&resources, &layout).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, want));
    }
}

/// `podman run --pids-limit -1` on a host that cannot count processes: what is asked for is so already.
#[test]
fn no_limit_needs_no_controller() {
    let lifted = [
        json!({"pids": {"limit": -1}}),
        json!({"memory": {"limit": -1}}),
        json!({"memory": {"limit": -1, "swap": -1, "reservation": -1}}),
        json!({"memory": {"limit": 9_223_372_036_854_771_712_i64}}),
        json!({"cpu": {"quota": -1, "period": 100_000, "burst": 0, "idle": 0}}),
        json!({"cpu": {"period": 50_000}}),
        json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 9_223_372_036_854_771_712_i64}]}),
        json!({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 0}]}}),
    ];
    let unified = [
        json!({"unified": {"pids.max": "max", "memory.high": "max", "cpu.max": "max", "cpu.weight.nice": "0"}}),
        json!({"unified": {"io.max": "8:0 rbps=max wbps=max"}}),
    ];
    let limits = [
        json!({"pids": {"limit": 0}}),
        json!({"memory": {"reservation": 5}}),
        json!({"cpu": {"quota": 5000, "period": 50_000}}),
        json!({"cpu": {"idle": 1}}),
        json!({"cpu": {"shares": 2}}),
        json!({"cpu": {"cpus": "0"}}),
        json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}),
        json!({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 10}]}}),
    ];
    let poor_v1 = Layout {
        v1: v1().v1.into_iter().filter(|tree| tree.controllers == ["devices"]).collect(),
        unified: None,
    };
    let mut poor_v2 = v2();
    poor_v2.unified.as_mut().unwrap().controllers.clear();
    for layout in [&poor_v1, &poor_v2] {
        for resources in &lifted {
            assert_eq!(try_plan(resources, layout).unwrap().writes, [], "{resources}");
            let plan = try_plan_by(Manager::Disabled, resources, layout);
            assert_eq!(plan.unwrap().writes, [], "disabled: {resources}");
        }
        for resources in &limits {
            let error = try_plan(resources, layout).unwrap_err().to_string();
            assert!(
                error.contains(" limit: container could not join or create cgroup"),
                "{resources}: {error}"
            );
        }
    }
    assert_eq!(try_plan(&unified[1], &poor_v2).unwrap().writes, []);
    assert!(try_plan(&unified[0], &poor_v2).unwrap_err().to_string().contains("cpu.weight.nice"));
    assert!(try_plan(&json!({"unified": {"memory.low": "max"}}), &poor_v2).is_err());
}

#[test]
fn rootless_without_a_path_may_go_without_a_group() {
    for (layout, devices) in [(Layout::default(), false), (hybrid(), false), (v2(), true)] {
        let plan = new_group(&Request {
            linux: None,
            annotations: None,
            id: &ContainerId::parse("id").unwrap(),
            manager: Manager::Cgroupfs,
            layout: &layout,
            rootless: true,
            systemd_subgroup: None,
            without_default_devices: false,
        })
        .unwrap();
        assert_eq!(plan.devices.is_some(), devices);
    }
}

#[test]
fn the_plan_prints_a_line_for_each_thing_done() {
    let resources = json!({"pids": {"limit": 5}, "devices": [{"allow": true, "access": "rwm"}]});
    assert_eq!(
        try_plan(&resources, &v2()).unwrap().lines(),
        [
            "cgroup cgroupfs cgroup2 /sys/fs/cgroup/t",
            "cgroup set pids.max = \"5\" (/linux/resources/pids/limit)",
            "cgroup devices allow all",
        ]
    );
}

#[test]
fn an_update_writes_what_it_names_and_what_follows() {
    let saved = json!({
        "memory": {"limit": 100, "swap": 150},
        "cpu": {"shares": 512, "quota": 5000, "period": 10000, "cpus": "0"},
        "pids": {"limit": 7},
        "unified": {"memory.high": "90"},
    });
    for (wanted, on_v1, on_v2) in [
        (json!({}), &[][..], &[][..]),
        (json!({"pids": {"limit": 9}}), &["pids.max=9"], &["pids.max=9"]),
        (json!({"pids": {"limit": 7}}), &["pids.max=7"], &["pids.max=7"]),
        (json!({"cpu": {"quota": 6000}}), &["cpu.cfs_quota_us=6000"], &["cpu.max=6000 10000"]),
        (json!({"cpu": {"period": 20000}}), &["cpu.cfs_period_us=20000"], &["cpu.max=5000 20000"]),
        (
            json!({"memory": {"limit": 120}}),
            &["memory.limit_in_bytes=120"],
            &["memory.swap.max=30", "memory.max=120"],
        ),
        (
            json!({"memory": {"limit": -1}}),
            &["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1"],
            &["memory.swap.max?=max", "memory.max=max"],
        ),
        (json!({"cpu": {"idle": 1}}), &["cpu.idle=1"], &["cpu.idle=1"]),
        (json!({"cpu": {"shares": 0, "cpus": ""}, "memory": {"limit": 0}}), &[], &[]),
    ] {
        for (layout, want) in [(v1(), on_v1), (v2(), on_v2)] {
            let linux = |resources: &Value| linux(resources).resources().clone().unwrap();
            let mut before = linux(&saved);
            if layout == v1() {
                before.set_unified(None);
            }
            let mut record = try_plan(&json!({}), &layout).unwrap().record();
            record.resources = Some(before);
            let plan = super::update(&record, &linux(&wanted), false).unwrap();
            let got: Vec<String> = plan.writes.iter().map(short).collect();
            assert_eq!(got, want, "{wanted}");
            assert_eq!(plan.devices, None);
            assert!(plan.record().resources.unwrap().pids().is_some());
        }
    }
}
