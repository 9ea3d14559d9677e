//! Kernels that lack a system call, all the time and not once: what is asked for is there as on this kernel, or there is a
//! sentence, no container and nothing left. Nothing is left out in silence.

use serde_json::json;

use crate::support::{Bundle, find_program, skip};

/// Calls that came together; then, for integration/security/test, one at a time.
const MISSING: [&str; 17] = [
    "openat2",
    "close_range",
    "clone3",
    "open_tree,move_mount,fsopen,fsconfig,fsmount,fspick,mount_setattr",
    "pidfd_open,pidfd_send_signal,pidfd_getfd",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "mount_setattr",
    "pidfd_open",
    "pidfd_send_signal",
    "pidfd_getfd",
    "faccessat2",
    "statmount,listmount",
    "openat2,open_tree,move_mount,fsopen,fsconfig,fsmount,mount_setattr,close_range,clone3,pidfd_open,pidfd_send_signal",
];

fn missing() -> &'static [&'static str] {
    if std::env::var_os("TARE_CASE").is_some() { &MISSING } else { &MISSING[..5] }
}

/// What a program sees of its confinement.
const LOOK: &str = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:)' /proc/self/status; \
    cut -d' ' -f5,6 /proc/self/mountinfo | sort; cat /proc/keys | wc -c; cat /proc/version | wc -c; \
    touch /file 2>&1; echo x 2>&1 >/proc/sys/kernel/domainname; ls -l /dev | awk '{print $1, $NF}' | sort; \
    for fd in /proc/self/fd/*; do echo fd; done; pwd; hostname; cat /proc/sys/net/ipv4/ip_default_ttl; id; echo all";

fn without(missing: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/security/without");
    format!("exec '{script}' {missing} -- \"$@\"")
}

/// Whether it was refused, with a sentence about that.
#[track_caller]
fn is_refused(missing: &str, what: &str, answer: &crate::support::Answer) -> bool {
    if answer.code == 0 {
        return false;
    }
    let told = answer.told();
    assert!(told.contains("function not implemented"), "without {missing}, {what}: {answer:?}");
    assert!(told.lines().count() <= 2, "without {missing}, {what}: {answer:?}");
    true
}

fn prepared() -> Option<Bundle> {
    if find_program("python3").is_none() {
        skip("needs python3");
        return None;
    }
    let mut bundle = Bundle::new()?;
    bundle.patch(|config| {
        config["hostname"] = json!("older");
        config["linux"]["sysctl"] = json!({"net.ipv4.ip_default_ttl": "33"});
        config["linux"]["maskedPaths"] = json!(["/proc/keys", "/proc/version", "/sys/firmware"]);
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NATIVE"],
            "syscalls": [{"names": ["chroot"], "action": "SCMP_ACT_ERRNO"}]});
    });
    bundle.mount(json!({"destination": "/data", "type": "bind", "source": "rootfs/etc", "options": ["rbind", "rro", "nosuid"]}));
    Some(bundle)
}

#[test]
fn start_a_container_as_it_was_asked_for_or_none() {
    let Some(mut bundle) = prepared() else { return };
    let usual = bundle.output_of(LOOK);
    assert!(usual.ends_with("all\n"), "{usual}");
    for missing in missing() {
        let answer = bundle.tare_by(&without(missing), &["run", &bundle.id]);
        if !is_refused(missing, "run", &answer) {
            assert_eq!(answer.stdout, usual, "without {missing} a container is weaker");
        }
        bundle.leaves_nothing();
    }
}

#[test]
fn join_kill_and_delete_or_say_why_not() {
    let Some(mut bundle) = prepared() else { return };
    for missing in missing() {
        bundle.up();
        let (usual, id) = (bundle.exec(&["sh", "-c", LOOK]).ok().stdout, bundle.id.clone());
        let by = |words: &[&str]| bundle.tare_by(&without(missing), words);
        let answer = by(&["exec", &id, "sh", "-c", LOOK]);
        if !is_refused(missing, "exec", &answer) {
            assert_eq!(answer.stdout, usual, "without {missing} a process is less confined");
        }
        is_refused(missing, "state", &by(&["state", &id]));
        if !is_refused(missing, "kill", &by(&["kill", &id, "KILL"])) {
            bundle.wait_until_stopped();
        }
        if is_refused(missing, "delete", &by(&["delete", "--force", &id])) {
            bundle.delete_force().ok();
        }
        bundle.leaves_nothing();
    }
}
