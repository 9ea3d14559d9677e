//! One swapper for each further place where a path of the container, or beside it, is touched: working directory, console,
//! kernel parameters, the notify socket, the state directory. Each is exchanged for a symlink while the runtime is there.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::racer::{Racer, exchange, rounds};
use crate::support::{Bundle, machine, program, run::wait_for};

const FEW: usize = 60;

/// What is in a directory of the host, with change times: any call that changes something shows.
fn content(directory: &Path) -> Vec<String> {
    let mut all: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .flatten()
        .map(|entry| (entry.path(), fs::symlink_metadata(entry.path()).unwrap()))
        .map(|(path, stat)| {
            format!("{path:?} {:o} {} {}.{}", stat.mode(), stat.uid(), stat.ctime(), stat.ctime_nsec())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn a_working_directory_is_made_and_entered_inside() {
    let Some(mut bundle) = Bundle::new() else { return };
    let canary = bundle.dir.join("canary");
    fs::create_dir_all(canary.join("there")).unwrap();
    let volume = bundle.rootfs().join("vol");
    fs::create_dir_all(volume.join("a/there")).unwrap();
    symlink(&canary, volume.join("b")).unwrap();
    bundle.writable().script("pwd; touch here 2>/dev/null; true");
    let before = content(&canary);
    let racer = Racer::new(vec![(volume.join("a"), volume.join("b"))], Duration::from_micros(20));
    for round in 0..rounds(FEW) {
        let cwd = if round % 2 == 0 { format!("/vol/a/new{round}/deep") } else { "/vol/a/there".into() };
        bundle.patch(|config| config["process"]["cwd"] = json!(cwd));
        let answer = bundle.run();
        assert_eq!(content(&canary), before, "round {round}: the canary was written: {answer:?}");
        assert_eq!(content(&canary.join("there")), Vec::<String>::new(), "round {round}: {answer:?}");
        // Where the symlink leads inside, it may be.
        assert!(answer.code != 0 || answer.stdout.starts_with('/'), "round {round}: {answer:?}");
    }
    drop(racer);
    bundle.leaves_nothing();
}

#[test]
fn a_console_is_mounted_on_no_other_file() {
    let Some(mut bundle) = Bundle::new() else { return };
    let Some(script) = program("script") else { return };
    let dev = bundle.dir.join("own-dev");
    fs::create_dir_all(dev.join("pts")).unwrap();
    fs::write(dev.join("console"), "").unwrap();
    fs::write(bundle.rootfs().join("etc/other"), "").unwrap();
    symlink("/etc/other", dev.join("link")).unwrap();
    for point in ["/dev", "/dev/shm", "/dev/mqueue"] {
        bundle.without_mount(point);
    }
    let pts = bundle.config["mounts"].as_array().unwrap().iter().find(|one| one["destination"] == "/dev/pts");
    let pts = pts.unwrap().clone();
    bundle.without_mount("/dev/pts");
    bundle.mount(json!({"destination": "/dev", "type": "bind", "source": "own-dev", "options": ["bind"]}));
    bundle.mount(pts);
    bundle.writable().script("[ -c /etc/other ] && echo fell; echo ran").patch(|config| {
        config["process"]["terminal"] = json!(true);
    });
    let words: Vec<String> = {
        let call = bundle.command(&["run", &bundle.id]);
        call.get_args().map(|word| word.to_str().unwrap().to_owned()).collect()
    };
    let line = format!("{} {}", bundle.program, words.join(" "));
    let (one, other) = (dev.join("console"), dev.join("link"));
    let racer = Racer::new(vec![(one, other)], Duration::from_micros(10));
    for round in 0..rounds(FEW) {
        let mut call = Command::new(&script);
        call.args(["-qec", &line, "/dev/null"]).current_dir(&bundle.dir).stdin(std::process::Stdio::null());
        let answer = wait_for(&mut call);
        assert!(!answer.stdout.contains("fell"), "round {round}: it is mounted on another file: {answer:?}");
    }
    drop(racer);
    bundle.leaves_nothing();
}

#[test]
fn a_sysctl_is_written_to_the_kernel_whatever_proc_is_meanwhile() {
    let Some(mut bundle) = Bundle::new() else { return };
    let fake = bundle.rootfs().join("proc-other/sys/net/ipv4");
    fs::create_dir_all(&fake).unwrap();
    symlink("/canary", fake.join("ip_default_ttl")).unwrap();
    fs::write(bundle.rootfs().join("canary"), "alive").unwrap();
    bundle.writable().args(&["true"]).patch(|config| {
        config["linux"]["sysctl"] = json!({"net.ipv4.ip_default_ttl": "33"});
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    let pair = (bundle.rootfs().join("proc"), bundle.rootfs().join("proc-other"));
    let racer = Racer::new(vec![pair], Duration::from_micros(50));
    for round in 0..rounds(2 * FEW) {
        let answer = bundle.run();
        assert_eq!(
            bundle.read("rootfs/canary"),
            "alive",
            "round {round}: the canary was written: {answer:?}"
        );
    }
    drop(racer);
    bundle.leaves_nothing();
}

#[test]
fn the_mode_of_a_notify_socket_is_that_of_no_other_file() {
    let Some(mut bundle) = Bundle::new() else { return };
    let canary = bundle.dir.join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("secret"), "of the host").unwrap();
    fs::set_permissions(canary.join("secret"), PermissionsExt::from_mode(0o600)).unwrap();
    bundle.args(&["true"]);
    let manager = std::os::unix::net::UnixDatagram::bind(bundle.path("manager")).unwrap();
    let script = format!("export NOTIFY_SOCKET={}; exec \"$@\"", bundle.path("manager"));
    let before = content(&canary);
    let state = bundle.state_root().join(&bundle.id);
    let secret = canary.join("secret");
    let racer = Racer::of(move || {
        for directory in fs::read_dir(&state).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if directory.is_dir() && symlink(&secret, directory.join("l")).is_ok() {
                while directory.exists() {
                    for socket in fs::read_dir(&directory).into_iter().flatten().flatten() {
                        exchange(&socket.path(), &directory.join("l"));
                    }
                }
            }
        }
    });
    for round in 0..rounds(FEW) {
        bundle.tare_by(&script, &["run", &bundle.id]);
        assert_eq!(content(&canary), before, "round {round}: the mode of a file of the host has changed");
        bundle.delete_force();
    }
    drop((racer, manager));
    bundle.delete_force();
    bundle.leaves_nothing();
}

#[test]
fn a_state_directory_that_is_exchanged_leads_nowhere() {
    let Some(mut bundle) = Bundle::new() else { return };
    let canary = bundle.dir.join("canary");
    fs::create_dir(&canary).unwrap();
    for name in ["state.json", "config.json", "exec.fifo", "kept"] {
        fs::write(canary.join(name), "{}").unwrap();
    }
    bundle.args(&["sleep", "1000"]);
    let before = content(&canary);
    let (own, evil) = (bundle.state_root().join(&bundle.id), bundle.dir.join("evil"));
    for round in 0..rounds(FEW) {
        symlink(&canary, &evil).unwrap();
        let pair = (own.clone(), evil.clone());
        let racer = Racer::of(move || {
            exchange(&pair.0, &pair.1);
            std::thread::sleep(Duration::from_micros(20 * (round as u64 % 20)));
        });
        bundle.create();
        for verb in [&["state"][..], &["kill"], &["pause"], &["resume"], &["delete", "--force"]] {
            let answer = bundle.tare(&[verb, &[&bundle.id]].concat());
            assert_eq!(
                content(&canary),
                before,
                "round {round}: the canary was touched: {verb:?} {answer:?}"
            );
        }
        drop(racer);
        for path in [&own, &evil] {
            if path.is_symlink() {
                fs::remove_file(path).unwrap();
            } else if path == &evil && path.exists() {
                // The container is still there, by its own name.
                let _ = fs::rename(path, &own);
            }
        }
        bundle.delete_force();
        let _ = fs::remove_dir_all(&own);
        machine::clean(&bundle.id);
    }
    bundle.leaves_nothing();
}

#[test]
fn the_groups_of_the_host_are_shown_read_only() {
    // CVE-2023-25809: without a namespace of its own, the container sees the host's groups.
    if !machine::cgroup2_alone() {
        return;
    }
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.without_namespace("cgroup").without_mount("/sys/fs/cgroup");
    let made = format!("/sys/fs/cgroup/{}-made", bundle.id);
    let mount = |options: &[&str]| json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options});
    let usual = bundle.config["mounts"].clone();
    bundle.mount(mount(&["nosuid", "noexec", "nodev", "relatime", "ro"]));
    let answer = bundle
        .script(&format!("mkdir {made} && echo made; touch /sys/fs/cgroup/cgroup.procs && echo set"))
        .run();
    assert!(
        !answer.stdout.contains("made") && !answer.stdout.contains("set"),
        "the host's groups change: {answer:?}"
    );
    assert!(answer.stderr.contains("Read-only file system"), "{answer:?}");
    bundle.patch(|config| config["mounts"] = usual).mount(mount(&["nosuid"]));
    let answer = bundle.run();
    assert!(answer.stdout.contains("set"), "{answer:?}");
    let _ = fs::remove_dir(&made);
    crate::support::control_falls(
        "a mount that is not read-only lets the container write to the groups of the host",
    );
}
