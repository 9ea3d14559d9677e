//! Existing namespaces, joined by path.

use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::support::{Bundle, FIRST_ID, namespace_of, program, wait_until};
use crate::user;

/// A process of the test's own in new namespaces.
struct Host(Child);

impl Host {
    fn new(flags: &[&str]) -> Option<Self> {
        // Only in names of its own: without `-u`, the machine's would change.
        let name =
            if flags.contains(&"-u") { "hostname tare-host; exec sleep 1000" } else { "exec sleep 1000" };
        let child = Command::new(program("unshare")?)
            .args(flags)
            .args(["--kill-child", "sh", "-c", name])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let host = Self(child);
        let comm = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        wait_until("namespaces", || comm(&host.pid()) == "sleep\n");
        Some(host)
    }

    /// The process in the namespaces: a child, since `--kill-child` makes one.
    fn pid(&self) -> String {
        let children = format!("/proc/{0}/task/{0}/children", self.0.id());
        std::fs::read_to_string(children).unwrap_or_default().trim().to_owned()
    }

    fn path(&self, file: &str) -> String {
        format!("/proc/{}/ns/{file}", self.pid())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn network_ipc_and_uts_of_another_process() {
    let Some(mut bundle) = Bundle::new() else { return };
    let Some(host) = Host::new(&["-n", "-i", "-u"]) else { return };
    bundle.patch(|config| drop(config.as_object_mut().unwrap().remove("hostname")));
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        bundle.namespace(kind, Some(&host.path(file)));
    }
    bundle.args(&["sleep", "1000"]);
    bundle.create().ok();
    bundle.start().ok();
    let (pid, other) = (bundle.pid(), host.pid());
    for file in ["net", "ipc", "uts"] {
        assert_eq!(namespace_of(&pid, file), namespace_of(&other, file), "{file}");
    }
    assert_eq!(bundle.exec(&["hostname"]).ok().stdout, "tare-host\n");
    // What belongs to somebody else is not set up anew.
    assert_eq!(bundle.exec(&["cat", "/sys/class/net/lo/flags"]).ok().stdout, "0x8\n");
}

#[test]
fn a_cgroup_namespace_and_a_time_namespace() {
    let Some(mut bundle) = Bundle::new() else { return };
    let Some(host) = Host::new(&["-C", "-T"]) else { return };
    for kind in ["cgroup", "time"] {
        bundle.namespace(kind, Some(&host.path(kind)));
    }
    bundle.args(&["sleep", "1000"]);
    bundle.create().ok();
    for file in ["cgroup", "time"] {
        assert_eq!(namespace_of(&bundle.pid(), file), namespace_of(&host.pid(), file), "{file}");
    }
}

#[test]
fn the_pid_namespace_of_another_container() {
    let Some(mut first) = Bundle::new() else { return };
    let Some(mut second) = Bundle::new() else { return };
    first.up();
    let path = format!("/proc/{}/ns/pid", first.pid());
    second.namespace("pid", Some(&path)).script("echo $$; ls -d /proc/[0-9]*; exec sleep 1000");
    let mut call = second.command(&["run", &second.id]);
    let running = crate::support::run::Running::start(&mut call);
    wait_until("it runs", || running.said().lines().count() >= 3);
    let said = running.said();
    let lines: Vec<&str> = said.lines().collect();
    assert_ne!(lines[0], "1");
    assert!(lines.contains(&"/proc/1") && lines.contains(&&*format!("/proc/{}", lines[0])), "{lines:?}");
    let both = first.exec(&["ps"]).ok();
    assert_eq!(both.stdout.matches("sleep 1000").count(), 2, "{both:?}");
    // The second is killed by its group; the first, whose namespace it is, lives on.
    second.kill("KILL").ok();
    assert_eq!(running.wait().code, 137);
    second.leaves_nothing();
    assert_eq!(first.status(), "running");
}

#[test]
fn nothing_that_our_caller_left_open_is_shown_to_those_who_live_there() {
    let Some(mut first) = Bundle::new() else { return };
    let Some(mut second) = Bundle::new() else { return };
    first.patch(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] =
                json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]);
        }
    });
    first.mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}));
    let hunt =
        "while :; do for fd in /proc/[0-9]*/fd/*; do readlink $fd; done; done 2>/dev/null >> /tmp/found";
    first.script(hunt);
    first.create().ok();
    first.start().ok();
    second.namespace("pid", Some(&format!("/proc/{}/ns/pid", first.pid()))).args(&["true"]);
    for _ in 0..60 {
        second.tare_by("exec 9</etc/debian_version; exec \"$@\"", &["run", &second.id]).ok();
    }
    let found = first.exec(&["sh", "-c", "sort -u /tmp/found"]).ok().stdout;
    assert!(found.contains("/tmp/found"), "it has looked: {found}");
    assert!(!found.contains("debian_version"), "{found}");
}

#[test]
fn the_user_namespace_of_another_container() {
    let Some(mut first) = Bundle::new() else { return };
    let Some(mut second) = Bundle::new() else { return };
    first.user_namespace().up();
    let pid = first.pid();
    second.user_namespace().patch(|config| {
        config["linux"].as_object_mut().unwrap().remove("uidMappings");
        config["linux"].as_object_mut().unwrap().remove("gidMappings");
    });
    for (kind, file) in [("user", "user"), ("network", "net"), ("ipc", "ipc")] {
        second.namespace(kind, Some(&format!("/proc/{pid}/ns/{file}")));
    }
    second.args(&["sleep", "1000"]);
    second.create().ok();
    second.start().ok();
    for file in ["user", "net", "ipc"] {
        assert_eq!(namespace_of(&second.pid(), file), namespace_of(&pid, file), "{file}");
    }
    assert_ne!(namespace_of(&second.pid(), "uts"), namespace_of(&pid, "uts"));
    assert_eq!(second.exec(&["id", "-u"]).ok().stdout, "0\n");
    second.delete_force().ok();
    second.leaves_nothing();
}

#[test]
fn a_joined_user_namespace_without_a_group_0_is_told_as_that() {
    let Some(mut bundle) = Bundle::new() else { return };
    let Some(host) = Host::new(&["-U"]) else { return };
    for (file, first) in [("uid_map", 0), ("gid_map", 1)] {
        std::fs::write(format!("/proc/{}/{file}", host.pid()), format!("{first} {FIRST_ID} 10")).unwrap();
    }
    bundle.user_namespace().namespace("user", Some(&host.path("user")));
    bundle.patch(|config| {
        for field in ["uidMappings", "gidMappings"] {
            config["linux"].as_object_mut().unwrap().remove(field);
        }
    });
    bundle.run().fails(1, "/process/user/gid: cannot setgid to unmapped gid 0 in user namespace");
    user(&mut bundle, 1, 1, &[]);
    let why = "/linux/gidMappings: cannot become root of the user namespace: gid 0 is not mapped";
    bundle.run().fails(1, why);
    bundle.leaves_nothing();
}

#[test]
fn a_network_namespace_beside_a_new_user_namespace() {
    let Some(mut bundle) = Bundle::new() else { return };
    let Some(host) = Host::new(&["-n"]) else { return };
    bundle.user_namespace().namespace("network", Some(&host.path("net"))).args(&["sleep", "1000"]);
    // A new sysfs needs a network namespace that the user namespace owns.
    bundle.without_mount("/sys").without_mount("/sys/fs/cgroup");
    bundle.create().ok();
    let pid = bundle.pid();
    assert_eq!(namespace_of(&pid, "net"), namespace_of(&host.pid(), "net"));
    assert_ne!(namespace_of(&pid, "user"), namespace_of("self", "user"));
}

#[test]
fn what_cannot_be_joined_is_told_by_its_place() {
    let Some(mut bundle) = Bundle::new() else { return };
    let file = bundle.path("config.json");
    let index = bundle.config["linux"]["namespaces"].as_array().unwrap().len() - 1;
    let place = format!("/linux/namespaces/{index}");
    for (path, words) in [
        ("/no/such/namespace", "/no/such/namespace: no such file or directory"),
        (&*file, "is not a namespace"),
        ("/proc/self/ns/uts", "is a uts namespace, not a network one"),
        ("/proc/self", "is not a namespace"),
    ] {
        bundle.namespace("network", Some(path));
        let message = bundle.run().fails(1, words).message();
        assert!(message.contains(&place) && message.contains(path), "{message}");
    }
    bundle.leaves_nothing();
}

#[test]
fn a_fifo_as_a_namespace_hangs_nobody() {
    let Some(mut bundle) = Bundle::new() else { return };
    let fifo = bundle.path("fifo");
    nix::unistd::mkfifo(&*fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    bundle.namespace("network", Some(&fifo)).run().fails(1, "is not a namespace");
    bundle.leaves_nothing();
}

#[test]
fn the_hosts_own_by_path_is_as_if_it_were_left_out() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.namespace("network", Some("/proc/self/ns/net")).args(&["sleep", "1000"]);
    bundle.create().ok();
    assert_eq!(namespace_of(&bundle.pid(), "net"), namespace_of("self", "net"));
    bundle.delete().ok();
    // Its sysctls are the host's. Should one be written after all, then with the value that it has.
    for (key, path) in [
        ("net.ipv4.ip_default_ttl", "/proc/sys/net/ipv4/ip_default_ttl"),
        ("kernel.msgmax", "/proc/sys/kernel/msgmax"),
    ] {
        let value = std::fs::read_to_string(path).unwrap().trim().to_owned();
        bundle.namespace("ipc", Some("/proc/self/ns/ipc"));
        bundle.patch(|config| config["linux"]["sysctl"] = json!({ key: value }));
        bundle.create().fails(1, "not allowed in host").fails(1, key);
    }
    bundle.leaves_nothing();
}
