//! `run`: create, start, wait and delete in one.

use nix::sys::signal::Signal;

use crate::support::run::Running;
use crate::support::{Bundle, machine, wait_until};

#[test]
fn the_code_is_the_containers_and_nothing_is_left() {
    let Some(mut bundle) = Bundle::new() else { return };
    for (script, code) in [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$", 0)] {
        // The kernel lets no process of a pid namespace kill its first one.
        assert_eq!(bundle.script(script).run().code, code, "{script}");
        bundle.leaves_nothing();
    }
    bundle.without_namespace("pid");
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139)] {
        assert_eq!(bundle.script(&format!("kill -{signal} $$")).run().code, code, "{signal}");
        bundle.leaves_nothing();
    }
}

#[test]
fn streams_are_passed_through() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("cat; echo err >&2");
    let words = ["run", &*bundle.id];
    let answer = bundle.tare_by("echo typed | \"$@\"", &words).ok();
    assert_eq!((&*answer.stdout, &*answer.stderr), ("typed\n", "err\n"));
}

#[test]
fn signals_go_to_the_container() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.writable().script("trap 'exit 42' TERM; echo > /ready; while :; do sleep 0.02; done");
    let running = Running::start(&mut bundle.command(&["run", &bundle.id]));
    wait_until("ready", || bundle.rootfs().join("ready").exists());
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().code, 42);
    bundle.leaves_nothing();
}

#[test]
fn a_kept_container_is_stopped_and_there() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.tare(&["run", "--keep", &bundle.id]).ok();
    assert_eq!(bundle.status(), "stopped");
    bundle.delete().ok();
    bundle.leaves_nothing();
}

#[test]
fn a_detached_one_runs_on() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sleep", "1000"]);
    bundle.tare(&["run", "-d", "--pid-file", "pid", &bundle.id]).ok();
    assert_eq!(bundle.status(), "running");
    assert_eq!(bundle.read("pid"), bundle.pid());
    bundle.kill("KILL").ok();
    bundle.wait_until_stopped();
    bundle.delete().ok();
    bundle.leaves_nothing();
}

#[test]
fn a_runtime_that_is_killed_leaves_a_container_that_runs_on() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sleep", "1000"]);
    let running = Running::start(&mut bundle.command(&["run", &bundle.id]));
    wait_until("running", || bundle.tare(&["state", &bundle.id]).stdout.contains("running"));
    running.signal(Signal::SIGKILL);
    assert_eq!(running.wait().code, -9);
    assert_eq!(bundle.status(), "running");
    assert!(machine::is_alive(&bundle.pid()));
    bundle.delete_force().ok();
    bundle.leaves_nothing();
}

#[test]
fn orphans_are_reaped() {
    let Some(mut bundle) = Bundle::new() else { return };
    // Without a pid namespace of its own, what the container leaves behind becomes the runtime's.
    bundle.without_namespace("pid").script("(sleep 0.05 &); (sh -c 'exit 3' &); sleep 0.15; exit 5");
    assert_eq!(bundle.run().code, 5);
    bundle.leaves_nothing();
}

#[test]
fn a_failure_leaves_nothing() {
    let Some(mut bundle) = Bundle::new() else { return };
    let answer = bundle
        .args(&["/nosuch"])
        .run()
        .fails(1, "exec: \"/nosuch\": stat /nosuch: no such file or directory");
    assert!(answer.message().contains("run failed: unable to start container process: "), "{answer:?}");
    bundle.leaves_nothing();
}
