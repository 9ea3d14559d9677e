//! The runtime is killed at any moment of a creation: `delete --force` cleans up, and the id is free.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::run::Running;
use crate::support::{Bundle, machine};

const POINTS: u32 = 40;

/// How long a creation takes here, now.
fn duration(bundle: &Bundle) -> Duration {
    let started = Instant::now();
    bundle.create().ok();
    let took = started.elapsed();
    bundle.delete_force().ok();
    took
}

fn sweep(bundle: &Bundle, verb: &str) {
    let whole = duration(bundle).max(Duration::from_millis(4));
    for point in 0..POINTS {
        let running = Running::start(&mut bundle.command(&[verb, &bundle.id]));
        std::thread::sleep(whole * point / POINTS);
        running.signal(Signal::SIGKILL);
        running.wait();
        bundle.delete_force().ok();
        bundle.leaves_nothing();
        bundle.delete_force().ok();
        bundle.tare(&["state", &bundle.id]).fails(1, "container does not exist");
    }
    bundle.create().ok();
    bundle.delete().ok();
    bundle.leaves_nothing();
}

#[test]
fn create() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sleep", "1000"]);
    sweep(&bundle, "create");
}

#[test]
fn create_in_a_user_namespace() {
    let Some(mut bundle) = Bundle::new() else { return };
    // Through a helper process: time offsets take one.
    bundle.user_namespace().namespace("time", None).args(&["sleep", "1000"]);
    bundle.patch(|config| config["linux"]["timeOffsets"] = serde_json::json!({"boottime": {"secs": 5}}));
    sweep(&bundle, "create");
}

#[test]
fn create_without_a_pid_namespace() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.without_namespace("pid").args(&["sleep", "1000"]);
    sweep(&bundle, "create");
}

#[test]
fn run() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sleep", "1000"]);
    sweep(&bundle, "run");
}

#[test]
fn exec_leaves_no_process_in_the_runtimes_name() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let started = Instant::now();
    bundle.exec(&["true"]).ok();
    let whole = started.elapsed();
    for point in 0..POINTS {
        let running = Running::start(&mut bundle.command(&["exec", &bundle.id, "true"]));
        std::thread::sleep(whole * point / POINTS);
        running.signal(Signal::SIGKILL);
        running.wait();
    }
    crate::support::wait_until("the rest to end", || machine::processes(&bundle.id).len() == 1);
    assert_eq!(bundle.status(), "running");
    bundle.exec(&["true"]).ok();
}

#[test]
fn a_container_whose_process_has_died_unseen_is_stopped() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.up();
    let pid = nix::unistd::Pid::from_raw(bundle.pid().parse().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
    bundle.wait_until_stopped();
    bundle.delete().ok();
    bundle.leaves_nothing();
}
