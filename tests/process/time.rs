//! Time namespaces: the clocks that the configuration moves.

use serde_json::json;

use crate::support::Bundle;

fn uptime(text: &str) -> f64 {
    text.split(' ').next().unwrap().parse().unwrap()
}

fn host() -> f64 {
    uptime(&std::fs::read_to_string("/proc/uptime").unwrap())
}

fn offsets(bundle: &mut Bundle, offsets: serde_json::Value) {
    bundle.namespace("time", None).patch(|config| config["linux"]["timeOffsets"] = offsets);
}

#[test]
fn clocks_are_moved_for_the_process_and_for_exec() {
    let Some(mut bundle) = Bundle::new() else { return };
    offsets(
        &mut bundle,
        json!({"boottime": {"secs": 1_000_000, "nanosecs": 5}, "monotonic": {"secs": 5000}}),
    );
    let output = bundle.output_of("cat /proc/uptime; cat /proc/self/timens_offsets");
    let moved = uptime(&output) - host();
    assert!((999_990.0..1_000_010.0).contains(&moved), "{moved}");
    let words: Vec<&str> = output.lines().skip(1).flat_map(str::split_whitespace).collect();
    assert_eq!(words, ["monotonic", "5000", "0", "boottime", "1000000", "5"]);
    bundle.up();
    let moved = uptime(&bundle.exec(&["cat", "/proc/uptime"]).ok().stdout) - host();
    assert!((999_990.0..1_000_010.0).contains(&moved), "{moved}");
}

#[test]
fn without_offsets_they_are_the_hosts() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.namespace("time", None);
    let moved = uptime(&bundle.output_of("cat /proc/uptime")) - host();
    assert!(moved.abs() < 5.0, "{moved}");
}

#[test]
fn they_can_be_moved_in_a_user_namespace() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.user_namespace();
    offsets(&mut bundle, json!({"boottime": {"secs": 7000}}));
    let moved = uptime(&bundle.output_of("cat /proc/uptime")) - host();
    assert!((6990.0..7010.0).contains(&moved), "{moved}");
}

#[test]
fn a_time_before_the_clocks_beginning_is_told() {
    let Some(mut bundle) = Bundle::new() else { return };
    offsets(&mut bundle, json!({"boottime": {"secs": -1_000_000_000}}));
    bundle.run().fails(1, "/linux/timeOffsets");
    bundle.leaves_nothing();
}
