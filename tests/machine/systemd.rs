//! The systemd driver with the manager that the machine booted with, and with a user's.

use serde_json::{Value, json};

use crate::support::{Bundle, wait_until};
use crate::{assert_lines, attempt, ours, sh};

fn bundle(name: &str) -> Option<Bundle> {
    let mut bundle = ours().then(Bundle::new).flatten()?;
    bundle.globals = vec!["--systemd-cgroup".into()];
    let path = format!(":tare:{name}");
    bundle.patch(|config| config["linux"]["cgroupsPath"] = json!(path));
    Some(bundle)
}

fn resources() -> Value {
    json!({
        "memory": {"limit": 67_108_864, "reservation": 33_554_432, "swap": 134_217_728},
        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0"},
        "pids": {"limit": 50},
        "unified": {"memory.high": "50331648"},
    })
}

const FILES: &str =
    "memory.max memory.low memory.high memory.swap.max cpu.max pids.max cpuset.cpus.effective";
const WANT: [&str; 7] = [
    "memory.max:67108864",
    "memory.low:33554432",
    "memory.high:50331648",
    "memory.swap.max:67108864",
    "cpu.max:50000 100000",
    "pids.max:50",
    "cpuset.cpus.effective:0",
];

#[test]
fn limits_are_properties_of_a_scope_and_outlive_a_reload() {
    let Some(mut bundle) = bundle("limits") else { return };
    bundle.patch(|config| {
        for (name, value) in resources().as_object().unwrap() {
            config["linux"]["resources"][name] = value.clone();
        }
    });
    bundle.up();
    let group = "/sys/fs/cgroup/system.slice/tare-limits.scope";
    sh("systemctl daemon-reload");
    assert_lines(&sh(&format!("cd {group} && grep . {FILES}")), &WANT);
    let shown = "systemctl show -p MemoryMax,MemoryLow,MemoryHigh,TasksMax,CPUQuotaPerSecUSec,AllowedCPUs tare-limits.scope";
    assert_lines(
        &sh(shown),
        &[
            "MemoryMax=67108864",
            "MemoryLow=33554432",
            "TasksMax=50",
            "CPUQuotaPerSecUSec=500ms",
            "AllowedCPUs=0",
        ],
    );
    bundle.tare(&["update", "--memory", "128M", "--pids-limit", "60", &bundle.id]).ok();
    sh("systemctl daemon-reload");
    let changed = sh(&format!("cd {group} && grep . {FILES}"));
    assert_lines(&changed, &["memory.max:134217728", "pids.max:60", "cpu.max:50000 100000"]);
    bundle.tare(&["pause", &bundle.id]).ok();
    assert_eq!(bundle.status(), "paused");
    bundle.tare(&["resume", &bundle.id]).ok();
    bundle.delete_force().ok();
    wait_until("the unit is gone", || !attempt("systemctl is-active tare-limits.scope").0);
    assert_lines(&sh("systemctl show -p LoadState tare-limits.scope"), &["LoadState=not-found"]);
}

#[test]
fn a_container_in_its_scope_reads_its_own_limits_and_divides_its_group() {
    let Some(mut bundle) = bundle("inside") else { return };
    bundle.patch(|config| config["linux"]["resources"]["pids"] = json!({"limit": 50}));
    let said = bundle.output_of("cat /proc/self/cgroup /sys/fs/cgroup/pids.max");
    assert_eq!(said, "0::/\n50\n");
}

#[test]
fn a_unit_that_failed_before_is_no_hindrance() {
    let Some(bundle) = bundle("again") else { return };
    attempt("systemd-run --scope --unit tare-again.scope -p MemoryMax=64K sh -c 'kill -9 $$'");
    assert_eq!(bundle.run().ok().code, 0);
}

/// By the user's own manager, in a user namespace, as somebody who may do nothing else.
#[test]
fn a_user_has_limits_by_their_own_manager() {
    if !ours() {
        return;
    }
    let said = sh(&format!(
        r#"rm -rf /home/tester/b; mkdir /home/tester/b; cp -a /opt/busybox /home/tester/b/rootfs; chown -R tester: /home/tester/b
        cp $TARE /home/tester/tare; chmod 755 /home/tester/tare
        as-tester bash -euc 'cd ~/b; ../tare spec --rootless
            jq ".process.terminal=false | .linux.cgroupsPath=\"user.slice:tare:mine\" | .linux.resources={resources}
                | .process.args=[\"sh\",\"-c\",\"cd /sys/fs/cgroup; grep . {FILES}\"]" config.json >c; mv c config.json
            ../tare --systemd-cgroup run mine
            jq ".process.args=[\"sleep\",\"1000\"]" config.json >c; mv c config.json
            ../tare --systemd-cgroup run -d mine
            systemctl --user show -p MemoryMax,TasksMax tare-mine.scope
            ../tare update --memory 128M mine
            ../tare exec mine cat /sys/fs/cgroup/memory.max
            ../tare pause mine; ../tare resume mine
            ../tare events --stats mine | jq .data.pids.limit
            ../tare delete --force mine
            systemctl --user show -p LoadState tare-mine.scope'"#,
        resources = resources().to_string().replace('"', "\\\"")
    ));
    assert_lines(&said, &WANT);
    assert_lines(&said, &["MemoryMax=67108864", "TasksMax=50", "134217728", "50", "LoadState=not-found"]);
}

#[test]
fn many_containers_leave_as_many_groups_as_there_were() {
    for driver in ["cgroupfs", "systemd"] {
        let Some(mut bundle) = bundle("many") else { return };
        if driver == "cgroupfs" {
            bundle.globals.clear();
            bundle.patch(|config| config["linux"]["cgroupsPath"] = json!("/tare-many"));
        }
        let count = || {
            let said = sh("grep descendants /sys/fs/cgroup/cgroup.stat");
            let number = |line: &str| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap();
            said.lines().map(number).collect::<Vec<_>>()
        };
        bundle.run().ok();
        let before = count();
        for _ in 0..20 {
            bundle.run().ok();
        }
        // Of the groups that were dying before, some may have gone by now.
        wait_until("no group is left", || count().iter().zip(&before).all(|(now, before)| now <= before));
    }
}
