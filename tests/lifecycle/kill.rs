//! `kill`: which signal, to whom.

use crate::support::{Bundle, machine, skip, wait_until};

#[test]
fn a_signal_reaches_the_first_process() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle
        .writable()
        .script("trap 'echo term > /got; exit' TERM; echo > /ready; while :; do sleep 0.02; done");
    bundle.create().ok();
    bundle.start().ok();
    wait_until("the trap", || bundle.rootfs().join("ready").exists());
    bundle.kill("0").ok();
    bundle.tare(&["kill", &bundle.id]).ok();
    bundle.wait_until_stopped();
    assert_eq!(std::fs::read_to_string(bundle.rootfs().join("got")).unwrap(), "term\n");
}

#[test]
fn a_signal_is_named_or_numbered() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.writable().script("trap 'echo >> /got' USR1; echo > /ready; while :; do sleep 0.02; done");
    bundle.create().ok();
    bundle.start().ok();
    wait_until("the trap", || bundle.rootfs().join("ready").exists());
    for (count, name) in ["USR1", "SIGUSR1", "sigusr1", "usr1", "10"].into_iter().enumerate() {
        bundle.kill(name).ok();
        let got = || std::fs::read_to_string(bundle.rootfs().join("got")).unwrap_or_default();
        wait_until(name, || got().lines().count() == count + 1);
    }
    for unknown in ["FOO", "99", "-1", "", "SIGSIGTERM", "9x"] {
        bundle.tare(&["kill", &bundle.id, unknown]).fails(1, &format!("unknown signal {unknown:?}"));
    }
    assert_eq!(bundle.status(), "running");
}

#[test]
fn a_created_container_can_be_killed() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.create().ok();
    bundle.kill("KILL").ok();
    bundle.wait_until_stopped();
}

#[test]
fn a_stopped_container_cannot_be_killed_unless_all_is_said() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.create().ok();
    bundle.start().ok();
    bundle.wait_until_stopped();
    for signal in ["TERM", "KILL", "0"] {
        bundle.kill(signal).fails(1, "container not running");
    }
    bundle.tare(&["kill", "--all", &bundle.id, "KILL"]).ok();
    bundle.tare(&["kill", "-a", &bundle.id, "TERM"]).ok();
}

#[test]
fn the_end_of_the_first_process_ends_all_of_its_pid_namespace() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("sleep 1000 & exec sleep 1000");
    bundle.create().ok();
    bundle.start().ok();
    wait_until("both", || machine::processes(&bundle.id).len() == 2);
    bundle.kill("KILL").ok();
    wait_until("none", || machine::processes(&bundle.id).is_empty());
}

#[test]
fn a_container_that_is_not_started_is_ended_by_signals_too() {
    for signal in ["TERM", "INT", "HUP", "QUIT", "KILL"] {
        let Some(mut bundle) = Bundle::new() else { return };
        bundle.args(&["sleep", "1000"]).create().ok();
        bundle.kill(signal).ok();
        bundle.wait_until_stopped();
        bundle.delete().ok();
    }
}

/// Freezes the container's processes in a group of v1 below its own, as a container that writes to its groups can. None
/// where there is no such freezer.
fn freeze_below(bundle: &Bundle) -> Option<()> {
    let Some(freezer) = machine::group_with(&bundle.id, "freezer.state") else {
        skip("needs the freezer of cgroup v1");
        return None;
    };
    let below = freezer.join("below");
    std::fs::create_dir(&below).unwrap();
    std::fs::write(below.join("cgroup.procs"), bundle.pid()).unwrap();
    std::fs::write(below.join("freezer.state"), "FROZEN").unwrap();
    wait_until("the freezing", || {
        std::fs::read_to_string(below.join("freezer.state")).is_ok_and(|state| state.trim() == "FROZEN")
    });
    Some(())
}

/// On v1 a frozen process dies only when it is thawed, and it may be frozen in a group of the container's own making.
#[test]
fn a_container_that_is_frozen_in_a_group_below_its_own_can_be_killed() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let Some(()) = freeze_below(&bundle) else { return };
    assert_eq!(bundle.status(), "running");
    bundle.kill("KILL").ok();
    bundle.wait_until_stopped();
    bundle.delete().ok();
}

#[test]
fn a_container_that_is_frozen_in_a_group_below_its_own_can_be_deleted_by_force() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let Some(()) = freeze_below(&bundle) else { return };
    bundle.delete_force().ok();
    assert!(machine::groups(&bundle.id).is_empty());
}

/// Somebody has paused the container, and it has frozen itself below.
#[test]
fn a_paused_container_that_is_frozen_below_too_can_be_deleted_by_force() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let Some(()) = freeze_below(&bundle) else { return };
    bundle.tare(&["pause", &bundle.id]).ok();
    bundle.delete_force().ok();
    assert!(machine::groups(&bundle.id).is_empty());
}
