//! `delete`: of what, and what is left.

use std::fs;

use crate::support::run::Running;
use crate::support::{Bundle, wait_until};

#[test]
fn a_running_container_is_not_deleted() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let words = format!("cannot delete container {} that is not stopped: running", bundle.id);
    bundle.delete().fails(1, &words);
    assert_eq!(bundle.status(), "running");
    bundle.exec(&["true"]).ok();
}

#[test]
fn a_running_container_is_deleted_by_force() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    bundle.delete_force().ok();
    bundle.leaves_nothing();
    bundle.delete_force().ok();
    bundle.delete().fails(1, "container does not exist");
}

#[test]
fn a_created_container_is_deleted() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.create().ok();
    bundle.delete().ok();
    bundle.leaves_nothing();
}

#[test]
fn force_on_an_unknown_container_is_no_failure() {
    let Some(bundle) = Bundle::new() else { return };
    let answer = bundle.delete_force().ok();
    assert_eq!((&*answer.stdout, &*answer.stderr), ("", ""));
    fs::remove_dir(bundle.state_root()).unwrap();
    bundle.delete_force().ok();
}

#[test]
fn force_ends_a_container_that_ignores_signals() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.writable().script("trap '' TERM INT HUP; echo > /ready; while :; do sleep 1; done");
    bundle.create().ok();
    bundle.start().ok();
    wait_until("ready", || bundle.rootfs().join("ready").exists());
    bundle.kill("TERM").ok();
    bundle.delete_force().ok();
    bundle.leaves_nothing();
}

#[test]
fn a_bundle_that_is_gone_does_not_hinder() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let elsewhere = bundle.dir.with_extension("moved");
    let state = bundle.dir.with_extension("state");
    fs::rename(bundle.state_root(), &state).unwrap();
    fs::rename(&bundle.dir, &elsewhere).unwrap();
    fs::create_dir(&bundle.dir).unwrap();
    fs::rename(&state, bundle.state_root()).unwrap();
    bundle.delete_force().ok();
    bundle.leaves_nothing();
    fs::remove_dir_all(elsewhere).unwrap();
}

#[test]
fn a_directory_that_is_no_containers_keeps_its_files() {
    let Some(bundle) = Bundle::new() else { return };
    let dir = bundle.state_root().join(&bundle.id);
    std::fs::create_dir_all(dir.join("below")).unwrap();
    for name in ["photo", "below/letter"] {
        std::fs::write(dir.join(name), name).unwrap();
    }
    // Another runtime's container, whose processes would be nobody's.
    let other = r#"{"id":"x","init_process_pid":1,"init_process_start":5}"#;
    for record in [None, Some(""), Some(other)] {
        if let Some(record) = record {
            std::fs::write(dir.join("state.json"), record).unwrap();
        }
        assert_ne!(bundle.tare(&["delete", &bundle.id]).code, 0);
        bundle.delete_force().fails(1, "its processes and control groups are not known");
        for name in ["photo", "below/letter"] {
            assert_eq!(std::fs::read_to_string(dir.join(name)).unwrap(), name);
        }
    }
    for name in ["photo", "below/letter"] {
        std::fs::remove_file(dir.join(name)).unwrap();
    }
    std::fs::remove_dir(dir.join("below")).unwrap();
    bundle.delete_force().fails(1, "its processes and control groups are not known");
    assert!(dir.join("state.json").exists());
    // What a creation that was killed has left is taken away.
    std::fs::write(dir.join("state.json"), "").unwrap();
    bundle.delete_force().ok();
    assert!(!dir.exists());
}

#[test]
fn the_processes_of_another_container_in_the_same_group_live_on() {
    let (Some(mut ended), Some(mut lives)) = (Bundle::new(), Bundle::new()) else { return };
    let path = format!("/{}", ended.id);
    for bundle in [&mut ended, &mut lives] {
        bundle.patch(|config| config["linux"]["cgroupsPath"] = path.as_str().into());
    }
    ended.args(&["true"]).create().ok();
    ended.start().ok();
    wait_until("it has ended", || ended.status() == "stopped");
    lives.args(&["sleep", "1000"]).create().ok();
    lives.start().ok();
    ended.tare(&["kill", "--all", &ended.id, "KILL"]).ok();
    assert_eq!(lives.status(), "running");
    let deleted = Running::start(&mut ended.command(&["delete", "--force", &ended.id]));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(lives.status(), "running");
    lives.delete_force().ok();
    // It has waited until nobody is in the group.
    deleted.wait().ok();
}
