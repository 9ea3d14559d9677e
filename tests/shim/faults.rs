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
