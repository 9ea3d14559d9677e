//! Network devices of the host that move into a container. The "host" of these tests is a network namespace of its own,
//! with a pair of virtual devices in it.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::run::Answer;
use support::{Bundle, program};

/// What stands before the call: `one` and `two` are the ends of a cable.
const CABLE: &str = "ip link add one type veth peer name two; ip link set lo up; ip link set two up";

fn bundle(devices: &Value) -> Option<Bundle> {
    program("ip")?;
    program("unshare")?;
    let mut bundle = Bundle::new()?;
    bundle.patch(|config| config["linux"]["netDevices"] = devices.clone());
    Some(bundle)
}

/// Runs the container with `before` and `after` on the "host"; what both print.
#[track_caller]
fn run(bundle: &Bundle, before: &str, after: &str) -> Answer {
    let inside = format!("{CABLE}\n{before}\n\"$@\"; code=$?\n{after}\nexit $code");
    bundle.tare_by(
        "exec unshare --net bash -c \"$SCRIPT\" bash \"$@\"".replace("$SCRIPT", &quoted(&inside)).as_str(),
        &["run", &bundle.id],
    )
}

/// For within double quotes.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$").replace('`', "\\`")
}

#[test]
fn a_device_moves_with_its_permanent_global_addresses_and_is_up() {
    let Some(mut bundle) = bundle(&json!({"one": {"name": "eth7"}})) else { return };
    bundle.script("ip address show eth7");
    let before = "ip link set one address 02:00:00:00:00:07 mtu 1400 up
        ip address add 10.7.0.1/24 broadcast 10.7.0.255 label one:a dev one
        ip address add 10.7.0.2/24 dev one
        ip address add 10.7.0.3/32 scope link dev one
        ip address add 10.7.0.4/32 valid_lft 1000 preferred_lft 1000 dev one
        ip -6 address add fd07::1/64 nodad dev one
        ip -6 address add fd07::2/64 valid_lft 1000 preferred_lft 1000 dev one";
    let answer = run(&bundle, before, "ip link show one").fails(0, "\"one\" does not exist");
    for kept in [
        "eth7",
        "UP",
        "mtu 1400",
        "02:00:00:00:00:07",
        "10.7.0.1/24 brd 10.7.0.255",
        "10.7.0.2/24",
        "fd07::1/64",
    ] {
        assert!(answer.stdout.contains(kept), "{kept}: {answer:?}");
    }
    for left in ["10.7.0.3", "10.7.0.4", "fd07::2", "one:a"] {
        assert!(!answer.stdout.contains(left), "{left}: {answer:?}");
    }
    bundle.leaves_nothing();
}

#[test]
fn a_device_without_a_new_name_keeps_its_own_and_comes_up() {
    let Some(mut bundle) = bundle(&json!({"one": {}, "two": {}})) else { return };
    // The kernel looks at a link's state in its own time.
    bundle.script(
        "cd /sys/class/net; n=0
        until [ $(cat one/operstate) = up ] || [ $n = 200 ]; do usleep 50000; n=$((n + 1)); done
        cat one/operstate; ls",
    );
    let answer = run(&bundle, "", "").ok();
    assert_eq!(answer.lines(), ["up", "lo", "one", "two"]);
}

#[test]
fn user_namespaces_and_joined_network_namespaces_get_devices_too() {
    let devices = json!({"one": {"name": "eth7"}});
    let Some(mut bundle) = bundle(&devices) else { return };
    bundle.user_namespace().script("ip link show eth7");
    run(&bundle, "", "").ok();

    let Some(mut bundle) = self::bundle(&devices) else { return };
    let path = bundle.path("netns");
    bundle.namespace("network", Some(&path)).script("ip address show eth7");
    let before = "ip address add 10.7.0.1/24 dev one; touch netns; unshare --net=netns true";
    // The namespace stays, and so does the device.
    let answer = run(&bundle, before, "nsenter --net=netns ip link show eth7; umount netns").ok();
    assert!(answer.stdout.contains("10.7.0.1/24"), "{answer:?}");
    assert_eq!(answer.stdout.matches("eth7").count(), 3, "{answer:?}");
}

#[test]
fn the_kernel_numbers_a_template() {
    let Some(mut bundle) = bundle(&json!({"one": {"name": "eth%d"}, "two": {"name": "eth%d"}})) else {
        return;
    };
    bundle.script("ls /sys/class/net; ip address show eth0");
    let answer = run(&bundle, "ip address add 10.7.0.1/24 dev one", "").ok();
    assert_eq!(answer.lines()[..3], ["eth0", "eth1", "lo"]);
    assert!(answer.stdout.contains("10.7.0.1/24"), "{answer:?}");
}

#[test]
fn kernel_parameters_of_a_moved_device_can_be_set() {
    let Some(mut bundle) = bundle(&json!({"one": {"name": "eth7"}})) else { return };
    bundle.patch(|config| config["linux"]["sysctl"] = json!({"net.ipv4.conf.eth7.arp_notify": "1"}));
    bundle.script("cat /proc/sys/net/ipv4/conf/eth7/arp_notify");
    assert_eq!(run(&bundle, "", "").ok().stdout, "1\n");
}

#[test]
fn hooks_of_the_runtime_find_the_device_moved() {
    let Some(mut bundle) = bundle(&json!({"one": {"name": "eth7"}})) else { return };
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "ls /sys/class/net >/dev/null; ip link show one 2>found; true"],
        "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}]);
    bundle.patch(|config| config["hooks"] = json!({"createRuntime": hook}));
    run(&bundle, "", "").ok();
    assert!(bundle.read("found").contains("does not exist"), "{}", bundle.read("found"));
}

const STATE: &str = "ip -o address show one; ip -o link show one";

#[test]
fn a_device_returns_when_the_container_is_not_made() {
    let Some(mut bundle) = bundle(&json!({"one": {"name": "eth7"}})) else { return };
    bundle.patch(|config| config["hooks"] = json!({"createContainer": [{"path": "/bin/false"}]}));
    let answer = run(&bundle, "ip address add 10.7.0.1/24 dev one; ip link set one up", STATE);
    let answer = answer.fails(1, "createContainer hook");
    assert!(answer.stdout.contains("10.7.0.1/24") && answer.stdout.contains(",UP"), "{answer:?}");
    bundle.leaves_nothing();
}

#[test]
fn a_name_that_is_taken_is_refused_and_all_devices_return() {
    let Some(mut bundle) = bundle(&json!({"one": {"name": "eth7"}, "two": {"name": "lo"}})) else { return };
    bundle.script("true");
    let answer = run(&bundle, "ip address add 10.7.0.1/24 dev one", &format!("{STATE}; ip -o link show two"));
    let answer = answer.fails(1, "/linux/netDevices/two: move it into the container as lo: file exists");
    assert!(answer.stdout.contains("10.7.0.1/24") && answer.stdout.contains("two@"), "{answer:?}");
    bundle.leaves_nothing();
}

#[test]
fn what_cannot_move_is_told() {
    let Some(bundle) = bundle(&json!({"three": {}})) else { return };
    run(&bundle, "", "").fails(1, "/linux/netDevices/three: find the network device: no such device");
    bundle.leaves_nothing();

    let Some(mut bundle) = self::bundle(&json!({"one": {}})) else { return };
    bundle.namespace("network", Some("/proc/self/ns/net"));
    let answer = run(&bundle, "", STATE);
    answer.fails(1, "/linux/netDevices: unable to move network devices without a private NET namespace");
    bundle.leaves_nothing();
}
