//! What is done through the container's control group: all processes told, killed and removed.

use std::fs;

use crate::support::{Bundle, machine, wait_until};

#[test]
fn kill_in_a_shared_pid_namespace_ends_all_processes() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.without_namespace("pid").script("sleep 1000 & exec sleep 1000");
    bundle.create().ok();
    bundle.start().ok();
    wait_until("both", || machine::processes(&bundle.id).len() == 2);
    bundle.kill("KILL").ok();
    wait_until("none", || machine::processes(&bundle.id).is_empty());
    bundle.delete().ok();
    bundle.leaves_nothing();
}

#[test]
fn kill_in_a_shared_pid_namespace_ends_those_that_outlived_the_first() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.without_namespace("pid").script("sleep 1000 & exit 0");
    bundle.create().ok();
    bundle.start().ok();
    bundle.wait_until_stopped();
    assert_eq!(machine::processes(&bundle.id).len(), 1);
    bundle.kill("TERM").fails(1, "container not running");
    bundle.kill("KILL").ok();
    wait_until("none", || machine::processes(&bundle.id).is_empty());
    bundle.delete().ok();
    bundle.leaves_nothing();
}

#[test]
fn processes_that_outlived_the_first_in_a_shared_pid_namespace_go_with_it() {
    let Some(mut bundle) = Bundle::new() else { return };
    for force in [false, true] {
        bundle.without_namespace("pid").script("sleep 1000 & exit 0");
        bundle.create().ok();
        bundle.start().ok();
        bundle.wait_until_stopped();
        assert_eq!(machine::processes(&bundle.id).len(), 1);
        if force { bundle.delete_force() } else { bundle.delete() }.ok();
        bundle.leaves_nothing();
    }
}

#[test]
fn groups_that_the_container_made_below_its_own_go_with_it() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let mut made = 0;
    for group in machine::groups(&bundle.id) {
        fs::create_dir_all(group.join("below/it")).unwrap();
        made += 1;
    }
    assert!(made > 0);
    bundle.delete_force().ok();
    bundle.leaves_nothing();
}

#[test]
fn ps_tells_the_processes_as_the_host_numbers_them() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("sleep 1000 & exec sleep 1000");
    bundle.create().ok();
    bundle.start().ok();
    wait_until("both", || machine::processes(&bundle.id).len() == 2);
    let mut all = machine::processes(&bundle.id);
    all.sort_unstable();
    let mut told: Vec<i32> =
        serde_json::from_value(bundle.tare(&["ps", "-f", "json", &bundle.id]).ok().json()).unwrap();
    told.sort_unstable();
    assert_eq!(told, all);
    let table = bundle.tare(&["ps", &bundle.id]).ok();
    assert!(table.lines()[0].contains("PID") && table.lines().len() == 3, "{table:?}");
    let table = bundle.tare(&["ps", &bundle.id, "-o", "pid,comm"]).ok();
    assert_eq!(table.lines()[0].split_whitespace().collect::<Vec<_>>(), ["PID", "COMMAND"]);
    assert!(table.lines()[1..].iter().all(|line| line.ends_with("sleep")), "{table:?}");
}

#[test]
fn ps_of_a_stopped_container_is_a_header() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.create().ok();
    bundle.start().ok();
    bundle.wait_until_stopped();
    assert_eq!(bundle.tare(&["ps", &bundle.id]).ok().lines().len(), 1);
    assert_eq!(bundle.tare(&["ps", "-f", "json", &bundle.id]).ok().stdout, "null\n");
}
