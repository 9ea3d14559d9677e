//! A user's container with a network: by pasta or slirp4netns, without anything of root's.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use serde_json::json;

use crate::machine::{Answer, Machine, wait_until};
use crate::skip::skip;

/// It owns nothing on any machine.
const USER: u32 = 54321;

/// A machine with a way out, a server behind it, and a user with the programs.
fn machine(name: &str) -> Option<Machine> {
    let machine = Machine::new(name, json!({}));
    // Where no udev has opened the device to users.
    let script = "mount -t tmpfs -o dev,mode=755 tmpfs /mnt; mknod -m 666 /mnt/tun c 10 200; mount --bind /mnt/tun /dev/net/tun
        ip netns add outside; ip link add out0 type veth peer name eth0 netns outside
        ip addr add 192.0.2.1/24 dev out0; ip link set out0 up; ip route add default via 192.0.2.2
        ip -n outside addr add 192.0.2.2/24 dev eth0; ip -n outside link set eth0 up
        mkdir www; echo outside >www/index.html
        ip netns exec outside busybox httpd -p 80 -h www </dev/null >/dev/null 2>&1";
    let made = machine.output("sh", &["-ec", script]);
    if made.code != 0 {
        skip(&format!("needs /dev/net/tun and network namespaces of ip(8): {}", made.err.trim()));
        return None;
    }
    fs::create_dir(machine.join("bin")).unwrap();
    for (name, path) in
        [("tare", env!("CARGO_BIN_EXE_tare")), ("tare-image", env!("CARGO_BIN_EXE_tare-image"))]
    {
        fs::copy(path, machine.join("bin").join(name)).unwrap();
    }
    for name in ["home", "run"] {
        fs::create_dir(machine.join(name)).unwrap();
        chown(machine.join(name), Some(USER), Some(USER)).unwrap();
    }
    fs::set_permissions(machine.path(), fs::Permissions::from_mode(0o755)).unwrap();
    Some(machine)
}

/// A command of the user's, at home.
fn as_user(machine: &Machine, script: &str) -> Answer {
    let here = machine.path().display();
    let words = format!(
        "export HOME={here}/home XDG_RUNTIME_DIR={here}/run PATH={here}/bin:/usr/sbin:/usr/bin:/sbin:/bin; cd home
        exec timeout 60 setpriv --reuid {USER} --regid {USER} --clear-groups sh -ec \"$0\""
    );
    machine.output("sh", &["-ec", &words, script])
}

fn has(machine: &Machine, program: &str) -> bool {
    machine.output("sh", &["-c", &format!("command -v {program}")]).code == 0
}

#[test]
fn a_users_container_reaches_others_and_is_reached_at_a_published_port() {
    let Some(machine) = machine("user-network") else { return };
    if !has(&machine, "pasta") {
        return skip("needs pasta");
    }
    let seen = as_user(&machine, "tare-image run --rm oci:../image:latest wget -qO- http://192.0.2.2/");
    assert_eq!((seen.out.as_str(), seen.code), ("outside\n", 0), "{seen:?}");
    // What the host listens on for itself is not reached.
    let serve = "busybox httpd -p 127.0.0.1:7777 -h www </dev/null >/dev/null 2>&1";
    assert_eq!(machine.output("sh", &["-ec", serve]).code, 0);
    let to_the_host = "for to in 127.0.0.1 192.0.2.2; do busybox timeout 2 wget -qO- http://$to:7777/ && exit 9; done; exit 3";
    let seen = as_user(&machine, &format!("tare-image run --rm oci:../image:latest sh -c '{to_the_host}'"));
    assert_eq!(seen.code, 3, "{seen:?}");

    let server = "mkdir /www; echo inside >/www/index.html; exec httpd -f -p 80 -h /www";
    let run = format!(
        "tare-image run --rm --name web -p 8080:80 oci:../image:latest sh -c '{server}' </dev/null >/dev/null 2>&1 &"
    );
    assert_eq!(as_user(&machine, &run).code, 0);
    wait_until("an answer", || machine.get(8080) == "inside\n");
    // Whoever is killed, the program ends with it.
    let pastas = || machine.output("pgrep", &["-u", &USER.to_string(), "-f", "[-]-config-net"]).out;
    assert_ne!(pastas(), "");
    assert_eq!(machine.output("pkill", &["-KILL", "-u", &USER.to_string(), "-f", "tare-image run"]).code, 0);
    wait_until("the end of pasta", || pastas().is_empty());
    // The next command removes what is left.
    let seen = as_user(
        &machine,
        "tare-image ps -a; tare-image run --rm --network none oci:../image:latest echo next",
    );
    assert!(seen.out.ends_with("next\n"), "{seen:?}");
    assert_eq!(
        machine.output("sh", &["-c", "kill $(ip netns pids outside); pkill -f [1]27.0.0.1:7777"]).code,
        0
    );
}

#[test]
fn slirp4netns_carries_a_users_network_where_it_is_asked_for() {
    let Some(machine) = machine("user-slirp") else { return };
    if !has(&machine, "slirp4netns") {
        return skip("needs slirp4netns");
    }
    let run = "tare-image run --rm --network slirp4netns";
    let seen = as_user(&machine, &format!("{run} oci:../image:latest wget -qO- http://192.0.2.2/"));
    assert_eq!((seen.out.as_str(), seen.code), ("outside\n", 0), "{seen:?}");
    let seen = as_user(&machine, &format!("{run} -p 8080:80 oci:../image:latest true"));
    assert!(seen.code == 125 && seen.err.contains("published for users by pasta alone"), "{seen:?}");
    // Without the device there is no network, which is told.
    let closed = "umount /dev/net/tun; chmod 600 /mnt/tun; mount --bind /mnt/tun /dev/net/tun";
    assert_eq!(machine.output("sh", &["-ec", closed]).code, 0);
    let seen = as_user(&machine, "tare-image run --rm oci:../image:latest sh -c 'ip -o link | wc -l'");
    assert!(seen.out == "1\n" && seen.err.contains("this user may not open /dev/net/tun"), "{seen:?}");
    assert_eq!(machine.output("sh", &["-c", "kill $(ip netns pids outside)"]).code, 0);
}

#[test]
fn a_user_leaves_a_container_to_itself() {
    let Some(machine) = machine("user-background") else { return };
    let said = as_user(
        &machine,
        "tare-image run -d --network none --name back oci:../image:latest sh -c 'echo begun; sleep 1000'
         echo \"$(tare-image ps)\" >&2",
    );
    assert_eq!((said.out.as_str(), said.code), ("back\n", 0), "{said:?}");
    assert!(said.err.contains("back"), "{said:?}");
    // Nobody has kept the caller's streams, or this test would still wait for their end; and the container runs.
    let inside = as_user(&machine, "tare exec back ps -o args");
    assert!(inside.out.contains("sleep 1000"), "{inside:?}");
    wait_until("its output", || as_user(&machine, "tare-image logs back").out.starts_with("begun\n"));
    // What is refused is told, with the code of that.
    let seen = as_user(&machine, "tare-image run -d --network none oci:../image:latest /no/such/program");
    assert!(seen.code == 127 && seen.out.is_empty() && seen.err.contains("/no/such/program"), "{seen:?}");
    let seen = as_user(&machine, "tare-image run -d --network none --name back oci:../image:latest true");
    assert!(seen.code == 125 && seen.err.contains("back"), "{seen:?}");
    assert_eq!(as_user(&machine, "tare kill back KILL").code, 0);
    wait_until("its end", || as_user(&machine, "tare-image ps -a").out.contains("137"));
    let removed = as_user(&machine, "tare-image remove back; tare-image ps -aq; tare list -q");
    assert_eq!((removed.out.as_str(), removed.code), ("", 0), "{removed:?}");
    wait_until("the end of every process", || {
        machine.output("pgrep", &["-u", &USER.to_string(), "tare-image"]).out.is_empty()
    });
    assert_eq!(machine.output("sh", &["-c", "kill $(ip netns pids outside)"]).code, 0);
}
