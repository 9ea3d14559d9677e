//! The filter as the process meets it. What filters say call by call is in tests/seccomp_kernel.rs.

use serde_json::{Value, json};

use crate::support::{Bundle, timeout};
use crate::{status, user};

fn profile(action: &str, errno: Option<u32>) -> Value {
    let mut rule = json!({"names": ["mkdir", "mkdirat"], "action": action});
    if let Some(errno) = errno {
        rule["errnoRet"] = json!(errno);
    }
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
}

fn filter(bundle: &mut Bundle, profile: Value) {
    bundle.patch(|config| config["linux"]["seccomp"] = profile);
}

#[test]
fn is_in_force_before_the_program_runs() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.writable();
    assert_eq!(status(&mut bundle, "Seccomp"), "0");
    filter(&mut bundle, profile("SCMP_ACT_ERRNO", None));
    assert_eq!(status(&mut bundle, "Seccomp"), "2");
    for (errno, words) in
        [(None, "Operation not permitted"), (Some(38), "Function not implemented"), (Some(2), "No such file")]
    {
        filter(&mut bundle, profile("SCMP_ACT_ERRNO", errno));
        let answer = bundle.args(&["mkdir", "/new"]).run();
        assert!(answer.code == 1 && answer.stderr.contains(words), "{errno:?}: {answer:?}");
    }
    filter(&mut bundle, profile("SCMP_ACT_LOG", None));
    bundle.args(&["mkdir", "/new"]).run().ok();
}

#[test]
fn is_in_force_for_every_user_with_and_without_new_privileges() {
    let Some(mut bundle) = Bundle::new() else { return };
    filter(&mut bundle, profile("SCMP_ACT_ERRNO", Some(5)));
    for uid in [0, 1000] {
        for no_new_privileges in [true, false] {
            user(&mut bundle, uid, uid, &[]);
            bundle.patch(|config| config["process"]["noNewPrivileges"] = json!(no_new_privileges));
            let answer = bundle.script("grep ^Seccomp: /proc/self/status; mkdir /tmp/new").run();
            assert_eq!(answer.stdout, "Seccomp:\t2\n", "{uid} {no_new_privileges}");
            assert!(answer.stderr.contains("Input/output error"), "{uid} {no_new_privileges}: {answer:?}");
        }
    }
}

#[test]
fn is_in_force_for_exec() {
    let Some(mut bundle) = Bundle::new() else { return };
    filter(&mut bundle, profile("SCMP_ACT_ERRNO", Some(5)));
    bundle.up();
    let answer = bundle.exec(&["sh", "-c", "grep ^Seccomp: /proc/self/status; mkdir /tmp/new"]);
    assert!(answer.stdout == "Seccomp:\t2\n" && answer.stderr.contains("Input/output error"), "{answer:?}");
}

#[test]
fn that_denies_what_the_runtime_itself_calls_does_not_stop_it() {
    let Some(mut bundle) = Bundle::new() else { return };
    let denied = ["close_range", "getcwd", "statx", "faccessat2", "openat2", "clone3", "prlimit64"];
    let rule = json!({"names": denied, "action": "SCMP_ACT_ERRNO"});
    filter(&mut bundle, json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
    for no_new_privileges in [true, false] {
        bundle.patch(|config| config["process"]["noNewPrivileges"] = json!(no_new_privileges));
        let answer = bundle.script("grep ^Seccomp: /proc/self/status").run().ok();
        assert_eq!(answer.stdout, "Seccomp:\t2\n", "{no_new_privileges}");
    }
}

#[test]
fn kills_with_sigsys() {
    let Some(mut bundle) = Bundle::new() else { return };
    for action in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP"] {
        filter(&mut bundle, profile(action, None));
        let answer = bundle.args(&["sh", "-c", "mkdir /tmp/new; echo $?"]).run().ok();
        assert_eq!(answer.lines().last(), Some(&"159"), "{action}: {answer:?}");
    }
}

#[test]
fn of_docker_lets_a_shell_work_and_denies_mounts() {
    let Some(mut bundle) = Bundle::new() else { return };
    let config: Value = serde_json::from_str(include_str!("../corpus/docker-default.json")).unwrap();
    filter(&mut bundle, config["linux"]["seccomp"].clone());
    let script =
        "grep ^Seccomp: /proc/self/status; mount -t tmpfs x /tmp; unshare -U true; echo $(ls / | wc -l)";
    let answer = bundle.script(script).run().ok();
    assert!(answer.stdout.starts_with("Seccomp:\t2\n"), "{answer:?}");
    assert_eq!(answer.stderr.lines().count(), 2, "{answer:?}");
}

#[test]
fn that_denies_what_the_runtime_itself_needs_is_told() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| config["process"]["noNewPrivileges"] = json!(true));
    let deny = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["execve", "execveat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    ]});
    filter(&mut bundle, deny);
    let answer = bundle.args(&["true"]).run();
    assert!(answer.code != 0 && answer.told().contains("operation not permitted"), "{answer:?}");
    bundle.leaves_nothing();
}

/// Profiles that let nothing through, or little, and what is said of each.
fn deadly() -> Vec<(Value, &'static str)> {
    let allow = |names: &[&str]| json!([{"names": names, "action": "SCMP_ACT_ALLOW"}]);
    let errno = |number: u32| json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": number});
    let mut profiles = vec![
        (json!({"defaultAction": "SCMP_ACT_ERRNO"}), "neither execve nor exit"),
        (json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": allow(&["read", "write"])}), ""),
        (json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": allow(&["exit_group"])}), "execve"),
        (json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": allow(&["exit"])}), "execve"),
        (json!({"defaultAction": "SCMP_ACT_TRACE"}), ""),
    ];
    // EINTR, EAGAIN, ENOSYS: what callers ask for again, or in another way.
    profiles.extend([4, 11, 38].map(|number| (errno(number), "neither execve nor exit")));
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP"] {
        profiles.push((json!({"defaultAction": action}), "SIGSYS"));
    }
    profiles
}

#[test]
fn that_denies_even_the_end_hangs_nobody_and_is_told() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.args(&["true"]);
    for (profile, words) in deadly() {
        for no_new_privileges in [true, false] {
            bundle.patch(|config| config["process"]["noNewPrivileges"] = json!(no_new_privileges));
            filter(&mut bundle, profile.clone());
            let answer = bundle.run();
            assert_ne!(answer.code, 0, "{profile}: {answer:?}");
            let told = answer.told();
            assert!(
                told.contains("seccomp") || words.is_empty(),
                "{profile} {no_new_privileges}: {answer:?}"
            );
            assert!(told.contains(words), "{profile} {no_new_privileges}: {answer:?}");
            if no_new_privileges && bundle.create().code == 0 {
                bundle.start();
                bundle.wait_until_stopped();
                bundle.delete().ok();
            } else {
                bundle.delete_force();
            }
        }
    }
    bundle.leaves_nothing();
}

#[test]
fn that_ends_the_program_is_named_beside_the_status() {
    let Some(mut bundle) = Bundle::new() else { return };
    filter(&mut bundle, profile("SCMP_ACT_KILL_PROCESS", None));
    let answer = bundle.args(&["mkdir", "/tmp/new"]).run();
    answer.fails(159, "linux.seccomp");
    bundle.leaves_nothing();
}

#[test]
fn with_a_rule_about_no_call_is_refused() {
    let Some(mut bundle) = Bundle::new() else { return };
    for rule in [json!({"names": [], "action": "SCMP_ACT_ALLOW"}), json!({"action": "SCMP_ACT_ALLOW"})] {
        filter(&mut bundle, json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
        bundle.run().fails(1, "/linux/seccomp/syscalls/0");
    }
    bundle.leaves_nothing();
}

fn denying(bundle: &mut Bundle, default: &str, errno: u32, names: &[&str]) {
    let action = if default == "SCMP_ACT_ALLOW" { "SCMP_ACT_ERRNO" } else { "SCMP_ACT_ALLOW" };
    bundle.patch(|config| {
        let mut rule = json!({"names": names, "action": action});
        let mut profile = json!({"defaultAction": default});
        if default == "SCMP_ACT_ALLOW" {
            rule["errnoRet"] = json!(errno);
        } else {
            profile["defaultErrnoRet"] = json!(errno);
        }
        profile["syscalls"] = json!([rule]);
        config["linux"]["seccomp"] = profile;
    });
}

/// Runs it for a second of the processor's time at most.
#[track_caller]
fn ends(bundle: &Bundle) -> crate::support::Answer {
    let (computing, longest) = (timeout(2).as_secs(), timeout(8).as_secs());
    let limits = format!("ulimit -t {computing}; exec timeout -s KILL {longest} \"$@\"");
    let answer = bundle.tare_by(&limits, &["run", &bundle.id]);
    assert!(![-9, 137, 124].contains(&answer.code), "{answer:?}");
    answer
}

#[test]
fn nothing_is_asked_again_for_ever_where_a_filter_interrupts_every_call() {
    for privileged in [false, true] {
        let Some(mut bundle) = Bundle::new() else { return };
        bundle.args(&["true"]).patch(|config| {
            config["process"]["noNewPrivileges"] = json!(!privileged);
            // More memory than there is without asking the kernel.
            let env: Vec<String> =
                (0..10).map(|number| format!("V{number}={}", "y".repeat(100_000))).collect();
            config["process"]["env"].as_array_mut().unwrap().extend(env.into_iter().map(Into::into));
        });
        for allowed in [&["execve"][..], &["gettid"], &["execve", "clone3", "exit_group"]] {
            denying(&mut bundle, "SCMP_ACT_ERRNO", 4, allowed);
            assert_ne!(ends(&bundle).code, 0, "{allowed:?}");
        }
        bundle.patch(|config| {
            let hook = json!({"path": "/bin/busybox", "args": ["busybox", "true"]});
            config["hooks"] = json!({"startContainer": [hook]});
        });
        for denied in ["poll", "close", "read", "write", "wait4", "mmap", "pipe2", "clone3", "signalfd4"] {
            for errno in [4, 1] {
                denying(&mut bundle, "SCMP_ACT_ALLOW", errno, &[denied]);
                ends(&bundle);
            }
        }
        bundle.leaves_nothing();
    }
}

#[test]
fn a_profile_that_leaves_no_way_on_is_named() {
    for privileged in [false, true] {
        let Some(mut bundle) = Bundle::new() else { return };
        bundle.args(&["true"]).patch(|config| config["process"]["noNewPrivileges"] = json!(!privileged));
        for allowed in [&["execve"][..], &["execve", "exit_group"], &["execve", "clone", "wait4"]] {
            for errno in [1, 4, 38] {
                denying(&mut bundle, "SCMP_ACT_ERRNO", errno, allowed);
                let answer = ends(&bundle);
                let told = answer.stderr.contains("seccomp") || answer.stderr.contains("/bin/");
                assert!(answer.code != 0 && (told || answer.code == 127), "{allowed:?} {errno}: {answer:?}");
            }
        }
        denying(&mut bundle, "SCMP_ACT_ALLOW", 1, &["mmap", "brk", "exit", "exit_group"]);
        let answer = ends(&bundle);
        assert!(answer.code != 0 && answer.stderr.contains("seccomp"), "{answer:?}");
        bundle.leaves_nothing();
    }
}
