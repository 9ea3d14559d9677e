//! The five sets, as the kernel has them.

use serde_json::{Value, json};

use crate::support::Bundle;
use crate::user;

/// Inheritable, permitted, effective, bounding, ambient: the order of /proc/PID/status.
type Sets = [u64; 5];

fn bits(names: &[&str]) -> u64 {
    names
        .iter()
        .map(|name| tare::testing::plan::capabilities::bit(name).unwrap())
        .fold(0, |all, bit| all | bit)
}

fn parse(status: &str) -> Sets {
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
    };
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(set)
}

#[track_caller]
fn sets(bundle: &mut Bundle, capabilities: Value) -> Sets {
    bundle.patch(|config| config["process"]["capabilities"] = capabilities);
    bundle.args(&["cat", "/proc/self/status"]);
    parse(&bundle.output())
}

const FEW: [&str; 3] = ["CAP_KILL", "CAP_NET_RAW", "CAP_CHOWN"];
const ONE: [&str; 1] = ["CAP_KILL"];

#[test]
fn of_root_are_the_configurations() {
    let Some(mut bundle) = Bundle::new() else { return };
    let (few, one) = (bits(&FEW), bits(&ONE));
    bundle.patch(|config| config["process"]["noNewPrivileges"] = json!(false));
    let rows: [(Value, Sets); 7] = [
        (json!({"bounding": FEW, "effective": FEW, "permitted": FEW}), [0, few, few, few, 0]),
        // Root regains at execve what is bounding or inheritable.
        (json!({"bounding": FEW, "effective": ONE, "permitted": ONE}), [0, few, few, few, 0]),
        (json!({"bounding": ONE, "effective": ONE, "permitted": ONE}), [0, one, one, one, 0]),
        (
            json!({"bounding": FEW, "effective": FEW, "permitted": FEW, "inheritable": ONE}),
            [one, few, few, few, 0],
        ),
        (
            json!({"bounding": FEW, "effective": FEW, "permitted": FEW, "inheritable": ONE, "ambient": ONE}),
            [one, few, few, few, one],
        ),
        (json!({"bounding": [], "effective": [], "permitted": []}), [0; 5]),
        (json!({}), [0; 5]),
    ];
    for (capabilities, expected) in rows {
        assert_eq!(sets(&mut bundle, capabilities.clone()), expected, "{capabilities}");
    }
    bundle.patch(|config| drop(config["process"].as_object_mut().unwrap().remove("capabilities")));
    bundle.args(&["cat", "/proc/self/status"]);
    assert_eq!(parse(&bundle.output()), [0; 5]);
}

#[test]
fn of_other_spellings_are_granted_by_none() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.patch(|config| config["process"]["noNewPrivileges"] = json!(false));
    let one = bits(&ONE);
    for name in
        ["net_raw", "NET_RAW", "cap_net_raw", "Cap_Net_Raw", "CAP_CAP_NET_RAW", "CAP_NET_RAW ", "CAP-NET-RAW"]
    {
        let names = ["CAP_KILL", name];
        let all = json!({
            "bounding": names, "effective": names, "permitted": names, "inheritable": names, "ambient": names
        });
        assert_eq!(sets(&mut bundle, all), [one; 5], "{name}");
        let answer = bundle.run().ok();
        let hint = format!("{name:?} (did you mean CAP_NET_RAW?)");
        assert!(answer.stderr.replace('\\', "").contains(&hint), "{answer:?}");
    }
}

#[test]
fn of_a_user_are_the_ambient_ones() {
    let Some(mut bundle) = Bundle::new() else { return };
    let (few, one) = (bits(&FEW), bits(&ONE));
    user(&mut bundle, 1000, 1000, &[]);
    let rows: [(Value, Sets); 4] = [
        (json!({"bounding": FEW, "effective": FEW, "permitted": FEW}), [0, 0, 0, few, 0]),
        (
            json!({"bounding": FEW, "effective": FEW, "permitted": FEW, "inheritable": FEW}),
            [few, 0, 0, few, 0],
        ),
        (
            json!({"bounding": FEW, "effective": FEW, "permitted": FEW, "inheritable": FEW, "ambient": ONE}),
            [few, one, one, few, one],
        ),
        // Not inheritable: it cannot be ambient, which is no failure.
        (json!({"bounding": FEW, "effective": FEW, "permitted": FEW, "ambient": ONE}), [0, 0, 0, few, 0]),
    ];
    for (capabilities, expected) in rows {
        assert_eq!(sets(&mut bundle, capabilities.clone()), expected, "{capabilities}");
    }
    let answer = bundle.run().ok();
    assert!(answer.stderr.contains("level=warning"), "{answer:?}");
    assert!(answer.stderr.contains(&format!("can't raise ambient capability {}", ONE[0])), "{answer:?}");
}

#[test]
fn are_in_force() {
    let Some(mut bundle) = Bundle::new() else { return };
    let all = |names: &[&str]| json!({"bounding": names, "effective": names, "permitted": names});
    bundle.writable();
    let chown = "touch /x; chown 5 /x && echo yes || echo no";
    bundle.patch(|config| config["process"]["capabilities"] = all(&[]));
    assert_eq!(bundle.output_of(chown), "no\n");
    bundle.patch(|config| config["process"]["capabilities"] = all(&["CAP_CHOWN"]));
    assert_eq!(bundle.output_of(chown), "yes\n");
}

#[test]
fn that_the_host_has_not_are_a_warning() {
    let Some(mut bundle) = Bundle::new() else { return };
    let own = parse(&std::fs::read_to_string("/proc/self/status").unwrap())[1];
    let every: Vec<String> = tare::testing::plan::capabilities::names(u64::MAX >> 23);
    let names: Vec<&str> = every.iter().map(String::as_str).collect();
    let expected = bits(&names) & own;
    let capabilities = json!({"bounding": names, "effective": names, "permitted": names});
    assert_eq!(sets(&mut bundle, capabilities), [0, expected, expected, expected, 0]);
    let lacking = tare::testing::plan::capabilities::names(bits(&names) & !own);
    let answer = bundle.run().ok();
    match lacking.first() {
        None => crate::support::skip_part("needs a host that lacks a capability"),
        Some(name) => {
            assert!(answer.stderr.contains("level=warning") && answer.stderr.contains(name), "{answer:?}");
        }
    }
}

#[test]
fn of_a_file_that_inherits_are_not_gained_by_default() {
    // CVE-2022-29162: `spec` asks for no inheritable capability.
    let Some(mut bundle) = Bundle::new() else { return };
    assert_eq!(bundle.config["process"]["capabilities"].get("inheritable"), None);
    let inheritable = bundle.output_of("sed -n 's/^CapInh:\\t//p' /proc/self/status");
    assert_eq!(inheritable, "0000000000000000\n");
}
