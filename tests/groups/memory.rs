//! Containers with hardly any memory.

use serde_json::json;

use crate::support::{Bundle, machine, skip};

fn limited(bytes: u64) -> Option<Bundle> {
    if !machine::has_controller("memory") {
        skip("needs the memory controller");
        return None;
    }
    let mut bundle = Bundle::new()?;
    bundle.patch(|config| config["linux"]["resources"]["memory"] = json!({"limit": bytes, "swap": bytes}));
    Some(bundle)
}

#[test]
fn a_container_that_dies_for_want_of_memory_says_so() {
    let Some(bundle) = limited(16384) else { return };
    let message = bundle.create().message();
    assert!(message.ends_with("container init was OOM-killed (memory limit too low?)"), "{message}");
    assert!(message.contains("unable to start container process: "), "{message}");
    bundle.leaves_nothing();
}

#[test]
fn four_mebibytes_are_enough() {
    let Some(mut bundle) = limited(4 << 20) else { return };
    for _ in 0..5 {
        bundle.script("echo well").output();
    }
    bundle.up();
    assert_eq!(bundle.exec(&["echo", "too"]).ok().stdout, "too\n");
    let peak =
        machine::group_with(&bundle.id, "memory.max_usage_in_bytes").map(|path| path.join("memory.failcnt"));
    if let Some(path) = peak {
        // With room to spare: the runtime in the container is not what fills it.
        assert_eq!(std::fs::read_to_string(path).unwrap(), "0\n");
    }
    bundle.delete_force().ok();
    bundle.leaves_nothing();
}

const TOLD: &str = "exit status 137 is SIGKILL: killed for lack of memory: the container's limit is 16 MiB \
                    (/linux/resources/memory/limit)";
/// Takes all the memory that it can get.
const HUNGRY: [&str; 3] = ["busybox", "tail", "/dev/zero"];

#[test]
fn a_program_that_is_killed_for_lack_of_memory_is_told_of() {
    let Some(mut bundle) = limited(16 << 20) else { return };
    let answer = bundle.args(&HUNGRY).run();
    assert!(answer.code == 137 && answer.stderr.contains(TOLD), "{answer:?}");
    assert_eq!((answer.stderr.lines().count(), answer.stdout.as_str()), (1, ""), "{answer:?}");
    // Another process of the container, whose end the first one survives.
    let answer = bundle.script("busybox tail /dev/zero; exit 3").run();
    let told = "exit status 3, and 1 process of the container killed for lack of memory";
    assert!(answer.code == 3 && answer.stderr.contains(told), "{answer:?}");
    // Who has recovered, or was killed for another reason, has nothing to be told.
    for (script, code) in [("busybox tail /dev/zero; exit 0", 0), ("exit 137", 137)] {
        let answer = bundle.script(script).run();
        assert!(answer.code == code && !answer.stderr.contains("memory"), "{script}: {answer:?}");
    }
    bundle.leaves_nothing();
}

#[test]
fn exec_and_inspect_tell_of_it_too() {
    let Some(mut bundle) = limited(16 << 20) else { return };
    bundle.args(&["sleep", "100"]).up();
    let answer = bundle.exec(&HUNGRY);
    let told = "the kernel has killed 1 process of this container for lack of memory";
    assert!(answer.code == 137 && answer.stderr.contains(told), "{answer:?}");
    bundle.delete_force().ok();
    bundle.args(&HUNGRY).create().ok();
    bundle.start().ok();
    bundle.wait_until_stopped();
    let seen = bundle.tare(&["inspect", "--format", "json", &bundle.id]).ok().json();
    let killed = &seen["ended"]["outOfMemory"];
    assert_eq!((&killed["kills"], &killed["limit"]), (&json!(1), &json!(16 << 20)), "{seen}");
    assert_eq!(killed["limitReached"], true, "{seen}");
    let text = bundle.tare(&["inspect", &bundle.id]).ok().stdout;
    assert!(text.contains("ENDED") && text.contains("1 process killed for lack of memory"), "{text}");
    bundle.delete().ok();
    bundle.leaves_nothing();
}
