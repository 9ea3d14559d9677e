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
