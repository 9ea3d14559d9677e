//! Classes of service and monitoring groups of resctrl, in a directory that looks like it: few machines have the real
//! one. In that the kernel fills a new directory with files and takes them away with it.
#![allow(clippy::panic, clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::Bundle;
use tare::testing::container_id::ContainerId;
use tare::testing::launch::rdt;
use tare::testing::plan::rdt::Rdt;

/// Removed with the test.
struct Fake(PathBuf);

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn fake(name: &str) -> Fake {
    let root = std::env::temp_dir().join(format!("tare-test-{}-{name}", std::process::id()));
    for directory in ["info/L3", "info/MB", "mon_groups", "gold/mon_groups"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("info/last_cmd_status"), "ok\n").unwrap();
    fs::write(root.join("gold/schemata"), "    MB:0=100;1=50\n    L3:0=0ff;1=0f0\n").unwrap();
    Fake(root)
}

fn plan(root: &Path, wanted: &Value) -> Rdt {
    let resctrl = tare::testing::host::probe::resctrl::read_resctrl(root.into());
    let wanted = serde_json::from_value(wanted.clone()).unwrap();
    tare::testing::plan::rdt::plan_rdt(Some(&wanted), Some(&resctrl), &ContainerId::parse("id").unwrap())
        .unwrap()
        .unwrap()
}

#[test]
fn a_class_of_its_own_is_made_filled_joined_and_removed() {
    let fake = fake("own");
    let plan =
        plan(&fake.0, &json!({"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20", "schemata": ["L2:0=1"]}));
    let record = rdt::to_record(&plan);
    rdt::make(&plan).unwrap();
    rdt::join(&record, 42).unwrap();
    let class = fake.0.join("id");
    assert_eq!(fs::read_to_string(class.join("schemata")).unwrap(), "L3:0=f\nMB:0=20\nL2:0=1\n");
    assert_eq!(fs::read_to_string(class.join("tasks")).unwrap(), "42");
    for file in ["schemata", "tasks"] {
        fs::remove_file(class.join(file)).unwrap();
    }
    rdt::remove(&record).unwrap();
    assert!(!class.exists());
    // Again, as after a `delete` that was interrupted.
    rdt::remove(&record).unwrap();
}

#[test]
fn what_was_there_before_stays() {
    let fake = fake("before");
    for wanted in [json!({}), json!({"closID": "gold"}), json!({"closID": "/"})] {
        fs::create_dir_all(fake.0.join("id")).unwrap();
        let plan = plan(&fake.0, &wanted);
        let record = rdt::to_record(&plan);
        rdt::make(&plan).unwrap();
        rdt::join(&record, 42).unwrap();
        rdt::remove(&record).unwrap();
        assert_eq!(fs::read_to_string(plan.class.join("tasks")).unwrap(), "42", "{wanted}");
    }
}

#[test]
fn a_monitoring_group_is_the_containers_own_in_anybodys_class() {
    let fake = fake("monitor");
    let plan = plan(&fake.0, &json!({"closID": "gold", "enableMonitoring": true}));
    let record = rdt::to_record(&plan);
    rdt::make(&plan).unwrap();
    rdt::join(&record, 42).unwrap();
    let monitor = fake.0.join("gold/mon_groups/id");
    for directory in [&fake.0.join("gold"), &monitor] {
        assert_eq!(fs::read_to_string(directory.join("tasks")).unwrap(), "42");
    }
    fs::remove_file(monitor.join("tasks")).unwrap();
    rdt::remove(&record).unwrap();
    assert!(!monitor.exists() && fake.0.join("gold/tasks").exists());
}

#[test]
fn an_existing_class_must_agree() {
    let fake = fake("agree");
    for agreeing in [
        json!({"closID": "gold", "l3CacheSchema": "L3:0=ff;1=f0"}),
        json!({"closID": "gold", "l3CacheSchema": "L3:1=00f0", "memBwSchema": "MB: 1=50"}),
    ] {
        rdt::make(&plan(&fake.0, &agreeing)).unwrap();
        fs::write(fake.0.join("gold/schemata"), "    MB:0=100;1=50\n    L3:0=0ff;1=0f0\n").unwrap();
    }
    for (other, line) in [
        (json!({"closID": "gold", "l3CacheSchema": "L3:0=f"}), "L3:0=f"),
        (json!({"closID": "gold", "memBwSchema": "MB:7=50"}), "MB:7=50"),
    ] {
        let error = rdt::make(&plan(&fake.0, &other)).unwrap_err().to_string();
        assert!(
            error.starts_with("/linux/intelRdt: class ")
                && error.ends_with(&format!("does not agree with {line:?}")),
            "{error}"
        );
    }
    // What stands in `schemata` is written over what is there.
    rdt::make(&plan(&fake.0, &json!({"closID": "gold", "schemata": ["L3:0=1"]}))).unwrap();
    assert_eq!(fs::read_to_string(fake.0.join("gold/schemata")).unwrap(), "L3:0=1\n");
}

#[test]
fn a_class_that_nobody_has_set_up_is_refused_where_it_must_be() {
    let fake = fake("missing");
    let error = rdt::make(&plan(&fake.0, &json!({"closID": "silver"}))).unwrap_err().to_string();
    assert!(error.contains("clos dir not accessible"), "{error}");
    assert!(!fake.0.join("silver").exists());
    rdt::make(&plan(&fake.0, &json!({"closID": "silver", "schemata": ["L3:0=1"]}))).unwrap();
    assert!(fake.0.join("silver").exists());
}

#[test]
fn a_failure_comes_with_the_words_of_resctrl() {
    let fake = fake("words");
    fs::write(fake.0.join("info/last_cmd_status"), "mask f has non-consecutive 1-bits\n").unwrap();
    fs::create_dir_all(fake.0.join("id/schemata")).unwrap();
    let error = rdt::make(&plan(&fake.0, &json!({"l3CacheSchema": "L3:0=5"}))).unwrap_err();
    assert_eq!(error.hint(), Some("last_cmd_status: mask f has non-consecutive 1-bits"));
}

/// The record of a container that lives, as if it had been made with these directories.
fn with_directories(bundle: &Bundle, root: &Path, remove_class: bool) {
    let path = bundle.state_root().join(&bundle.id).join("state.json");
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["rdt"] = json!({"root": root, "class": root.join("gold"), "remove_class": remove_class,
        "monitor": root.join("gold/mon_groups/id")});
    fs::write(path, record.to_string()).unwrap();
}

#[test]
fn exec_joins_update_writes_and_delete_removes() {
    let fake = fake("verbs");
    let Some(mut bundle) = Bundle::new() else { return };
    let monitor = fake.0.join("gold/mon_groups/id");
    fs::create_dir_all(&monitor).unwrap();
    bundle.up();
    bundle
        .tare(&["update", "--l3-cache-schema", "L3:0=1", &bundle.id])
        .fails(1, "the container was created without intelRdt");
    with_directories(&bundle, &fake.0, false);
    bundle.exec(&["true"]).ok();
    for directory in [&fake.0.join("gold"), &monitor] {
        let task: i32 = fs::read_to_string(directory.join("tasks")).unwrap().parse().unwrap();
        assert!(task > 0);
    }
    bundle.tare(&["update", "--l3-cache-schema", "L3:0=1", "--mem-bw-schema", "MB:0=9", &bundle.id]).ok();
    assert_eq!(fs::read_to_string(fake.0.join("gold/schemata")).unwrap(), "L3:0=1\nMB:0=9\n");
    fs::remove_file(monitor.join("tasks")).unwrap();
    bundle.delete_force().ok();
    assert!(!monitor.exists() && fake.0.join("gold").exists());
}

#[test]
fn without_resctrl_the_field_is_refused() {
    if Path::new("/sys/fs/resctrl/schemata").exists() {
        return support::skip("needs a host without resctrl");
    }
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| config["linux"]["intelRdt"] = json!({}));
    bundle.run().fails(1, "/linux/intelRdt: intelRdt is specified in config, but Intel RDT is not enabled");
    bundle.leaves_nothing();
}
