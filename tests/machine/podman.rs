//! Podman as Debian sets it up, with the systemd driver: as root by the system's manager, and as a user by their own.

use crate::{assert_lines, ours, sh};

const LIMITS: &str = "--memory 64m --cpus 0.5 --pids-limit 50";
const SHOW: &str = "cd /sys/fs/cgroup && grep . memory.max memory.swap.max cpu.max pids.max";
const WANT: [&str; 4] =
    ["memory.max:67108864", "memory.swap.max:67108864", "cpu.max:50000 100000", "pids.max:50"];

/// `podman` as root, or as the tester under the manager of their own.
fn podman(user: bool) -> &'static str {
    if user { "as-tester podman --runtime $TARE" } else { "podman --runtime $TARE" }
}

fn limits_hold_are_counted_and_change(user: bool) {
    let podman = podman(user);
    assert_lines(&sh(&format!("{podman} run --rm {LIMITS} busybox sh -c '{SHOW}'")), &WANT);
    // The service that `as-tester` is ends with its command, and the container with it: all in one.
    let script = format!(
        "{podman} run -d --name kept {LIMITS} busybox sleep 1000
        {podman} stats --no-stream --format '{{{{.Name}}}} {{{{.PIDs}}}} {{{{.MemUsage}}}}'
        {podman} update --memory 128m --cpus 1 kept
        {podman} exec kept sh -c '{SHOW}'
        {podman} rm -f -t 0 kept"
    )
    .replace("as-tester ", "");
    let line = if user { format!("as-tester env TARE=$TARE bash -ec \"{script}\"") } else { script };
    let said = sh(&line);
    // `podman update` reads the counts of every container, also of one that has just ended.
    let said: String =
        said.lines().filter(|line| !line.contains("cgroup stats")).map(|line| format!("{line}\n")).collect();
    assert!(said.lines().any(|line| line.starts_with("kept 1 ") && line.ends_with("67.11MB")), "{said}");
    assert_lines(&said, &["memory.max:134217728", "cpu.max:100000 100000", "pids.max:50"]);
    assert!(!said.contains("level="), "exec says nothing of its own: {said}");
}

#[test]
fn as_root() {
    if ours() {
        limits_hold_are_counted_and_change(false);
    }
}

#[test]
fn without_root() {
    if ours() {
        limits_hold_are_counted_and_change(true);
    }
}

/// conmon leaves word of the kill in a file of its working directory, and Podman 4.3 looks for it in the container's: it
/// learns of a kill only from a conmon that it started there, whatever the runtime. And where the container has ended before
/// conmon has looked at its group's memory.events, nobody learns of it: there are five chances.
#[test]
fn a_container_killed_for_its_memory_says_so() {
    if !ours() {
        return;
    }
    for runtime in ["$TARE", "crun"] {
        let hog = "x=aaaaaaaa; while :; do x=$x$x; done";
        let said = (0..5).map(|_| {
            sh(&format!("podman --runtime {runtime} create --name hog --memory 16m busybox sh -c '{hog}'"));
            crate::attempt("cd $(podman inspect -f '{{.StaticDir}}' hog) && podman start -a hog");
            sh("podman inspect -f '{{.State.ExitCode}} {{.State.OOMKilled}}' hog; podman rm hog")
        });
        assert!(said.into_iter().any(|said| said.starts_with("137 true")), "{runtime}: not told once");
    }
}

#[test]
fn the_profile_of_apparmor_is_podmans_own() {
    if ours() {
        let said = sh("podman --runtime $TARE run --rm busybox cat /proc/self/attr/current");
        assert!(said.starts_with("containers-default-") && said.ends_with(" (enforce)"), "{said}");
    }
}
