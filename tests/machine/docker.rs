//! Docker with the systemd driver, tare as its default runtime.

use std::sync::Once;

use crate::{assert_lines, attempt, ours, sh};

/// Once: the daemon stays up for all of them.
fn daemon() -> bool {
    static ONCE: Once = Once::new();
    if !ours() {
        return false;
    }
    ONCE.call_once(|| {
        sh(r#"mkdir -p /etc/docker
            echo '{"runtimes":{"tare":{"path":"'$TARE'"}},"default-runtime":"tare","exec-opts":["native.cgroupdriver=systemd"]}' \
                >/etc/docker/daemon.json
            systemctl start docker"#);
    });
    true
}

#[test]
fn limits_hold_in_a_scope_of_systemds_and_change() {
    if !daemon() {
        return;
    }
    assert_lines(
        &sh("docker info -f '{{.CgroupDriver}} {{.CgroupVersion}} {{.DefaultRuntime}}'"),
        &["systemd 2 tare"],
    );
    let said = sh("docker run -d --name kept --memory 64m --memory-swap 96m --cpus 0.5 --pids-limit 50 busybox sleep 1000
        docker exec kept sh -c 'cd /sys/fs/cgroup && grep . memory.max memory.swap.max cpu.max pids.max'
        systemctl show -p MemoryMax,TasksMax,CPUQuotaPerSecUSec docker-$(docker inspect -f '{{.Id}}' kept).scope
        docker update --memory 128m --memory-swap 256m kept
        docker exec kept cat /proc/self/attr/current /sys/fs/cgroup/memory.max
        docker stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' kept
        docker pause kept && docker inspect -f '{{.State.Status}}' kept && docker unpause kept
        docker rm -f kept");
    assert_lines(
        &said,
        &[
            "memory.max:67108864",
            "memory.swap.max:33554432",
            "cpu.max:50000 100000",
            "pids.max:50",
            "MemoryMax=67108864",
            "TasksMax=50",
            "CPUQuotaPerSecUSec=500ms",
            "docker-default (enforce)",
            "134217728",
            "paused",
        ],
    );
    assert!(said.lines().any(|line| line.ends_with("/ 128MiB 1")), "{said}");
}

#[test]
fn a_container_killed_for_its_memory_says_so() {
    if daemon() {
        // systemd removes an empty scope at once, now and then before containerd's shim has read why it is empty
        // (containerd 2.1, whatever the runtime). So more than one may be killed before Docker tells the reason.
        let hog = || {
            attempt(
                "docker run --name hog --memory 16m busybox sh -c 'x=aaaaaaaa; while :; do x=$x$x; done'",
            );
            sh("docker inspect -f '{{.State.OOMKilled}} {{.State.ExitCode}}' hog; docker rm hog")
        };
        let said = (0..5).map(|_| hog()).find(|said| !said.starts_with("false 137")).unwrap_or_else(hog);
        assert_lines(&said, &["true 137"]);
    }
}

#[test]
fn privileged_and_with_limits_raised() {
    if daemon() {
        let said = sh("docker run --rm --privileged --ulimit rtprio=50:50 --oom-score-adj -500 busybox \
            sh -c 'ulimit -r; cat /proc/self/attr/current /proc/self/oom_score_adj; grep CapEff /proc/self/status'");
        assert_lines(&said, &["50", "unconfined", "-500"]);
        // All that Docker knows: of version 20 the kernel has three more.
        let all = ["CapEff:\t0000003fffffffff", "CapEff:\t000001ffffffffff"];
        assert!(said.lines().any(|line| all.contains(&line)), "{said}");
    }
}
