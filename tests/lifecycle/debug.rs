//! `debug`: a process with tools beside a container that has none; and what the container can do about it.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::run::{Running, wait_for};
use crate::support::{Bundle, find_program, namespace_of, program, skip, wait_until};

/// What Docker gives a container.
const USUAL: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// A container that runs, with these capabilities.
fn idle(capabilities: &[&str]) -> Option<Bundle> {
    let mut bundle = Bundle::new()?;
    bundle.patch(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(capabilities);
        }
    });
    bundle.writable().args(&["/bin/sleep", "1000"]);
    Some(bundle)
}

fn debug<'a>(bundle: &'a Bundle, flags: &[&'a str], script: &'a str) -> crate::support::run::Answer {
    bundle.tare(&[&["debug", &bundle.id][..], flags, &["--", "sh", "-c", script]].concat())
}

/// A mount namespace by its number, which is no other's as long as it is open.
struct Namespace(u64, #[expect(dead_code, reason = "held")] fs::File);

/// The processes in a mount namespace.
fn members(namespace: &Namespace) -> usize {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.parse::<u32>().ok().map(|_| name)
    });
    let link = format!("mnt:[{}]", namespace.0);
    pids.filter(|pid| fs::read_link(format!("/proc/{pid}/ns/mnt")).is_ok_and(|it| it == Path::new(&link)))
        .count()
}

/// A `debug` process that waits, and two that it has left behind; with their mount namespace.
fn waiting(bundle: &Bundle, flags: &[&str]) -> (Running, String, Namespace) {
    let script = "sleep 998 & setsid sleep 997 & touch /container/ready; exec sleep 999";
    let words = [&["debug", &bundle.id][..], flags, &["--", "sh", "-c", script]].concat();
    let running = Running::start(&mut bundle.command(&words));
    wait_until("the process runs", || bundle.rootfs().join("ready").exists());
    let children = || {
        let path = format!("/proc/{0}/task/{0}/children", running.child.id());
        let children = fs::read_to_string(path).unwrap_or_default();
        children.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let comm = |pid: &String| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    wait_until("it sleeps", || children().iter().any(|pid| comm(pid) == "sleep\n"));
    let pid = children().into_iter().find(|pid| comm(pid) == "sleep\n").unwrap();
    let held = fs::File::open(format!("/proc/{pid}/ns/mnt")).unwrap();
    let namespace = Namespace(namespace_of(&pid, "mnt"), held);
    wait_until("three processes", || members(&namespace) == 3);
    (running, pid, namespace)
}

#[test]
fn tools_of_the_host_see_the_containers_processes_files_and_network() {
    let Some(mut bundle) = idle(&["CAP_KILL"]) else { return };
    fs::write(bundle.rootfs().join("etc/hosts"), "192.0.2.1 inside\n").unwrap();
    bundle.up();
    let script = "readlink /proc/1/exe; cat /proc/1/comm; hostname; cat /etc/hosts; ls /proc/1/root/bin/busybox; \
                  ls /sys/class/net; cat /proc/self/cgroup; cat /proc/self/oom_score_adj; exit 7";
    let answer = debug(&bundle, &[], script);
    assert_eq!(answer.code, 7, "{answer:?}");
    // As the container sees it: in a namespace of its own, on v2, it is the root.
    let group = bundle.exec(&["cat", "/proc/1/cgroup"]).ok().stdout;
    let expected =
        format!("/bin/busybox\nsleep\ntare\n192.0.2.1 inside\n/proc/1/root/bin/busybox\nlo\n{group}1000\n");
    assert_eq!(answer.stdout, expected);
    // The container's files are changed where they are, and the host's nowhere.
    debug(&bundle, &[], "touch /container/tmp/seen; touch /tmp/own").ok();
    assert!(bundle.rootfs().join("tmp/seen").exists() && !bundle.rootfs().join("tmp/own").exists());
    debug(&bundle, &[], "touch /usr/bin/planted").fails(1, "Read-only file system");
    // A process of the host's that is traced by a tool of the host's.
    if find_program("strace").is_some() {
        // However long it takes to come to it.
        let trace = "strace -o /tmp/log -p 1 & until grep -q '(' /tmp/log; do sleep 0.1; done; kill -INT $!; wait; cat /tmp/log";
        let told = debug(&bundle, &[], trace).stdout;
        assert!(told.contains("restart_syscall(") || told.contains("nanosleep"), "{told}");
    }
}

#[test]
fn nothing_of_the_host_but_tools_is_there() {
    let Some(mut bundle) = idle(&USUAL) else { return };
    bundle.up();
    let script = "for path in /etc/shadow /etc/ssh /etc/ssl/private /root/.ssh /root/.bashrc /home /run/* /var/lib \
                  /var/run /boot /srv /dev/kmsg /dev/mem /dev/vda /dev/sda /lost+found /container/container; do \
                  test ! -e $path || echo $path; done; find / -xdev -type s; ls -A /run; ls -A /root; env; ls /proc/self/fd";
    let answer = debug(&bundle, &[], script).ok();
    let home = "HOME=/root\n";
    let lines: Vec<_> = answer.lines().into_iter().filter(|line| !line.starts_with("TERM=")).collect();
    let text = lines.join("\n") + "\n";
    assert!(text.contains(home) && text.contains("PATH=/usr/local/sbin"), "{text}");
    let rest: Vec<_> = lines.iter().filter(|line| !line.contains('=')).collect();
    assert_eq!(rest, [&"0", &"1", &"2", &"3"], "{answer:?}");
    // The tools are on mounts that are read-only, without setuid programs and devices.
    let mounts = debug(&bundle, &[], "cat /proc/self/mountinfo").ok().stdout;
    for line in mounts.lines() {
        let fields: Vec<_> = line.split(' ').collect();
        let (point, flags) = (fields[4], fields[5]);
        let is_own = ["/container", "/proc", "/sys"].iter().any(|own| point.starts_with(own));
        if is_own || ["/", "/dev/pts"].contains(&point) {
            continue;
        }
        let has = |flag: &str| flags.split(',').any(|one| one == flag);
        assert!(has("ro") && has("nosuid") && (has("nodev") || point.starts_with("/dev/")), "{line}");
        assert!(!line.contains("shared:") && !line.contains("master:"), "{line}");
    }
}

/// Who may be traced shows its root, memory and descriptors.
#[test]
fn the_container_cannot_reach_through_the_process() {
    let Some(mut bundle) = idle(&USUAL) else { return };
    bundle.up();
    let (running, _, _) = waiting(&bundle, &[]);
    let script = "for pid in $(ls /proc | grep '^[0-9]'); do \
                  grep -q 'sleep.99[789]' /proc/$pid/cmdline || continue; \
                  for path in root/usr cwd/usr fd/0 exe ns/mnt environ mem maps; do \
                  head -c1 /proc/$pid/$path >/dev/null 2>&1 && echo reached $path; \
                  ls /proc/$pid/$path/bin >/dev/null 2>&1 && echo listed $path; done; echo tried; done";
    let answer = bundle.exec(&["sh", "-c", script]);
    assert_eq!(answer.stdout, "tried\n".repeat(3), "{answer:?}");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(running.wait().code, 128 + 15);
}

#[test]
fn a_container_that_may_trace_gains_nothing_by_it() {
    let more = ["CAP_KILL", "CAP_SYS_PTRACE"];
    let Some(mut bundle) = idle(&more) else { return };
    bundle.patch(|config| {
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]});
    });
    bundle.up();
    let status = |pid: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let is_right =
            |line: &&str| ["CapPrm", "CapBnd", "NoNew", "Seccomp:"].iter().any(|it| line.starts_with(it));
        text.lines().filter(is_right).map(str::to_owned).collect::<Vec<_>>()
    };
    let (running, pid, _) = waiting(&bundle, &[]);
    assert_eq!(status(&pid), status(&bundle.pid()));
    // What it reaches is as harmless as tools are.
    let script = "cd $(grep -l '^sleep.999' /proc/[0-9]*/cmdline | head -n 1 | sed s/cmdline/root/); ls -d usr; \
                  ls -A run root; touch usr/x; echo x >>proc/sys/kernel/core_pattern; \
                  test -e etc/shadow && echo secrets; true";
    let answer = bundle.exec(&["sh", "-c", script]);
    assert_eq!(answer.stdout, "usr\nroot:\n\nrun:\n", "{answer:?}");
    assert_eq!(answer.stderr.matches("Read-only file system").count(), 2, "{answer:?}");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    let said = running.wait().stderr;
    assert!(said.contains("the container has CAP_SYS_PTRACE"), "{said}");
    // So it is by request, for any container.
    let Some(mut other) = idle(&["CAP_KILL"]) else { return };
    other.up();
    let (running, pid, _) = waiting(&other, &["--confined"]);
    assert_eq!(status(&pid), status(&other.pid()));
    running.signal(nix::sys::signal::Signal::SIGTERM);
    running.wait();
    // And more, by name.
    let wide =
        debug(&other, &["--cap", "CAP_SYS_ADMIN"], "mount -t tmpfs none /container/tmp && echo mounted");
    assert_eq!(wide.ok().stdout, "mounted\n");
    debug(&other, &[], "mount -t tmpfs none /container/tmp").fails(32, "");
    assert_eq!(other.exec(&["grep", "-c", " /tmp ", "/proc/mounts"]).stdout, "0\n");
}

#[test]
fn a_container_with_hostile_names_misleads_nobody() {
    let Some(mut bundle) = idle(&["CAP_KILL"]) else { return };
    let etc = bundle.rootfs().join("etc");
    fs::remove_file(etc.join("passwd")).unwrap();
    nix::unistd::mkfifo(&etc.join("passwd"), nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    std::os::unix::fs::symlink("../../../../../../../etc/shadow", etc.join("hosts")).unwrap();
    std::os::unix::fs::symlink("/proc/1/root/etc/shadow", etc.join("resolv.conf")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", etc.join("hostname")).unwrap();
    fs::remove_dir(bundle.rootfs().join("usr/bin")).unwrap();
    fs::remove_dir(bundle.rootfs().join("usr")).unwrap();
    std::os::unix::fs::symlink("/container", bundle.rootfs().join("usr")).unwrap();
    bundle.up();
    let answer = debug(
        &bundle,
        &[],
        "cat /etc/hosts /etc/resolv.conf /etc/hostname; test -x /usr/bin/env && echo tools",
    );
    assert_eq!(answer.stdout, "tools\n", "{answer:?}");
}

#[test]
fn nothing_is_left_however_it_ends() {
    let Some(mut bundle) = idle(&["CAP_KILL"]) else { return };
    bundle.up();
    use nix::sys::signal::Signal::{SIGKILL, SIGTERM};
    // The program ends, the runtime is killed, the program is killed.
    let (running, _, namespace) = waiting(&bundle, &[]);
    running.signal(SIGTERM);
    assert_eq!(running.wait().code, 128 + 15);
    assert_eq!(members(&namespace), 0);
    fs::remove_file(bundle.rootfs().join("ready")).unwrap();
    let (running, _, namespace) = waiting(&bundle, &[]);
    running.signal(SIGKILL);
    assert_eq!(running.wait().code, -9);
    wait_until("all has ended", || members(&namespace) == 0);
    fs::remove_file(bundle.rootfs().join("ready")).unwrap();
    let (running, pid, namespace) = waiting(&bundle, &[]);
    // The guard is the other child: without it the runtime itself cleans up.
    let path = format!("/proc/{0}/task/{0}/children", running.child.id());
    let children = fs::read_to_string(path).unwrap();
    let guard = children.split_whitespace().find(|child| *child != pid).unwrap().to_owned();
    for pid in [guard, pid] {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.parse().unwrap()), SIGKILL).unwrap();
    }
    assert_eq!(running.wait().code, 128 + 9);
    assert_eq!(members(&namespace), 0);
    // Its container goes on; and takes all with it when it ends.
    assert_eq!(bundle.status(), "running");
    fs::remove_file(bundle.rootfs().join("ready")).unwrap();
    let (running, _, namespace) = waiting(&bundle, &[]);
    bundle.delete_force().ok();
    running.wait();
    assert_eq!(members(&namespace), 0);
    bundle.leaves_nothing();
}

#[test]
fn each_status_has_its_answer() {
    let Some(bundle) = idle(&["CAP_KILL"]) else { return };
    bundle.create().ok();
    assert_eq!(debug(&bundle, &[], "ls -d /container/bin").ok().stdout, "/container/bin\n");
    bundle.start().ok();
    debug(&bundle, &[], "exit 3").fails(3, "");
    bundle.tare(&["debug", &bundle.id, "no-such-tool"]).fails(255, "executable file not found in $PATH");
    bundle.tare(&["debug", "nobody", "true"]).fails(255, "container does not exist: \"nobody\"");
    if bundle.tare(&["pause", &bundle.id]).code == 0 {
        debug(&bundle, &[], "true").fails(255, "is paused: a process in it would wait too");
        bundle.tare(&["resume", &bundle.id]).ok();
    }
    // The beginning of an id, as long as it means one container.
    let short = &bundle.id[..bundle.id.len() - 1];
    bundle.tare(&["debug", short, "true"]).ok();
    fs::create_dir(bundle.state_root().join(format!("{short}x"))).unwrap();
    bundle.tare(&["debug", short, "true"]).fails(255, "means 2 containers");
    bundle.tare(&["debug", &bundle.id, "true"]).ok();
    fs::remove_dir(bundle.state_root().join(format!("{short}x"))).unwrap();
    bundle.kill("KILL").ok();
    bundle.wait_until_stopped();
    debug(&bundle, &[], "true").fails(255, "container not running");
    // One that sees this host's files anyway.
    let Some(mut shared) = idle(&["CAP_KILL"]) else { return };
    shared.without_namespace("mount").patch(|config| {
        config["mounts"] = json!([]);
        config["root"]["readonly"] = json!(false);
        for list in ["maskedPaths", "readonlyPaths"] {
            config["linux"][list] = json!([]);
        }
    });
    shared.up();
    debug(&shared, &[], "true").fails(255, "has no mount namespace of its own");
}

#[test]
fn a_terminal_is_the_processs_own() {
    let Some(mut bundle) = idle(&USUAL) else { return };
    bundle.up();
    let answer =
        debug(&bundle, &["--tty", "--env", "NAME=value"], "tty; echo $NAME; ls /container/dev/pts; exit 4");
    assert_eq!((answer.code, answer.stdout.as_str()), (4, "/dev/pts/0\nvalue\nptmx\n"), "{answer:?}");
}

#[test]
fn in_a_user_namespace_it_is_root_of_that_alone() {
    let Some(mut bundle) = idle(&["CAP_KILL"]) else { return };
    bundle.user_namespace().up();
    let answer =
        debug(&bundle, &[], "id -u; cat /proc/self/uid_map; touch /container/tmp/made; tty </dev/pts/ptmx");
    assert!(answer.stdout.starts_with("0\n         0 "), "{answer:?}");
    let made = fs::metadata(bundle.rootfs().join("tmp/made")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), crate::support::FIRST_ID);
}

#[test]
fn the_tools_of_another_bundle() {
    let Some(mut bundle) = idle(&["CAP_KILL"]) else { return };
    let Some(tools) = Bundle::new() else { return };
    fs::write(tools.rootfs().join("etc/tool.conf"), "tools\n").unwrap();
    bundle.up();
    let image = tools.dir.to_str().unwrap();
    let script = "cat /etc/tool.conf; readlink /proc/1/exe; ls -d /container/bin; touch /bin/x";
    let answer = bundle.tare(&["debug", &bundle.id, "--image", image, "--", "/bin/sh", "-c", script]);
    assert_eq!(answer.stdout, "tools\n/bin/busybox\n/container/bin\n", "{answer:?}");
    assert!(answer.stderr.contains("Read-only file system"), "{answer:?}");
    bundle
        .tare(&["debug", &bundle.id, "--image", "/nonexistent"])
        .fails(255, "bundle /nonexistent: no such directory");
}

/// Containers of runc and crun in their usual places, which a private /run stands for.
#[test]
fn containers_of_other_runtimes_are_found_by_the_beginning_of_their_id() {
    let Some(mut bundle) = idle(&["CAP_KILL"]) else { return };
    let tare = crate::support::runtime();
    bundle.patch(|config| config["linux"]["cgroupsPath"] = json!(null));
    let dir = bundle.dir.to_str().unwrap();
    let mut tried = 0;
    for (name, root) in [
        ("runc", "/run/runc"),
        ("runc", "/run/docker/runtime-runc/moby"),
        ("runc", "/run/containerd/runc/k8s.io"),
        ("crun", "/run/user/0/crun"),
    ] {
        let Some(other) = program(name) else { continue };
        let other = other.to_str().unwrap();
        let id = format!("{}0123456789abcdef", bundle.id);
        let script = format!(
            "mount -t tmpfs none /run && mkdir -p {root} && \
             {{ {other} --root {root} run -d -b {dir} {id} </dev/null >/dev/null 2>&1 || exit 77; }}
             {tare} debug {short} -- sh -c 'cat /proc/1/comm; ls -d /container/bin'; echo $?
             {other} --root {root} pause {id} 2>/dev/null && {tare} debug {short} true; echo $?
             {other} --root {root} resume {id} 2>/dev/null
             {tare} --root {root} debug --confined {id} -- sh -c 'grep CapPrm /proc/self/status'
             {other} --root {root} kill {id} KILL; sleep 0.1
             {tare} debug {short} true; echo $?
             {other} --root {root} delete -f {id}",
            short = bundle.id,
        );
        let answer = wait_for(Command::new("unshare").args(["--mount", "sh", "-c", &script]));
        if answer.code == 77 {
            continue;
        }
        tried += 1;
        let expected = "sleep\n/container/bin\n0\n255\nCapPrm:\t0000000000000020\n255\n";
        assert_eq!(answer.stdout, expected, "{name}: {answer:?}");
        let told = answer.told();
        assert!(told.contains("is paused") && told.contains("container not running"), "{name}: {answer:?}");
    }
    if tried == 0 {
        skip("needs runc or crun that works here");
    }
}

#[test]
fn a_record_does_not_lead_to_another_process() {
    let Some(mut bundle) = idle(&["CAP_KILL"]) else { return };
    bundle.up();
    let pid: u32 = bundle.pid().parse().unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let start: u64 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap();
    let root = bundle.dir.join("foreign");
    let entry = root.join("abc");
    fs::create_dir_all(&entry).unwrap();
    let ask = |record: &str| {
        fs::write(entry.join("state.json"), record).unwrap();
        let root = root.to_str().unwrap();
        wait_for(Command::new(crate::support::runtime()).args(["--root", root, "debug", "abc", "true"]))
    };
    let record = |start: u64| json!({"init_process_pid": pid, "init_process_start": start}).to_string();
    ask(&record(start)).ok();
    // The pid is another process's by now.
    ask(&record(start - 1)).fails(255, "container not running");
    ask(&json!({"init_process_pid": pid}).to_string())
        .fails(255, "a record of no runtime that is known here");
    ask("[").fails(255, "");
    // A user's record names a process of root's.
    std::os::unix::fs::chown(entry.join("state.json"), Some(54321), None).unwrap();
    ask(&record(start)).fails(255, "whose user namespace is not that user's");
    // What a user puts in its place is neither waited for nor followed.
    fs::remove_file(entry.join("state.json")).unwrap();
    nix::unistd::mkfifo(&entry.join("state.json"), nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    let root = root.to_str().unwrap();
    let again =
        || wait_for(Command::new(crate::support::runtime()).args(["--root", root, "debug", "abc", "true"]));
    again().fails(255, "is no file");
    fs::remove_file(entry.join("state.json")).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", entry.join("state.json")).unwrap();
    again().fails(255, "too many");
}
