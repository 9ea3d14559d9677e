//! What the process may no longer do or see: no new privileges, OOM score, sysctls, keyring, personality.

use std::fs;

use serde_json::json;

use crate::status;
use crate::support::Bundle;

#[test]
fn no_new_privileges_is_set_or_not() {
    let Some(mut bundle) = Bundle::new() else { return };
    for (wanted, value) in [(json!(true), "1"), (json!(false), "0"), (json!(null), "0")] {
        bundle.patch(|config| config["process"]["noNewPrivileges"] = wanted.clone());
        assert_eq!(status(&mut bundle, "NoNewPrivs"), value, "{wanted}");
    }
}

#[test]
fn the_oom_score_is_raised_or_inherited() {
    let Some(mut bundle) = Bundle::new() else { return };
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(bundle.output_of("cat /proc/self/oom_score_adj"), own);
    bundle.patch(|config| config["process"]["oomScoreAdj"] = json!(321));
    assert_eq!(bundle.output_of("cat /proc/self/oom_score_adj"), "321\n");
    bundle.user_namespace();
    assert_eq!(bundle.output_of("cat /proc/self/oom_score_adj"), "321\n");
}

#[test]
fn an_oom_score_that_may_not_be_lowered_is_told() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| config["process"]["oomScoreAdj"] = json!(-900));
    let answer = bundle.script("cat /proc/self/oom_score_adj").run();
    if answer.code == 0 {
        assert_eq!(answer.stdout, "-900\n");
    } else {
        answer.fails(1, "oom_score_adj: permission denied");
    }
    bundle.leaves_nothing();
}

#[test]
fn sysctls_of_the_containers_namespaces_are_set() {
    let Some(mut bundle) = Bundle::new() else { return };
    let host = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    let other = if host.trim() == "1" { "0" } else { "1" };
    bundle.patch(|config| {
        config["linux"]["sysctl"] = json!({
            "net.ipv4.ip_forward": other, "net.ipv4.ping_group_range": "0 5", "net/ipv4/conf/lo/forwarding": "1"
        });
    });
    let output =
        bundle.output_of("cd /proc/sys/net/ipv4; cat ip_forward ping_group_range conf/lo/forwarding");
    assert_eq!(output, format!("{other}\n0\t5\n1\n"));
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), host);
}

#[test]
fn a_sysctl_that_the_kernel_has_not_or_takes_not_is_told_by_its_name() {
    let Some(mut bundle) = Bundle::new() else { return };
    for (key, value, words) in [
        ("net.no.such", "1", "no such file or directory"),
        ("net.ipv4.ip_forward", "many", "invalid argument"),
        ("net.ipv4.ping_group_range", "x", "invalid argument"),
    ] {
        bundle.patch(|config| config["linux"]["sysctl"] = json!({ key: value }));
        let message = bundle.run().fails(1, words).message();
        assert!(message.contains(&format!("/linux/sysctl/{key}")), "{message}");
    }
    bundle.leaves_nothing();
}

#[test]
fn sysctls_do_not_go_through_the_containers_proc() {
    // CVE-2025-52881: what lies over /proc in the container cannot swallow or redirect them.
    let Some(mut bundle) = Bundle::new() else { return };
    fs::create_dir(bundle.dir.join("fake")).unwrap();
    bundle.without_mount("/proc");
    bundle.patch(|config| config["linux"]["sysctl"] = json!({"net.ipv4.ip_default_ttl": "33"}));
    for path in ["maskedPaths", "readonlyPaths"] {
        bundle.patch(|config| config["linux"][path] = json!([]));
    }
    bundle.args(&["sleep", "1000"]);
    bundle.create().ok();
    let pid = bundle.pid();
    let mut inside = std::process::Command::new("nsenter");
    inside.args(["-t", &pid, "-n", "cat", "/proc/sys/net/ipv4/ip_default_ttl"]);
    assert_eq!(crate::support::run::wait_for(&mut inside).ok().stdout, "33\n");
}

#[test]
fn the_session_keyring_is_the_containers() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| config["linux"]["maskedPaths"] = json!([])).args(&["cat", "/proc/keys"]);
    let keys = bundle.output();
    let name = format!("_ses.{}", bundle.id);
    assert!(keys.lines().any(|line| line.contains(&name)), "{keys}");
    // By another name: the kernel takes its time with the first one.
    let other = format!("{}-other", bundle.id);
    let keys = bundle.tare(&["run", "--no-new-keyring", &other]).ok().stdout;
    assert!(!keys.contains(&other), "{keys}");
}

#[test]
fn personality_is_that_of_32_bit_programs_on_demand() {
    let Some(mut bundle) = Bundle::new() else { return };
    let (wide, narrow) = match std::env::consts::ARCH {
        "x86_64" => ("x86_64\n", "i686\n"),
        "aarch64" => ("aarch64\n", "armv8l\n"),
        _ => return crate::support::skip("needs x86-64 or aarch64"),
    };
    assert_eq!(bundle.output_of("uname -m"), wide);
    bundle.patch(|config| config["linux"]["personality"] = json!({"domain": "LINUX32"}));
    assert_eq!(bundle.output_of("uname -m"), narrow);
    bundle.up();
    assert_eq!(bundle.exec(&["uname", "-m"]).ok().stdout, narrow);
    bundle.delete_force().ok();
    bundle.patch(|config| config["linux"]["personality"] = json!({"domain": "LINUX"}));
    assert_eq!(bundle.output_of("uname -m"), wide);
}

#[test]
fn an_affinity_of_the_caller_is_not_the_containers() {
    let Some(mut bundle) = Bundle::new() else { return };
    let Some(taskset) = crate::support::program("taskset") else { return };
    let cpus = |text: &str| {
        text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned()
    };
    let all = cpus(&fs::read_to_string("/proc/self/status").unwrap());
    bundle.args(&["cat", "/proc/self/status"]);
    let leave = format!("exec {} -c 0 \"$@\"", taskset.display());
    assert_eq!(cpus(&bundle.tare_by(&leave, &["run", &bundle.id]).ok().stdout), all);
}

#[test]
fn the_process_can_be_traced_and_read_by_its_own_again() {
    let Some(mut bundle) = Bundle::new() else { return };
    crate::user(&mut bundle, 1000, 1000, &[]);
    // Dumpable: its /proc entries are its own.
    assert_eq!(
        bundle.output_of("stat -c %u /proc/self/environ; cat /proc/$$/environ | wc -c").lines().next(),
        Some("1000")
    );
}

/// Podman's profile names calls of other machines, and what a runtime says at `create` ends up in the container's log.
#[test]
fn a_profile_for_every_machine_is_no_reason_to_say_anything() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64", "SCMP_ARCH_S390X"],
            "syscalls": [{"names": ["swapcontext", "mkdir"], "action": "SCMP_ACT_ERRNO"}],
        });
    });
    assert_eq!(bundle.args(&["true"]).run().ok().stderr, "");
    bundle.globals.push("--debug".into());
    assert!(bundle.run().ok().told().contains("no such system call, skipped: swapcontext"));
}
