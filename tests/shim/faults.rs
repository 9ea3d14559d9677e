//! Bad frames, bad requests, a runtime that hangs, and containerd away.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use super::client::{Any, Client, Create, EXHAUSTED, INVALID, Named, frame};
use super::support::wait_until;
use super::{Shim, wait_gone};

#[test]
fn a_torn_frame_and_one_above_the_limit_do_not_disturb_what_follows() {
    let Some(mut shim) = Shim::new(&["true"]) else { return };
    let named = shim.named();
    let whole = frame(101, 1, &Client::request("Connect", &named));
    for byte in &whole {
        shim.client.socket.write_all(&[*byte]).unwrap();
    }
    assert!(shim.client.answer(101).is_ok());
    // One byte more than 4 MiB, and another call right behind it.
    shim.client.socket.write_all(&frame(103, 1, &vec![0; (4 << 20) + 1])).unwrap();
    assert_eq!(shim.client.answer(103).unwrap_err().code, EXHAUSTED);
    shim.client.socket.write_all(&frame(105, 1, &vec![0xff; 4 << 20])).unwrap();
    assert_eq!(shim.client.answer(105).unwrap_err().code, INVALID);
    shim.client.socket.write_all(&frame(106, 1, &Client::request("Connect", &named))).unwrap();
    assert_eq!(shim.client.answer(106).unwrap_err().code, INVALID, "an even stream");
    shim.client.socket.write_all(&frame(107, 1, &Client::request("Connect", &named))).unwrap();
    assert!(shim.client.answer(107).is_ok());
}

#[test]
fn a_bundle_without_configuration_and_unknown_options_are_told() {
    let Some(mut shim) = Shim::new(&["true"]) else { return };
    let unknown = Any { type_url: "example.com/some.Options".to_owned(), value: vec![8, 1] };
    assert_eq!(shim.client.code("Create", &Create { options: Some(unknown), ..shim.create() }), INVALID);
    std::fs::remove_file(shim.bundle.dir.join("config.json")).unwrap();
    let status = shim.client.call("Create", &shim.create()).unwrap_err();
    assert!(
        status.message.contains("OCI runtime create failed") && status.message.contains("config.json"),
        "{status:?}"
    );
    for method in ["State", "Wait", "Delete"] {
        assert_eq!(
            shim.client.code(method, &shim.named()),
            super::client::NOT_FOUND,
            "{method}: nothing is left of it"
        );
    }
}

#[test]
fn a_create_that_hangs_holds_nobody_else() {
    let Some(mut shim) = Shim::new(&["true"]) else { return };
    let script = shim.bundle.dir.join("slow");
    std::fs::write(&script, "#!/bin/sh\nexec sleep 1000\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let tare = std::mem::replace(&mut shim.runtime, script.to_string_lossy().into_owned());
    let hangs = Create { id: "hangs".to_owned(), ..shim.create() };
    shim.client.send("Create", &hangs);
    shim.runtime = tare;
    let begun = Instant::now();
    let named = shim.named();
    shim.client.call("Create", &shim.create()).unwrap();
    shim.client.call("Start", &named).unwrap();
    assert_eq!(shim.wait(), 0);
    assert!(begun.elapsed() < Duration::from_secs(5));
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", shim.pid)).unwrap();
    let slow: u32 = children.split_whitespace().next().unwrap().parse().unwrap();
    // It does not outlive the shim: nobody would know of what it makes.
    let pid = nix::unistd::Pid::from_raw(shim.pid as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_gone(slow);
}

#[test]
fn events_are_kept_while_containerd_is_away_and_come_in_order() {
    let Some(mut bundle) = super::Bundle::new() else { return };
    bundle.args(&["true"]);
    bundle.patch(|config| config["process"]["terminal"] = false.into());
    let mut shim = Shim::in_bundle(bundle, false);
    let named: Named = shim.named();
    shim.client.call("Create", &shim.create()).unwrap();
    shim.client.call("Start", &named).unwrap();
    assert_eq!(shim.wait(), 0);
    shim.client.call("Delete", &named).unwrap();
    shim.events.listen();
    wait_until("the events have come", || shim.events.seen().len() == 4);
    assert_eq!(shim.events.seen(), ["create", "start", "exit", "delete"]);
}

#[test]
fn delete_removes_the_socket_of_a_shim_that_was_killed_and_is_just_going() {
    let Some(mut shim) = Shim::new(&["true"]) else { return };
    shim.client.call("Shutdown", &shim.named()).unwrap();
    wait_gone(shim.pid);
    // Its socket is still listened at when `delete` looks, and closed without an answer.
    let path = shim.bundle.dir.join("s/going");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::fs::write(shim.bundle.dir.join("address"), format!("unix://{}", path.display())).unwrap();
    let bundle = shim.bundle.dir.to_string_lossy().into_owned();
    let mut delete = super::shim()
        .args(["-namespace", super::NAMESPACE, "-id", &shim.bundle.id, "-bundle", &bundle, "delete"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // The first looks whether somebody listens; the second asks.
    let (first, _) = listener.accept().unwrap();
    let (second, _) = listener.accept().unwrap();
    drop((listener, first, second));
    assert!(delete.wait().unwrap().success());
    assert!(!path.exists(), "the socket is gone");
}

#[test]
fn a_stranger_who_takes_names_in_tmp_keeps_nobody_from_a_terminal() {
    let Some(mut shim) = Shim::new(&["true"]) else { return };
    shim.bundle.patch(|config| config["process"]["terminal"] = true.into());
    let names = |number| std::env::temp_dir().join(format!(".tare-console-{}-{number}", shim.pid));
    let taken: Vec<_> = (1..100).map(names).collect();
    taken.iter().for_each(|name| std::fs::create_dir(name).unwrap());
    let created = shim.client.call("Create", &Create { terminal: true, ..shim.create() });
    taken.iter().for_each(|name| std::fs::remove_dir(name).unwrap());
    assert!(created.is_ok(), "{created:?}");
}

#[test]
fn delete_removes_no_file_that_is_no_socket_and_waits_for_none() {
    let Some(mut shim) = Shim::new(&["true"]) else { return };
    shim.client.call("Shutdown", &Named::default()).unwrap();
    wait_gone(shim.pid);
    let dir = shim.bundle.dir.clone();
    std::fs::write(dir.join("canary"), "untouched").unwrap();
    for address in [format!("unix://{}/canary", dir.display()), "canary".to_owned(), String::new()] {
        std::fs::write(dir.join("address"), address).unwrap();
        assert!(shim.clean_up().status.success());
        assert_eq!(shim.bundle.read("canary"), "untouched");
    }
    for name in ["address", "init.pid", "options.json", "config.json", "log.json"] {
        let path = dir.join(name);
        let _ = std::fs::remove_file(&path);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let bundle = dir.to_string_lossy();
        let words = ["-namespace", super::NAMESPACE, "-id", &shim.bundle.id, "-bundle", &bundle, "delete"];
        let answer = super::support::run::wait_for(super::shim().args(words));
        assert_eq!(answer.code, i32::from(name == "options.json"), "{name}: {answer:?}");
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn names_that_lead_to_other_directories_are_refused() {
    let Some(shim) = Shim::new(&["true"]) else { return };
    let refused = |words: &[&str]| {
        let answer = super::support::run::wait_for(super::shim().args(words).current_dir(&shim.bundle.dir));
        assert_eq!(answer.code, 1, "{words:?}: {answer:?}");
    };
    for action in ["start", "delete"] {
        for id in ["", ".", "..", "../x", "/etc", "a/b", "-x"] {
            refused(&["-namespace", super::NAMESPACE, "-id", id, "-address", "/none", action]);
        }
        for namespace in ["..", "a/b", "/etc"] {
            refused(&["-namespace", namespace, "-id", &shim.bundle.id, "-address", "/none", action]);
        }
    }
}

#[test]
fn too_many_clients_are_hung_up_on_and_the_others_are_answered() {
    let Some(mut shim) = Shim::new(&["true"]) else { return };
    let path = shim.address.trim_start_matches("unix://").to_owned();
    let connect = || std::os::unix::net::UnixStream::connect(&path).unwrap();
    let many: Vec<_> = (0..300).map(|_| connect()).collect();
    let open = || std::fs::read_dir(format!("/proc/{}/fd", shim.pid)).unwrap().count();
    wait_until("the others are hung up on", || {
        let mut last = &many[299];
        last.set_nonblocking(true).unwrap();
        std::io::Read::read(&mut last, &mut [0]).is_ok_and(|count| count == 0)
    });
    assert!(open() < 200, "{} descriptors", open());
    shim.client.call("Create", &shim.create()).unwrap();
    drop(many);
    wait_until("they are gone", || open() < 40);
    // And where descriptors are few, nobody waits for a call that is never taken.
    let Some(prlimit) = super::support::program("prlimit") else { return };
    let limit = format!("--nofile={}", open() + 3);
    let pid = shim.pid.to_string();
    super::support::run::wait_for(std::process::Command::new(prlimit).args(["--pid", &pid, &limit])).ok();
    let many: Vec<_> = (0..20).map(|_| connect()).collect();
    wait_until("he is hung up on", || {
        let mut last = &many[19];
        last.set_nonblocking(true).unwrap();
        std::io::Read::read(&mut last, &mut [0]).is_ok_and(|count| count == 0)
    });
    drop(many);
    assert_eq!(shim.state().status, 1);
}
