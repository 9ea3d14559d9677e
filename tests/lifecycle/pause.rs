//! `pause` and `resume`.

use crate::support::{Bundle, wait_until};

#[test]
fn a_paused_container_does_not_run_until_it_is_resumed() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.writable().script("while :; do echo >> /ticks; sleep 0.01; done");
    bundle.create().ok();
    bundle.start().ok();
    let ticks = || std::fs::metadata(bundle.rootfs().join("ticks")).map_or(0, |metadata| metadata.len());
    wait_until("a tick", || ticks() > 0);
    bundle.tare(&["pause", &bundle.id]).ok();
    assert_eq!(bundle.status(), "paused");
    let before = ticks();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(ticks(), before);
    bundle.tare(&["resume", &bundle.id]).ok();
    assert_eq!(bundle.status(), "running");
    wait_until("more ticks", || ticks() > before);
}

#[test]
fn what_is_not_possible_in_a_state_is_refused() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    bundle.tare(&["resume", &bundle.id]).fails(1, "container not paused");
    bundle.tare(&["pause", &bundle.id]).ok();
    bundle.tare(&["pause", &bundle.id]).fails(1, "container not running or created: paused");
    bundle.exec(&["true"]).fails(255, "cannot exec in a paused container (use --ignore-paused to override)");
    bundle.start().fails(1, "cannot start a container in the paused state");
    bundle.delete().fails(1, "that is not stopped: paused");
    bundle.tare(&["resume", &bundle.id]).ok();
    bundle.kill("KILL").ok();
    bundle.wait_until_stopped();
    bundle.tare(&["pause", &bundle.id]).fails(1, "container not running or created: stopped");
    bundle.tare(&["resume", &bundle.id]).fails(1, "container not paused");
}

#[test]
fn a_created_container_can_be_paused() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.create().ok();
    bundle.tare(&["pause", &bundle.id]).ok();
    assert_eq!(bundle.status(), "paused");
    bundle.tare(&["resume", &bundle.id]).ok();
    assert_eq!(bundle.status(), "created");
    bundle.start().ok();
}

#[test]
fn a_paused_container_dies_of_sigkill_and_of_force() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    bundle.tare(&["pause", &bundle.id]).ok();
    bundle.kill("KILL").ok();
    bundle.wait_until_stopped();
    bundle.delete().ok();
    bundle.leaves_nothing();
    bundle.up();
    bundle.tare(&["pause", &bundle.id]).ok();
    bundle.delete_force().ok();
    bundle.leaves_nothing();
}
