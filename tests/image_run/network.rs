//! Networks of the standard plugins, and of plugins that fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::machine::{Machine, answer, has_plugins, wait_until};

const SERVER: &str = "mkdir /www && hostname > /www/index.html && exec httpd -f -p 80 -h /www";

#[test]
fn a_container_gets_an_address_and_a_published_port_leads_to_it() {
    if !has_plugins() {
        return;
    }
    let machine = Machine::new("bridge", json!({}));
    let seen = machine.image(
        "run",
        &["--rm", "oci:image:latest", "sh", "-c", "ip -o addr show eth0; ip route; cat /etc/hosts"],
    );
    assert!(
        seen.out.contains("inet 10.87.0.") && seen.out.contains("default via 10.87.0.1 dev eth0"),
        "{seen:?}"
    );
    let own = seen.out.lines().find(|line| line.starts_with("10.87.0.") && !line.contains("dev")).unwrap();
    assert_eq!(own.split('\t').nth(1).unwrap().len(), 12, "{own}");
    assert_eq!(machine.leftovers(), Vec::<String>::new());

    let options =
        ["-d", "--name", "web", "-p", "8080:80", "-p", "127.0.0.1:8053:53/udp", "-p", "8090-8091:90-91"];
    let seen = machine.image("run", &[&options[..], &["oci:image:latest", "sh", "-c", SERVER]].concat());
    assert_eq!((seen.out.as_str(), seen.code), ("web\n", 0), "{seen:?}");
    let get = |port: &str| machine.get(port.parse().unwrap());
    wait_until("an answer at 8080", || get("8080") == "web\n");
    let listed = machine.image("ps", &[]).out;
    assert!(
        listed.contains(
            "0.0.0.0:8080->80/tcp, 127.0.0.1:8053->53/udp, 0.0.0.0:8090->90/tcp, 0.0.0.0:8091->91/tcp"
        ),
        "{listed}"
    );

    // The port is taken, and the kernel chooses a free one where none is named.
    let seen = machine.image("run", &["--rm", "-p", "8080:80", "oci:image:latest", "true"]);
    assert!(seen.code == 125 && seen.err.contains("address already in use"), "{seen:?}");
    let seen =
        machine.image("run", &["-d", "--name", "free", "-p", "80", "oci:image:latest", "sh", "-c", SERVER]);
    assert_eq!(seen.code, 0, "{seen:?}");
    let listed: Value = serde_json::from_str(&machine.image("ps", &["--json"]).out).unwrap();
    let free = listed.as_array().unwrap().iter().find(|one| one["name"] == "free").unwrap();
    let port = free["ports"][0]
        .as_str()
        .unwrap()
        .strip_prefix("0.0.0.0:")
        .unwrap()
        .split("->")
        .next()
        .unwrap()
        .to_owned();
    wait_until("an answer", || get(&port) == "free\n");
    // Containers reach each other.
    let address = free["addresses"][0].as_str().unwrap();
    let seen =
        machine.image("run", &["--rm", "oci:image:latest", "wget", "-qO-", &format!("http://{address}/")]);
    assert_eq!(seen.out, "free\n", "{seen:?}");

    for name in ["web", "free"] {
        assert_eq!(machine.tare(&["kill", name, "KILL"]).code, 0);
    }
    wait_until("the end", || machine.image("ps", &["-q"]).out.is_empty());
    assert_eq!(machine.leftovers(), Vec::<String>::new());
    assert_eq!(machine.image("ps", &["-aq"]).out.lines().count(), 2);
}

#[test]
fn the_bridge_goes_with_the_last_container() {
    if !has_plugins() {
        return;
    }
    let machine = Machine::new("bridge-goes", json!({}));
    let has_bridge = || machine.output("ip", &["link", "show", "tare0"]).code == 0;
    let seen = machine.image("run", &["-d", "--name", "one", "oci:image:latest", "sleep", "1000"]);
    assert_eq!((seen.code, has_bridge()), (0, true), "{seen:?}");
    // Another one comes and goes.
    let seen = machine.image("run", &["--rm", "oci:image:latest", "true"]);
    assert_eq!((seen.code, has_bridge()), (0, true), "{seen:?}");
    assert_eq!(machine.tare(&["kill", "one", "KILL"]).code, 0);
    wait_until("the end of the bridge", || !has_bridge());
}

#[test]
fn containers_that_come_and_go_at_once_keep_their_bridge() {
    if !has_plugins() {
        return;
    }
    let machine = Machine::new("bridge-race", json!({}));
    let mut running = Vec::new();
    for _ in 0..8 {
        let args = ["--rm", "oci:image:latest", "ip", "-o", "addr", "show", "eth0"];
        let mut command = machine.image_command("run", &args);
        running.push(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn());
    }
    for child in running {
        let seen = answer(child.unwrap().wait_with_output().unwrap());
        assert!(seen.code == 0 && seen.out.contains("inet 10.87.0."), "{seen:?}");
    }
    assert_eq!(machine.output("ip", &["link", "show", "tare0"]).code, 1);
}

#[test]
fn ports_without_a_network_that_leads_to_them_are_refused() {
    let machine = Machine::new("no-ports", json!({}));
    let seen =
        machine.image("run", &["--rm", "--network", "none", "-p", "80:80", "oci:image:latest", "true"]);
    assert!(seen.code == 125 && seen.err.contains("--publish: --network none"), "{seen:?}");
    // No plugins, and nothing said.
    let mut machine = machine;
    machine.env = vec![("CNI_PATH".into(), "/nonexistent".into())];
    let seen = machine.image("run", &["--rm", "-p", "80:80", "oci:image:latest", "true"]);
    assert!(seen.code == 125 && seen.err.contains("the container has no network"), "{seen:?}");
    assert!(seen.err.contains("hint: install them, or --network host"), "{seen:?}");
    let seen = machine.image("run", &["--rm", "oci:image:latest", "true"]);
    assert_eq!(seen.code, 0, "{seen:?}");
}

#[test]
fn the_hosts_network_is_the_hosts() {
    let machine = Machine::new("host", json!({}));
    let seen = machine.image(
        "run",
        &[
            "--rm",
            "--network",
            "host",
            "-p",
            "80:80",
            "oci:image:latest",
            "sh",
            "-c",
            "readlink /proc/self/ns/net; hostname",
        ],
    );
    let (net, host) =
        (machine.output("readlink", &["/proc/self/ns/net"]).out, machine.output("hostname", &[]).out);
    assert_eq!(seen.out, net + &host, "{seen:?}");
    assert!(seen.err.contains("--publish has no effect"), "{seen:?}");
}

/// Makes a plugin that writes what it is told to a file, and then does `act`.
fn plugin(machine: &Machine, name: &str, act: &str) {
    let log = machine.join("calls");
    let text = format!(
        "#!/bin/sh\ninput=$(cat)\necho \"$CNI_COMMAND {name} $CNI_IFNAME $CNI_CONTAINERID $CNI_NETNS $input\" >> {}\n{act}\n",
        log.display()
    );
    let path = machine.join("plugins").join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn calls(machine: &Machine) -> Vec<String> {
    fs::read_to_string(machine.join("calls")).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn plugins_are_called_in_order_and_undone_in_reverse() {
    let mut machine = Machine::new("plugins", json!({}));
    for dir in ["plugins", "net.d"] {
        fs::create_dir(machine.join(dir)).unwrap();
    }
    let place = |name: &str| machine.join(name).display().to_string();
    let env = vec![("CNI_PATH".into(), place("plugins")), ("NETCONFPATH".into(), place("net.d"))];
    machine.env = env;
    let list = json!({ "cniVersion": "1.0.0", "name": "mine", "plugins": [
        { "type": "first", "key": 1 }, { "type": "second", "capabilities": { "portMappings": true } },
    ] });
    fs::write(machine.join("net.d/10-mine.conflist"), list.to_string()).unwrap();
    fs::write(
        machine.join("net.d/20-single.conf"),
        r#"{"cniVersion":"0.4.0","name":"single","type":"first"}"#,
    )
    .unwrap();
    let result =
        r#"[ "$CNI_COMMAND" = DEL ] || echo '{"cniVersion":"1.0.0","ips":[{"address":"192.0.2.7/24"}]}'"#;
    plugin(&machine, "first", result);
    plugin(&machine, "second", result);
    let run = |network: &str, more: &[&str]| {
        let args =
            [&["--rm", "--network", network], more, &["oci:image:latest", "grep", "192.0.2.7", "/etc/hosts"]]
                .concat();
        machine.image("run", &args)
    };
    let seen = run("mine", &["--name", "one", "-p", "1234:80"]);
    assert!(seen.code == 0 && seen.out.starts_with("192.0.2.7\tone"), "{seen:?}");
    let seen = calls(&machine);
    let order: Vec<String> =
        seen.iter().map(|call| call.split(' ').take(3).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(order, ["ADD first eth0", "ADD second eth0", "DEL second eth0", "DEL first eth0"]);
    let input = |call: &String| -> Value { serde_json::from_str(&call[call.find('{').unwrap()..]).unwrap() };
    assert_eq!(input(&seen[0]), json!({ "type": "first", "key": 1, "name": "mine", "cniVersion": "1.0.0" }));
    let second = input(&seen[1]);
    assert_eq!(second["prevResult"]["ips"][0]["address"], "192.0.2.7/24");
    assert_eq!(
        second["runtimeConfig"]["portMappings"],
        json!([{ "hostPort": 1234, "containerPort": 80, "protocol": "tcp" }])
    );
    assert!(input(&seen[3])["prevResult"].is_object());
    assert_eq!(run("single", &[]).code, 0);

    // Ports need a plugin for them.
    let seen = run("single", &["-p", "80:80"]);
    assert!(seen.code == 125 && seen.err.contains("none of its plugins publishes ports"), "{seen:?}");

    // A plugin that fails: what was done before is undone, and the container does not begin.
    for (act, told) in [
        (
            r#"[ "$CNI_COMMAND" = DEL ] || { echo '{"code":11,"msg":"no room","details":"at all"}'; exit 1; }"#,
            "no room: at all",
        ),
        (r#"[ "$CNI_COMMAND" = DEL ] || { echo broken >&2; exit 1; }"#, "broken"),
        (r#"[ "$CNI_COMMAND" = DEL ] || { echo garbage; }"#, "its result is no JSON"),
        (r#"[ "$CNI_COMMAND" = DEL ] || kill -9 $$"#, "signal: 9"),
        (r#"[ "$CNI_COMMAND" = DEL ] || exec head -c 3000000 /dev/zero"#, "prints more than"),
    ] {
        fs::remove_file(machine.join("calls")).unwrap();
        plugin(&machine, "second", act);
        let seen = run("mine", &[]);
        assert!(
            seen.code == 125 && seen.err.contains(told) && seen.err.contains("second"),
            "{told}: {seen:?}"
        );
        let order: Vec<String> = calls(&machine)
            .iter()
            .map(|call| call.split(' ').take(2).collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(order, ["ADD first", "ADD second", "DEL second", "DEL first"], "{told}");
        assert_eq!(machine.containers(), Vec::<String>::new());
    }
    assert_eq!(machine.leftovers(), Vec::<String>::new());

    // A network names programs by their plain names alone.
    for kind in ["../../bin/sh", "/bin/sh", "", "."] {
        let list = json!({ "cniVersion": "1.0.0", "name": "evil", "plugins": [{ "type": kind }] });
        fs::write(machine.join("net.d/30-evil.conflist"), list.to_string()).unwrap();
        let seen = run("evil", &[]);
        assert!(seen.code == 125 && seen.err.contains("is no name of a plugin"), "{kind:?}: {seen:?}");
    }
    fs::write(machine.join("net.d/30-evil.conflist"), r#"{"name":"missing","plugins":[{"type":"absent"}]}"#)
        .unwrap();
    let seen = run("missing", &[]);
    assert!(
        seen.err.contains("there is no plugin \"absent\"")
            && seen.err.contains("containernetworking-plugins"),
        "{seen:?}"
    );
}

/// The list `mine` of one plugin, whose part it is to do `act`.
fn own_list(machine: &mut Machine, act: &str) {
    for dir in ["plugins", "net.d"] {
        fs::create_dir(machine.join(dir)).unwrap();
    }
    let place = |name: &str| machine.join(name).display().to_string();
    let env = vec![("CNI_PATH".into(), place("plugins")), ("NETCONFPATH".into(), place("net.d"))];
    let list = r#"{"cniVersion":"1.0.0","name":"mine","plugins":[{"type":"first"}]}"#;
    fs::write(machine.join("net.d/10-mine.conflist"), list).unwrap();
    plugin(machine, "first", act);
    machine.env = env;
}

#[test]
fn the_network_and_the_bundle_come_and_go_at_the_same_time() {
    let mut machine = Machine::new("beside", json!({}));
    // It is undone when the bundle is gone; one that waits in vain fails.
    let act = r#"[ "$CNI_COMMAND" = DEL ] || { echo '{"cniVersion":"1.0.0"}'; exit; }
        for i in $(seq 100); do [ -e "${CNI_NETNS%/netns}/bundle" ] || exit 0; sleep 0.1; done; exit 1"#;
    own_list(&mut machine, act);
    let args = ["--rm", "--name", "one", "--network", "mine", "oci:image:latest", "true"];
    assert_eq!(machine.image("run", &args).code, 0);
    fs::remove_file(machine.join("calls")).unwrap();
    // No bundle is made as long as this is held.
    let lock = fs::File::open(machine.join("store/lock")).unwrap();
    lock.lock().unwrap();
    let mut command = machine.image_command("run", &args);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("a plugin's call before the bundle", || calls(&machine).len() == 1);
    assert!(!machine.join("store/containers/one/bundle/config.json").exists());
    lock.unlock().unwrap();
    let seen = answer(child.wait_with_output().unwrap());
    assert_eq!((seen.code, seen.err.as_str()), (0, ""), "{seen:?}");
    assert_eq!(calls(&machine).len(), 2);
    assert_eq!(machine.leftovers(), Vec::<String>::new());
}

#[test]
fn the_last_containers_bridge_goes_while_its_plugin_is_at_work() {
    if !has_plugins() {
        return;
    }
    let mut machine = Machine::new("bridge-early", json!({}));
    fs::create_dir(machine.join("plugins")).unwrap();
    let places = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];
    let place = places.iter().find(|place| fs::exists(format!("{place}/bridge")).unwrap()).unwrap();
    let log = machine.join("seen").display().to_string();
    let text = format!(
        "#!/bin/sh\nif [ \"$CNI_COMMAND\" = DEL ]; then for i in $(seq 100); do ip link show tare0 >/dev/null 2>&1 || \
         {{ echo gone >>{log}; break; }}; [ -e {log}.stay ] && break; sleep 0.1; done; fi\nexec {place}/bridge\n"
    );
    let path = machine.join("plugins/bridge");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    machine.env = vec![("CNI_PATH".into(), format!("{}:{place}", machine.join("plugins").display()))];
    let seen = machine.image("run", &["--rm", "oci:image:latest", "true"]);
    assert_eq!((seen.code, seen.err.as_str()), (0, ""), "{seen:?}");
    let gone = || fs::read_to_string(&log).unwrap_or_default();
    assert_eq!(gone(), "gone\n");
    assert_eq!(machine.leftovers(), Vec::<String>::new());
    // Not that of others.
    fs::write(format!("{log}.stay"), "").unwrap();
    let options = ["-d", "--rm", "--name", "other", "oci:image:latest", "sleep", "1000"];
    assert_eq!(machine.image("run", &options).code, 0);
    let seen = machine.image("run", &["--rm", "oci:image:latest", "wget", "-qO-", "http://10.87.0.1:1/"]);
    assert!(seen.err.contains("refused"), "{seen:?}");
    assert_eq!(machine.output("ip", &["link", "show", "tare0"]).code, 0);
    assert_eq!(gone(), "gone\n");
    assert_eq!(machine.tare(&["kill", "other", "KILL"]).code, 0);
    wait_until("the end of the bridge", || machine.output("ip", &["link", "show", "tare0"]).code != 0);
}

/// Layers are unpacked without a umask. The directory of the bridge's lock and of the addresses was made by whoever came
/// first, for everybody to write; what plugins make has the mode that the caller's umask gives it.
#[test]
fn unpacking_leaves_plugins_and_the_hosts_files_their_umask() {
    let mut machine = Machine::new("umask", json!({}));
    own_list(&mut machine, "umask >>umasks; echo '{\"cniVersion\":\"1.0.0\"}'");
    let run = |machine: &Machine, network: &str| {
        let seen = machine.image("run", &["--rm", "--network", network, "oci:image:latest", "true"]);
        assert_eq!(seen.code, 0, "{seen:?}");
    };
    // With and without layers to unpack.
    run(&machine, "mine");
    run(&machine, "mine");
    let callers = machine.output("sh", &["-c", "umask"]).out;
    assert_eq!(fs::read_to_string(machine.join("umasks")).unwrap(), callers.repeat(4));
    if !has_plugins() {
        return;
    }
    machine.env.clear();
    let mode = |machine: &Machine| machine.output("stat", &["-c", "%a", "/run/tare-image"]).out;
    run(&machine, "bridge");
    assert_eq!(mode(&machine), "755\n");
    // As earlier versions have left it.
    assert_eq!(machine.output("chmod", &["777", "/run/tare-image"]).code, 0);
    run(&machine, "bridge");
    assert_eq!(mode(&machine), "755\n");
}

#[test]
fn name_servers_of_the_hosts_loopback_are_not_the_containers() {
    if !has_plugins() {
        return;
    }
    let machine = Machine::new("resolv", json!({}));
    fs::write(machine.join("resolv"), "nameserver 127.0.0.1\nnameserver 192.0.2.53\nsearch example.org\n")
        .unwrap();
    assert_eq!(machine.output("sh", &["-c", "mount --bind resolv /etc/resolv.conf"]).code, 0);
    let run = |network: &str| {
        machine.image("run", &["--rm", "--network", network, "oci:image:latest", "cat", "/etc/resolv.conf"])
    };
    assert_eq!(run("bridge").out, "nameserver 192.0.2.53\nsearch example.org\n");
    assert!(run("host").out.contains("nameserver 127.0.0.1\n"));
    fs::write(machine.join("resolv"), "nameserver 127.0.0.1\n").unwrap();
    let seen = run("bridge");
    assert!(seen.code == 0 && seen.out.is_empty() && seen.err.contains("no name server"), "{seen:?}");
    assert_eq!(machine.output("umount", &["/etc/resolv.conf"]).code, 0);
}

/// As Docker leaves a host: what is forwarded is dropped. Containers reach what is behind the host, by its address, and
/// published ports are reached from there; the rules are made once, and again where somebody has taken them away.
#[test]
fn what_the_host_drops_is_forwarded_for_the_bridge() {
    if !has_plugins() {
        return;
    }
    let machine = Machine::new("forward", json!({}));
    let sh = |script: &str| machine.output("sh", &["-ec", script]);
    let outside = "ip netns add outside; ip link add out0 type veth peer name eth0 netns outside
        ip addr add 192.0.2.1/24 dev out0; ip link set out0 up
        ip -n outside addr add 192.0.2.2/24 dev eth0; ip -n outside link set eth0 up; iptables -P FORWARD DROP
        mkdir www; echo outside >www/index.html";
    let made = sh(outside);
    if made.code != 0 {
        return crate::skip::skip("needs network namespaces of ip(8)");
    }
    let serve = "ip netns exec outside busybox httpd -p 80 -h www </dev/null >/dev/null 2>&1";
    assert_eq!(sh(serve).code, 0);
    let options = ["-d", "--rm", "--name", "web", "-p", "8080:80", "oci:image:latest", "sh", "-c", SERVER];
    let seen = machine.image("run", &options);
    assert_eq!(seen.code, 0, "{seen:?}");
    let get = "ip netns exec outside timeout 5 busybox wget -qO- http://192.0.2.1:8080/";
    wait_until("an answer from outside", || sh(get).out == "web\n");
    let rules = |table: &str, word: &str| {
        let all = machine.output("iptables", &["-t", table, "-S"]).out;
        all.lines().filter(|line| line.contains(word)).count()
    };
    let counted = || {
        let chain = (rules("filter", "-A FORWARD -j TARE-FORWARD"), rules("filter", "-A TARE-FORWARD"));
        (chain, rules("nat", "-A POSTROUTING -s 10.87.0.0/16"))
    };
    assert_eq!(counted(), ((1, 2), 1));
    let fetch = ["--rm", "oci:image:latest", "wget", "-qO-", "http://192.0.2.2/"];
    for round in 0..4 {
        match round {
            // As a firewall that is loaded anew: all, or a part.
            2 => assert_eq!(
                sh("iptables -F; iptables -X TARE-FORWARD; iptables -t nat -F POSTROUTING").code,
                0
            ),
            3 => assert_eq!(sh("iptables -D FORWARD -j TARE-FORWARD").code, 0),
            _ => {}
        }
        wait_until("the server outside", || machine.image("run", &fetch).out == "outside\n");
        assert_eq!(counted(), ((1, 2), 1), "round {round}");
    }
    // Nothing else is let in.
    let listed: Value = serde_json::from_str(&machine.image("ps", &["--json"]).out).unwrap();
    let address = listed[0]["addresses"][0].as_str().unwrap().to_owned();
    let direct = format!(
        "ip -n outside route add 10.87.0.0/16 via 192.0.2.1; ip netns exec outside timeout 2 busybox wget -qO- http://{address}/"
    );
    assert_ne!(sh(&direct).code, 0);
    // What somebody has taken away is not missed.
    assert_eq!(
        sh("iptables -t nat -D POSTROUTING -s 10.87.0.0/16 ! -d 224.0.0.0/4 ! -o tare0 -j MASQUERADE").code,
        0
    );
    assert_eq!(machine.tare(&["kill", "web", "KILL"]).code, 0);
    assert_eq!(sh("kill $(ip netns pids outside)").code, 0);
    wait_until("the end", || counted() == ((0, 0), 0) && machine.leftovers().is_empty());
}
