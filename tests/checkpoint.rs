//! `checkpoint` and `restore`, by CRIU where it works.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::fs;
use std::process::Command;

use support::{Bundle, skip, wait_until};

/// Counts, in memory alone, and shows the count.
const COUNTS: &str = "n=0; while :; do n=$((n + 1)); echo $n >/tmp/n; sleep 0.05; done";

fn bundle() -> Option<Bundle> {
    let checked = Command::new("criu").arg("check").output();
    let Ok(checked) = checked else {
        skip("needs criu");
        return None;
    };
    if !checked.status.success() {
        skip(&format!("needs a criu that works here: {}", String::from_utf8_lossy(&checked.stderr)));
        return None;
    }
    let mut bundle = Bundle::new()?;
    bundle.writable().script(COUNTS);
    Some(bundle)
}

/// With streams that CRIU can save.
fn start(bundle: &Bundle) {
    bundle.tare_by("exec \"$@\" </dev/null >/dev/null 2>&1", &["run", "--detach", &bundle.id]).ok();
    counts(bundle, 3);
}

fn restore(bundle: &Bundle, more: &[&str]) {
    let mut args = vec!["restore", "--detach"];
    args.extend(more);
    args.push(&bundle.id);
    bundle.tare_by("exec \"$@\" </dev/null >/dev/null 2>err", &args);
    let told = bundle.read("err");
    assert_eq!(bundle.status(), "running", "{told} {}", bundle.read("checkpoint/restore.log"));
}

fn count(bundle: &Bundle) -> u32 {
    bundle.read("rootfs/tmp/n").trim().parse().unwrap_or(0)
}

fn counts(bundle: &Bundle, to: u32) {
    wait_until("it counts", || count(bundle) >= to);
}

#[track_caller]
fn checkpoint(bundle: &Bundle, more: &[&str]) {
    let mut args = vec!["checkpoint"];
    args.extend(more);
    args.push(&bundle.id);
    let answer = bundle.tare(&args);
    assert_eq!(answer.code, 0, "{answer:?} {}", bundle.read("checkpoint/dump.log"));
}

#[test]
fn a_restored_container_goes_on_where_it_was() {
    let Some(bundle) = bundle() else { return };
    start(&bundle);
    for _ in 0..2 {
        checkpoint(&bundle, &[]);
        bundle.leaves_nothing();
        let before = count(&bundle);
        fs::write(bundle.path("rootfs/tmp/n"), "").unwrap();
        restore(&bundle, &["--pid-file", "pid"]);
        wait_until("it counts again", || count(&bundle) > 0);
        assert!(count(&bundle) > before, "{before} {}", count(&bundle));
        assert_eq!(bundle.read("pid"), bundle.pid());
    }
    assert_eq!(bundle.exec(&["cat", "/proc/1/comm"]).ok().stdout, "sh\n");
    bundle.delete_force().ok();
    bundle.leaves_nothing();
}

#[test]
fn a_checkpoint_may_let_it_run_on() {
    let Some(bundle) = bundle() else { return };
    start(&bundle);
    checkpoint(&bundle, &["--leave-running", "--image-path", "images", "--work-path", "work"]);
    assert!(fs::exists(bundle.path("work/dump.log")).unwrap());
    assert!(fs::exists(bundle.path("images/descriptors.json")).unwrap());
    counts(&bundle, count(&bundle) + 3);
    assert_eq!(bundle.status(), "running");
}

#[test]
fn memory_can_be_saved_ahead() {
    let Some(bundle) = bundle() else { return };
    start(&bundle);
    checkpoint(&bundle, &["--pre-dump", "--image-path", "ahead", "--work-path", "checkpoint"]);
    assert_eq!(bundle.status(), "running");
    checkpoint(&bundle, &["--parent-path", "../ahead", "--image-path", "rest", "--work-path", "checkpoint"]);
    bundle.leaves_nothing();
    let before = count(&bundle);
    restore(&bundle, &["--image-path", "rest", "--work-path", "checkpoint"]);
    counts(&bundle, before + 3);
}

#[test]
fn an_attached_restore_stands_for_the_process() {
    let Some(mut bundle) = bundle() else { return };
    bundle.script("n=0; until [ -e /tmp/end ]; do n=$((n + 1)); echo $n >/tmp/n; sleep 0.05; done; exit 3");
    start(&bundle);
    checkpoint(&bundle, &[]);
    fs::write(bundle.path("rootfs/tmp/end"), "").unwrap();
    let answer = bundle.tare_by("exec \"$@\" </dev/null >/dev/null 2>err", &["restore", &bundle.id]);
    assert_eq!(answer.code, 3, "{} {}", bundle.read("err"), bundle.read("checkpoint/restore.log"));
    bundle.leaves_nothing();
}

#[test]
fn pipes_get_new_other_ends() {
    let Some(mut bundle) = bundle() else { return };
    bundle.script("read one; echo got $one >/tmp/n; read two; echo and $two");
    let run = "mkfifo in; exec 9<>in; \"$@\" <&9 2>/dev/null | cat >out & echo first >in; sleep 1";
    bundle.tare_by(run, &["run", "--detach", &bundle.id]);
    wait_until("it has read", || bundle.read("rootfs/tmp/n") == "got first\n");
    let names = bundle.path("checkpoint/descriptors.json");
    let answer = bundle.tare(&["checkpoint", &bundle.id]);
    // The fifo is a file of the host's: what is at fault is told, and the container goes on.
    if answer.code != 0 {
        assert!(answer.told().contains("criu failed"), "{answer:?}");
        assert_eq!(bundle.status(), "running");
    }
    assert!(fs::read_to_string(names).unwrap().contains("pipe:["));
}

#[test]
fn what_cannot_be_saved_is_refused() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["sleep", "1000"]).create().ok();
    bundle.tare(&["checkpoint", &bundle.id]).fails(1, "Container cannot be checkpointed in created state");
    bundle.start().ok();
    bundle
        .tare_by("PATH=/nowhere exec \"$@\"", &["checkpoint", &bundle.id])
        .fails(1, "criu is not installed");
    assert_eq!(bundle.status(), "running");
    bundle
        .tare(&["checkpoint", "--parent-path", "none", &bundle.id])
        .fails(1, "invalid --parent-path: checkpoint/none: no such file or directory");
    bundle.delete_force().ok();
    let none = bundle.tare_by("PATH=/nowhere exec \"$@\"", &["restore", "--detach", &bundle.id]);
    none.fails(1, "");
    bundle.leaves_nothing();
    // The rootfs has not gone with the state.
    assert!(fs::exists(bundle.path("rootfs/bin/busybox")).unwrap());
}
